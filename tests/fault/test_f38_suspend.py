"""Fault 38: a machine sleeps in the midst of every wait. Time that it slept through is nobody's: no
deadline passes meanwhile, what was waited for comes as much later, and no service notices.

Emulated by QEMU: user-mode Linux cannot sleep.
"""
from __future__ import annotations

import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.stack import ROOT, keeper_binary

QEMU = shutil.which("qemu-system-x86_64")
SCRIPT = Path(__file__).with_name("inside_suspended.py")
WAIT_S = 30  # each wait; the machine is asleep soon after it began
ASLEEP_S = 20
PATIENCE_S = 500.0
DEAF = ["/bin/sh", "-c", "trap '' TERM; echo >&3; while :; do sleep 1; done"]
SLEEP = 'command = ["/bin/sleep", "9999"]\n'
UNITS = {
    "web": SLEEP,
    "backoff": f'command = ["/bin/false"]\n[restart]\ndelay = "{WAIT_S}s"\njitter = 0\n',
    "starting": f'{SLEEP}autostart = false\nstart = {{ready = "notify", timeout = "{WAIT_S}s"}}\n'
                'restart.when = "never"\n',
    "stopping": f'command = {json.dumps(DEAF)}\nstart.ready = "fd:3"\n'
                f'stop.ladder = ["TERM", "{WAIT_S}s", "KILL"]\n',
    "looker": 'kind = "task"\ncommand = ["/usr/bin/python3", "-IS", "/looker.py"]\n'
              'needs.wants = ["stopping", "web"]\nlogs.to = "console"\nsandbox.level = "off"\n',
}  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(700),
    pytest.mark.skipif(os.geteuid() != 0, reason="a Debian kernel is unpacked by root"),
    pytest.mark.skipif(not (QEMU and shutil.which("mmdebstrap")),
                       reason="needs qemu-system-x86_64 and mmdebstrap"),
]


def initramfs(home: Path) -> Path:
    units = home / "units"
    units.mkdir()
    for name, text in UNITS.items():
        (units / f"{name}.toml").write_text(text)
    output = home / "initramfs"
    subprocess.run(
        [sys.executable, ROOT / "packaging/initramfs/build.py", "--units", units, "--output",
         output, "--init", keeper_binary(), "--add", f"{SCRIPT}:/looker.py", "--compress=gzip"],
        check=True, capture_output=True)  # fmt: skip
    return output


def kernel() -> Path:
    builder = runpy.run_path(str(ROOT / "packaging/vm/build.py"))
    try:
        place: Path = builder["kernel"]()
    except (OSError, subprocess.CalledProcessError, builder["CannotBuild"]) as error:
        pytest.skip(f"there is no Debian kernel to be had: {error}")
    return next((place / "boot").glob("vmlinuz-*"))


class Asleep:
    """The emulated machine; its console is a file, and its monitor a socket."""

    def __init__(self, home: Path) -> None:
        self._home = home
        words = [
            str(QEMU), "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "512", "-nographic",
            "-no-reboot", "-kernel", str(kernel()), "-initrd", str(initramfs(home)),
            "-append", "console=ttyS0 quiet panic=-1 mem_sleep_default=deep no_console_suspend",
            "-serial", f"file:{home}/console", "-monitor", f"unix:{home}/monitor,server,nowait",
            "-net", "none",
        ]  # fmt: skip
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        self._deadline = time.monotonic() + PATIENCE_S

    def said(self, word: str) -> dict[str, Any]:
        """What comes behind this word, as soon as it is on the console."""
        while True:
            console = self.console()
            for line in console.split("\n")[:-1]:
                if line.startswith(word):
                    found: dict[str, Any] = json.loads(line[len(word) :])
                    return found
            assert self.process.poll() is None, f"it ended:\n{console}"
            assert time.monotonic() < self._deadline, f"no {word}:\n{console}"
            time.sleep(0.1)

    def console(self) -> str:
        path = self._home / "console"
        return path.read_text(errors="replace").replace("\r", "") if path.exists() else ""

    def monitor(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(f"{self._home}/monitor")
            data = b""
            for text in ("", f"{command}\n"):
                sock.sendall(text.encode())
                data = b""
                while not data.rstrip().endswith(b"(qemu)"):
                    data += sock.recv(4096)
        return data.decode()

    def wait(self, state: str) -> None:
        while state not in self.monitor("info status"):
            assert time.monotonic() < self._deadline, f"not {state}:\n{self.console()}"
            time.sleep(0.2)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def test_f38_no_wait_ends_because_the_machine_slept(tmp_path: Path) -> None:
    machine = Asleep(tmp_path)
    try:
        before = machine.said("BEFORE ")
        machine.wait("suspended")
        time.sleep(ASLEEP_S)
        machine.monitor("system_wakeup")
        after, later = machine.said("AFTER "), machine.said("LATER ")
    finally:
        machine.end()
    slept_s = (after["all_s"] - before["all_s"]) - (after["awake_s"] - before["awake_s"])
    assert slept_s > ASLEEP_S * 0.8, "it did not sleep"
    assert after["states"] == before["states"]
    assert after["pids"] == before["pids"]
    assert after["restarts"] == before["restarts"]
    # Awake, each was as long as it is.
    for one in (before, after):
        assert (one["states"]["starting"], one["states"]["stopping"]) == ("starting", "stopping")
    assert later["awake_s"] - before["awake_s"] > WAIT_S * 0.9
    assert later["pids"]["web"] == before["pids"]["web"]

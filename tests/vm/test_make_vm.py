"""`make vm` is what its page says: a Debian that boots in QEMU with the demo stack, a login on its
serial console, and an end."""
from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.stack import ROOT

RUN = ROOT / "packaging" / "vm" / "run.py"
TOOLS = ("mmdebstrap", "qemu-system-x86_64", "ssh-keygen")
# Emulated, beside whatever else this host does: only a failing test waits so long.
PATIENCE_S = 400.0
NO_NETWORK = re.compile("(?i)resolving|connect to|connection|failed to fetch|unreachable")
MISSING = [name for name in TOOLS if not shutil.which(name)]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="files of a Debian belong to root: needs root"),
    pytest.mark.skipif(bool(MISSING), reason=f"there is no {', '.join(MISSING)} in PATH"),
    pytest.mark.timeout(900),
]


class Terminal:
    """Whom `make vm` was typed by."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path) -> None:
        self.process = process
        self._said = said
        self._deadline = time.monotonic() + PATIENCE_S

    def said(self) -> str:
        return self._said.read_text(errors="replace").replace("\r", "")

    def type(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def until(self, pattern: str) -> re.Match[str]:
        while not (found := re.search(pattern, self.said())):
            assert self.process.poll() is None, f"it ended:\n{self.said()}"
            assert time.monotonic() < self._deadline, f"no {pattern!r}:\n{self.said()}"
            time.sleep(0.1)
        return found


@contextmanager
def booted(place: Path, *words: str) -> Iterator[Terminal]:
    said = place / "said"
    with said.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, RUN, "--place", place, *words], stdin=subprocess.PIPE, stdout=file,
            stderr=file)  # fmt: skip
    try:
        yield Terminal(process, said)
    finally:
        process.kill()
        process.wait()
        assert process.stdin
        with suppress(BrokenPipeError):
            process.stdin.close()


def test_it_boots_says_how_to_log_in_serves_the_shop_and_ends(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, RUN, "--place", tmp_path, "--build-only"], capture_output=True,
        check=False, text=True)  # fmt: skip
    if built.returncode and NO_NETWORK.search(built.stderr):
        pytest.skip(f"no Debian can be made without its mirror: {built.stderr}")
    assert built.returncode == 0, built.stderr
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    with booted(tmp_path, "--keep") as terminal:
        password = terminal.until(r"with the password  (\w+)")[1]
        port = int(terminal.until(r"http://127\.0\.0\.1:(\d+)/")[1])
        terminal.until("machine login: ")
        terminal.type("root\n")
        terminal.until("Password: ")
        terminal.type(f"{password}\n")
        terminal.until("root@machine:~# ")
        # The shop, and the network to reach it by.
        terminal.type("until unboxed start web online; do :; done; echo 'all' 'up'\n")
        terminal.until("\nall up\n")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
            assert b"Corner Shop" in page.read()
        terminal.type("readlink /proc/1/exe; unboxed status | grep -c failed\n")
        terminal.until(r"\n/usr/bin/unboxed-init\n0\n")
        terminal.type("poweroff\n")
        terminal.process.wait(PATIENCE_S)
        assert "unboxed-init: powering off" in terminal.said()
        assert "reboot: Power down" in terminal.said()


def test_whoever_listens_elsewhere_is_not_in_the_way(tmp_path: Path) -> None:
    ask = f"import runpy, sys; print(runpy.run_path({str(RUN)!r})['free_port'](int(sys.argv[1])))"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        taken = other.getsockname()[1]
        said = subprocess.run([sys.executable, "-c", ask, str(taken)], capture_output=True,
                              check=True, text=True).stdout  # fmt: skip
    assert int(said) > taken

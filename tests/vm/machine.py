"""A machine in a process: user-mode Linux, a kernel of its own with cgroup v2 and nothing else.

    with Machine(tmp_path, 'exec "$UNBOXED_INIT" ...') as machine:
        machine.until("ready")
        machine.ctrl_alt_del()
        machine.ended()

Its root file system is the host's, read-only; /run is its own, and the test's directory is
/run/host, to which it may write. `script` is what PID 1, a shell, goes on with when that is so.
`disk`, an image with a file system, is its block device of the number 98, 0.
What is written to the console is on the host at once, whatever becomes of the machine.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self
from xml.etree import ElementTree as ET

import pytest

from tests.stack import ROOT, keeper_binary

LINUX = shutil.which("linux.uml")
# Only a failing test waits so long.
PATIENCE_S = 300.0  # a whole life of a machine; the longest takes some 70 s of it
EACH_S = 60  # a test in it; most take less than a second
HOSTS_ROOT = "root=/dev/root rootfstype=hostfs rootflags=/"
HOST = Path("/run/host")  # the test's directory, as the machine has it
MCONSOLE_MAGIC, MCONSOLE_VERSION, MCONSOLE_DATA = 0xCAFEBABE, 2, 512  # the kernel's mconsole.h

INIT = """#!/bin/sh
export {variables}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -m 1777 /run/tmp
mkdir {there}
mount -t hostfs -o {here} hostfs {there}
cd {root}
{script}
"""
POWER_OFF = f"{sys.executable} -I -S -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)'\n"


def _missing() -> str:
    """Why there can be no machine here, "" if there can."""
    if platform.machine() != "x86_64":
        return f"user-mode Linux is packaged for x86_64 only, and this is {platform.machine()}"
    if LINUX is None:
        return "there is no linux.uml in PATH (Debian: apt-get install user-mode-linux)"
    if os.geteuid() != 0:
        return "root in the machine can do to the host's files what this user can: needs root"
    return ""


needs_machine = pytest.mark.skipif(bool(_missing()), reason=_missing() or "there is one")


class Kernel:
    """A kernel in a process, which boots `init` with `words` of the command line."""

    def __init__(
        self, home: Path, init: Path, words: Sequence[str] = (), *, mebibytes: int = 512,
        patience_s: float = PATIENCE_S, disk: Path | None = None, root: str = HOSTS_ROOT,
        disk_flags: str = "",
    ) -> None:  # fmt: skip
        """`disk_flags`: r for one that cannot be written to."""
        self.home = home
        self._patience_s = patience_s
        self._console = home / "console"
        self._mebibytes = mebibytes
        self._inherited: list[int] = []
        self._words = [
            str(LINUX), f"mem={mebibytes}M", *root.split(), "ro", f"init={init}",
            "con=null", "con0=null,fd:1", "umid=machine", "quiet",
        ]  # fmt: skip
        if disk:
            self._words.append(f"ubd0{disk_flags}={disk}")
        self._words += words
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        # The name of the socket in it must be short.
        own = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="vm-"))
        self._mconsole = f"{own}/machine/mconsole"
        memory = "/dev/shm" if self._serves("/dev/shm") else own
        with self._console.open("wb") as console:
            self.process = subprocess.Popen(
                [*self._words, f"uml_dir={own}"], stdin=subprocess.DEVNULL, stdout=console,
                stderr=console, env={**os.environ, "TMPDIR": memory}, start_new_session=True,
                pass_fds=self._inherited,
            )  # fmt: skip
        self._stack.callback(self._kill)
        self._deadline = time.monotonic() + self._patience_s
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stack.close()
        if kind is not None:
            tests = self.home / "tests"
            print(self.console(), tests.read_text() if tests.exists() else "")

    def _serves(self, directory: str) -> bool:
        """Whether the machine's memory may be a file there: mapped as a program's, and so large,
        with as much for another machine that runs at the same time."""
        try:
            found = os.statvfs(directory)
        except OSError:
            return False
        large = found.f_bavail * found.f_frsize >= 2 * self._mebibytes << 20
        return large and not found.f_flag & os.ST_NOEXEC

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def console(self) -> str:
        return self._console.read_text(errors="replace").replace("\r\n", "\n")

    def until(self, text: str) -> None:
        """Wait until the console says it."""
        while text not in self.console():
            assert self.process.poll() is None, f"the machine ended:\n{self.console()}"
            assert time.monotonic() < self._deadline, f"no {text!r}:\n{self.console()}"
            time.sleep(0.02)

    def ended(self) -> str:
        """Wait until the machine is off; all that the console said."""
        try:
            self.process.wait(max(1.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the machine goes on:\n{self.console()}") from None
        return self.console()

    def ctrl_alt_del(self) -> None:
        """As if somebody at its keyboard pressed these keys."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.bind("")  # an address of any name, for the answer
            request = struct.pack("=III", MCONSOLE_MAGIC, MCONSOLE_VERSION, 3) + b"cad"
            sock.sendto(request.ljust(12 + MCONSOLE_DATA, b"\0"), self._mconsole)
            (error,) = struct.unpack_from("=I", sock.recv(4096))
            assert not error, "the machine's console refused"


class Machine(Kernel):
    """Its first process is a shell, which mounts what there must be and does `script`."""

    def __init__(
        self, home: Path, script: str, *, env: Mapping[str, str] | None = None,
        mebibytes: int = 512, patience_s: float = PATIENCE_S, disk: Path | None = None,
    ) -> None:  # fmt: skip
        init = home / "init"
        variables = {**variables_inside(), **(env or {})}
        init.write_text(
            INIT.format(
                variables=" ".join(f"{name}='{value}'" for name, value in variables.items()),
                here=home, there=HOST, root=ROOT, script=script,
            )
        )  # fmt: skip
        init.chmod(0o755)
        super().__init__(home, init, mebibytes=mebibytes, patience_s=patience_s, disk=disk)


def variables_inside() -> dict[str, str]:
    """The environment of tests in a machine."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/run/tmp",
        "TMPDIR": "/run/tmp", "UNBOXED_INIT": keeper_binary(), "PYTHON": sys.executable,
        "LC_ALL": "C.UTF-8",
    }  # fmt: skip


def names(script: Path) -> list[str]:
    """The tests of a file that runs inside, for one test each outside."""
    return re.findall(r"^def (test_\w+)\(", script.read_text(), re.MULTILINE)


def inside(*scripts: Path | str) -> str:
    """The command that runs these tests in the machine; pytest's options may be among them."""
    return (
        f'"$PYTHON" -m pytest -q --color=no --timeout={EACH_S} --timeout-method=signal'
        f" --basetemp=/run/tmp/t --junitxml={HOST}/report.xml {' '.join(map(str, scripts))}"
        f" >{HOST}/tests 2>&1; sync"
    )


def failures(home: Path) -> dict[str, str]:
    """What each test that ran inside said when it failed or was skipped, "" for those that passed
    (or failed as it is known that they do)."""
    report = home / "report.xml"
    assert report.exists(), (home / "tests").read_text()
    found = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own file
        bad = [part for part in case if part.tag in ("failure", "error", "skipped")]
        bad = [part for part in bad if part.get("type") != "pytest.xfail"]
        words = (f"{part.tag}: {part.get('message')}\n{part.text}" for part in bad)
        found[str(case.get("name"))] = "\n".join(words)
    return found

"""A machine's boot: PID 1 in a guest with 20 services, timed by the guest's own clock.

From the first program's exec of the init under test (c/stage0.c) to the first instruction of the
first and of the last service. In user-mode Linux, or under QEMU without hardware's help: what else
the host does slows both, so only figures of one run say anything of each other.
"""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import harness, images

_UML = "linux.uml"
_QEMU = "qemu-system-x86_64"
_LIMIT_S = {_UML: 60, _QEMU: 180}


class Guest(NamedTuple):
    """`kernel`: an image for QEMU, "" for user-mode Linux. `settle_s`: how long after the last
    start memory is looked at, 0 for not at all."""

    kernel: str
    settle_s: int
    show: str = ""  # a file of the guest that it prints

    @property
    def program(self) -> str:
        return _QEMU if self.kernel else _UML

    def argv(self, archive: Path) -> list[str]:
        settle = [f"settle={self.settle_s}"] if self.settle_s else []
        settle += [f"show={self.show}"] if self.show else []
        if not self.kernel:
            return [_UML, "mem=512M", f"initrd={archive}", "rdinit=/init", "quiet", "con=null",
                    "con0=fd:0,fd:1", *settle]
        words = " ".join(["console=ttyS0", "quiet", "panic=-1", *settle])
        return [_QEMU, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024",
                "-nographic", "-no-reboot", "-kernel", self.kernel, "-initrd", str(archive),
                "-append", words]


def chosen(guest: Guest, wants: Callable[[str], bool]) -> list[images.Init]:
    """Those that are installed and whose names `wants` lets through; only where memory is looked
    at also the machines with udev, and not those that have neither logs nor states."""
    found = [init for init in images.INITS if wants(init.name) and Path(init.needs).exists()]
    if guest.settle_s:
        ours = ("unboxed", "systemd")
        return [i for i in found if i.name.startswith(ours) and (i.keeps or i.name[0] != "u")]
    return [init for init in found if not init.whole]


def why_not(guest: Guest) -> str:
    """What this machine lacks for a run, or "" if it lacks nothing."""
    if os.geteuid() != 0:
        return "root is needed to make device nodes for the images"
    if shutil.which(guest.program) is None:
        return f"{guest.program} is not installed"
    if guest.kernel and not Path(guest.kernel).exists():
        return f"there is no kernel {guest.kernel}"
    return ""


@contextmanager
def archives(
    guest: Guest, bindir: Path, wanted: list[images.Init]
) -> Iterator[dict[str, Path]]:
    """An image for each init that is installed, by name."""
    work = harness.scratch()
    try:
        (work / "probes").symlink_to(bindir)
        yield {init.name: _image(guest, work, init) for init in wanted}
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _image(guest: Guest, work: Path, init: images.Init) -> Path:
    """As after its first boot."""
    made = images.image(work, init)
    if not init.keeps:
        return made
    said = _said(guest._replace(settle_s=0, show=init.keeps), made)
    found = re.search(r"^SHOW ([0-9a-f]+)\r*$", said, re.MULTILINE)
    if not found:
        raise SystemExit(f"the first boot of {init.name} did not leave {init.keeps}:\n{said}")
    return images.image(work, init, bytes.fromhex(found[1]))


def measure(guest: Guest, archive: Path) -> dict[str, Any]:
    """One boot. `first_ms`, `last_ms`; with `settle_s` `used_kb` (of the machine's available
    memory) and `pss_kb` with its parts."""
    return understand(_said(guest, archive))


def _said(guest: Guest, archive: Path) -> str:
    """What the console of one boot said."""
    limit_s = _LIMIT_S[guest.program] + guest.settle_s
    process = subprocess.Popen(
        guest.argv(archive), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, "TMPDIR": "/dev/shm"},
    )  # fmt: skip
    try:
        said = process.communicate(timeout=limit_s)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said = process.communicate()[0]
    return said.decode(errors="replace")


def understand(text: str) -> dict[str, Any]:
    """What the collector in the guest printed."""
    times = re.search(r"BENCH ([\d.]+) ([\d.]+) ([\d.]+)", text)
    if not times:
        return {"error": text[-600:]}
    found: dict[str, Any] = dict(
        zip(("at_ms", "first_ms", "last_ms"), map(float, times.groups()), strict=True))
    memory = re.search(r"MEMORY (\d+) (\d+)", text)
    if memory:
        found["used_kb"] = int(memory[1]) - int(memory[2])
        parts: dict[str, int] = defaultdict(int)
        for kb, name in re.findall(r"^PSS (\d+) (.*?)\r*$", text, re.MULTILINE):
            parts[name] += int(kb)
        found["pss_kb"], found["pss_by_role_kb"] = sum(parts.values()), dict(parts)
    return found

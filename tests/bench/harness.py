"""What every workload shares: probes, a tracked process tree, and its accounting.

A `Tree` runs one command inside its own cpuacct and pids cgroups, so that CPU time, the process
list and the number of unreaped tasks are the kernel's own figures, however often the tool forks.
Probes report through a FIFO with 24-byte records stamped by CLOCK_MONOTONIC in the probe itself:
the harness's own scheduling is in no start time.
"""
from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
CPUACCT = Path("/sys/fs/cgroup/cpuacct")
PIDS = Path("/sys/fs/cgroup/pids")
SYSTEMD = Path("/sys/fs/cgroup/systemd")

# struct rec of c/rec.h: kind, pid, monotonic ns, value.
_RECORD = struct.Struct("=IiQQ")
EXEC, START, DONE = 0, 1, 2
_FIFO_BYTES = (1 << 20) // _RECORD.size * _RECORD.size


class Record(NamedTuple):
    kind: int
    pid: int
    ns: int
    value: int


def build_probes(out: Path) -> Path:
    """Compile the C probes, static, into directory `out`."""
    for source in sorted((HERE / "c").glob("*.c")):
        command = ["cc", "-O2", "-static", "-o", str(out / source.stem), str(source)]
        subprocess.run(command, check=True)
    return out


def scratch(where: str | Path = "/dev/shm") -> Path:
    """A new scratch directory on tmpfs, so that no figure here is the disk's."""
    return Path(tempfile.mkdtemp(prefix="bench-", dir=where))


def why_not() -> str:
    """What this machine lacks for a run, or "" if it lacks nothing."""
    if os.geteuid() != 0:
        return "root is needed to make cgroups"
    for root in (CPUACCT, PIDS):
        if not (root / "cgroup.procs").exists():
            return f"{root} is not a mounted cgroup v1 hierarchy"
    return ""


class Fifo:
    """Where the probes report. Opened for both directions, so it never ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        path.chmod(0o666)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, 1 << 20)  # no probe ever waits for room

    def read(self, timeout_s: float) -> Record | None:
        """The next record, or None after `timeout_s`."""
        if not select.select([self._fd], [], [], max(timeout_s, 0))[0]:
            return None
        return Record(*_RECORD.unpack(os.read(self._fd, _RECORD.size)))

    def read_all(self, timeout_s: float) -> list[Record]:
        """All records that are there; waits up to `timeout_s` for the first one."""
        if not select.select([self._fd], [], [], max(timeout_s, 0))[0]:
            return []
        return [Record(*fields) for fields in _RECORD.iter_unpack(os.read(self._fd, _FIFO_BYTES))]

    def drain(self) -> None:
        while self.read_all(0):
            pass

    def close(self) -> None:
        os.close(self._fd)
        self.path.unlink()


class Bench(NamedTuple):
    """The compiled probes and the FIFO they write to."""

    bindir: Path
    fifo: Fifo

    @property
    def service(self) -> Path:
        """The trivial service: says that it started, then sleeps for ever."""
        return self.bindir / "svc"


class Tree:
    """One command and everything it starts."""

    _count = 0

    def __init__(
        self, bench: Bench, argv: Sequence[str | Path], env: dict[str, str],
        *, systemd_cgroup: bool = False, pass_fds: Sequence[int] = (),
    ) -> None:  # fmt: skip
        Tree._count += 1
        name = f"bench-{os.getpid()}-{Tree._count}"
        roots = [CPUACCT, PIDS, *([SYSTEMD] if systemd_cgroup else [])]
        self._groups = [root / name for root in roots]
        for group in self._groups:
            group.mkdir()
        joins = [str(group / "cgroup.procs") for group in self._groups]
        enter = [str(bench.bindir / "enter"), str(bench.fifo.path), *joins, "--"]
        self.proc = subprocess.Popen(
            [*enter, *map(str, argv)], env=env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=pass_fds,
        )  # fmt: skip

    def tasks(self) -> int:
        """Tasks that exist, zombies included."""
        return int((self._groups[1] / "pids.current").read_text())

    def cpu_s(self) -> float:
        """CPU seconds of the tree so far."""
        return int((self._groups[0] / "cpuacct.usage").read_text()) / 1e9

    def cpu_split_ms(self) -> dict[str, int]:
        """The same as {"user": ms, "system": ms}, in clock ticks."""
        lines = (self._groups[0] / "cpuacct.stat").read_text().splitlines()
        tick_ms = 1000 // os.sysconf("SC_CLK_TCK")
        return {word: int(ticks) * tick_ms for word, ticks in map(str.split, lines)}

    def pids(self) -> list[int]:
        return [int(pid) for pid in (self._groups[0] / "cgroup.procs").read_text().split()]

    def split(self, service: Path) -> tuple[list[int], list[int]]:
        """Pids of the supervisor layer and of the services: those run the executable `service`."""
        layer, services = [], []
        for pid in self.pids():
            try:
                exe = os.readlink(f"/proc/{pid}/exe")
            except OSError:
                continue
            if exe == str(service):
                services.append(pid)
            elif not exe.endswith("/unshare"):
                layer.append(pid)
        return layer, services

    def destroy(self) -> None:
        """Kill whatever is left (only this tree's own pids) and remove the cgroups."""
        end = time.monotonic() + 20
        while self.tasks() and time.monotonic() < end:
            for pid in self.pids():
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self.proc.poll()
            time.sleep(0.01)
        self.proc.wait()
        for group in self._groups:
            remove_groups(group)


def remove_groups(top: Path) -> None:
    """Remove a cgroup and those below it, waiting up to 1 s for each to be empty."""
    for group, _, _ in os.walk(top, topdown=False):
        for _ in range(100):
            try:
                os.rmdir(group)
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.01)


def pss_kb(pids: Iterable[int]) -> int:
    """Proportional set size: pages shared with others count in parts. Dead pids count 0."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


def switches(pids: Iterable[int]) -> tuple[int, int]:
    """Voluntary and involuntary context switches of all threads of `pids` so far."""
    voluntary = involuntary = 0
    for pid in pids:
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                for line in Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines():
                    if line.startswith("voluntary"):
                        voluntary += int(line.split()[1])
                    elif line.startswith("nonvoluntary"):
                        involuntary += int(line.split()[1])
    return voluntary, involuntary


def kernel_kb() -> int:
    """Kernel memory that processes pin: stacks, page tables, unreclaimable slab (whole machine)."""
    wanted = {"SUnreclaim:", "KernelStack:", "PageTables:", "Percpu:"}
    rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(row[1]) for row in rows if row[0] in wanted)


def busy_s() -> float:
    """CPU seconds that the whole machine was busy, to notice other load."""
    fields = [int(x) for x in Path("/proc/stat").read_text().partition("\n")[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / os.sysconf("SC_CLK_TCK")


def host_pids(pids: Iterable[int]) -> dict[int, int]:
    """Each process's innermost pid-namespace number -> its pid here."""
    found = {}
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("NSpid:"):
                    found[int(line.split()[-1])] = pid
    return found

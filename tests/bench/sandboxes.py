"""What isolation costs: each key alone over a plain unit, and level app a thousand times.

`keys`: per key the time from a Start to the first byte (as in isolation.py, the keys taken in turn
in every repeat), what running units of it take of memory, and what a hot system call costs under
its filter. `apps`: services at level app with limits, beside bare processes.
"""
from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import harness
from tests.bench.harness import DONE, Bench, Fifo
from tests.bench.isolation import place
from tests.bench.ours import Units, call
from tests.bench.peers import Limit, Peer
from tests.bench.session import Session

Sample = dict[str, Any]

_LIMIT_S = 20.0
_LIMIT_NS = 1_000_000_000
_SETTLE_S = 2.0
_NS_PER_PS = 1e-3
_CALLS = ("getppid_ns", "read_ns", "fcntl_ns")  # in the order in which c/hot.c tells of them

_STATE = Path("/var/lib/unboxed-bench")  # of the key `state`

# What stands in the unit file, by the row's name; {place} and {port} are replaced.
PLAIN = "plain"
KEYS = {
    PLAIN: "",
    'level = "off"': '[sandbox]\nlevel = "off"',
    'level = "app"': '[sandbox]\nlevel = "app"',
    'level = "strict"': '[sandbox]\nlevel = "strict"\npromises = ["stdio", "rpath", "wpath"]\n'
                        'write = ["{place}"]\nexec = ["{place}"]',
    'user = "dynamic"': 'user = "dynamic"',
    'promises = ["app"]': '[sandbox]\npromises = ["app"]',
    "promises, three": '[sandbox]\npromises = ["stdio", "rpath", "wpath"]',
    'read, view = "hide"': '[sandbox]\nread = ["/usr", "{place}"]\nwrite = ["{place}"]',
    'read, view = "deny"': '[sandbox]\nview = "deny"\nread = ["/usr"]\nwrite = ["{place}"]',
    "write": '[sandbox]\nwrite = ["{place}"]',
    "exec": '[sandbox]\nexec = ["@self"]\nwrite = ["{place}"]',
    'processes = "own"': '[sandbox]\nprocesses = "own"',
    'processes = "hidden"': '[sandbox]\nprocesses = "hidden"',
    'ipc = "own"': '[sandbox]\nipc = "own"',
    'hostname = "own"': '[sandbox]\nhostname = "own"',
    'time = "own"': '[sandbox]\ntime = "own"',
    'cgroup = "own"': '[sandbox]\ncgroup = "own"',
    'tmp = "private"': '[sandbox]\ntmp = "private"',
    "state": '[sandbox]\nstate = ["unboxed-bench"]',
    "users": "[sandbox.users]",
    "devices": "[sandbox]\ndevices = []",
    "capabilities": '[sandbox]\ncapabilities = ["net_bind_service"]',
    "jit = false": "[sandbox]\njit = false",
    "open": '[[sandbox.open]]\npath = "/etc/hostname"\nfd = 3',
    "root": 'root = "{place}/root"',
    "secrets": '[secrets]\nkey = "/etc/hostname"',
    'network.mode = "none"': '[network]\nmode = "none"',
    'network.mode = "private"': '[network]\nmode = "private"',
    "network.listen": '[network]\nlisten = ["tcp:{port}"]',
    "network.connect": '[network]\nconnect = ["tcp:443"]',
    "network.unix": "[network]\nunix = []",
    "limits": '[limits]\nmemory = "64MiB"\ntasks = 16\ncpu = "100%"',
}
_UNIT = """\
autostart = false
command = ["{place}/{program}", "{place}/fifo"{words}]
{before}
[restart]
when = "never"
{tables}
"""
_APP = """\
command = ["{place}/svc", "{place}/fifo"]
[sandbox]
level = "app"
[limits]
memory = "64MiB"
tasks = 16
cpu = "100%"
"""


_ports = itertools.count(18000)  # two units may not claim one


def unit(where: Path, program: str, text: str, *words: str) -> str:
    """A unit file of this program with the lines of a key."""
    filled = text.format(place=where, port=next(_ports))
    before, mark, tables = filled.partition("[")
    return _UNIT.format(
        place=where, program=program, words="".join(f', "{word}"' for word in words),
        before=before, tables=mark + tables,
    )  # fmt: skip


class Keys(NamedTuple):
    """A supervisor with units of every key: `t<i>` tells that it started and ends, `c<i>` measures
    calls, `m<i>-<j>` are there to be weighed."""

    session: Session
    fifo: Fifo

    def _call(self, method: str, *units: str) -> tuple[int, dict[str, Any]]:
        path = self.session.root / "rt" / "control"
        return call(path, method, units=list(units))

    def start_ms(self, row: int) -> Sample:
        self.fifo.drain()
        begin, answer = self._call("Start", f"t{row}")
        end = time.monotonic_ns()
        record = self.fifo.read(1)
        if record is None:
            raise RuntimeError(f"no word of it: {answer}")
        same_clock = begin < record.ns < end + _LIMIT_NS  # not in a time namespace
        return {
            "first_ms": (record.ns - begin) / 1e6 if same_clock else None,
            "answer_ms": (end - begin) / 1e6,
        }  # fmt: skip

    def calls(self, row: int) -> Sample:
        self.fifo.drain()
        answer = self._call("Start", f"c{row}")[1]
        found = {}
        for name in _CALLS:
            record = self.fifo.read(_LIMIT_S if answer["results"][0]["ok"] else 1)
            if record is None or record.kind != DONE:
                raise RuntimeError(f"no word of it: {answer}")
            found[name] = record.value * _NS_PER_PS
        return found

    def memory(self, row: int, n: int) -> Sample:
        """KB a unit: of our own processes (the holders of pid namespaces are among them), and of
        the kernel, for `n` units that run."""
        tree, service = self.session.tree, self.session.root.parent / "svc"
        before = _weigh(harness.pss_kb(tree.split(service)[0]))
        self.fifo.drain()
        units = [f"m{row}-{i}" for i in range(n)]
        self._call("Start", *units)
        started = sum(1 for _ in range(n) if self.fifo.read(_LIMIT_S / 10))
        time.sleep(_SETTLE_S)
        after = _weigh(harness.pss_kb(tree.split(service)[0]))
        self._call("Stop", *units)
        time.sleep(_SETTLE_S)
        if started != n:
            raise RuntimeError(f"{started} of {n} started")
        return {key: (after[key] - before[key]) / n for key in after}


@contextmanager
def keys(bench: Bench, n: int) -> Iterator[Keys]:
    """`n` units of each key to be weighed."""
    with _furnished(bench) as (where, fifo):
        texts = {}
        for row, text in enumerate(KEYS.values()):
            texts[f"t{row}"] = unit(where, "svc", text, "once")
            texts[f"c{row}"] = unit(where, "hot", text)
            texts |= {f"m{row}-{i}": unit(where, "svc", text) for i in range(n)}
        session = Session(Bench(bench.bindir, fifo), Units(texts), 0, where)
        try:
            time.sleep(_SETTLE_S)
            yield Keys(session, fifo)
        finally:
            session.close()
            with suppress(OSError):
                _STATE.rmdir()


def apps(bench: Bench, n: int, *, bare: bool) -> Sample:
    """Start `n` services at level app with limits, or (`bare`) as many processes of a C program
    without anything; the memory of all of it, kernel's included."""
    with _furnished(bench) as (where, fifo):
        stage = Bench(where, fifo)
        peer: Peer = Limit(bench) if bare else Units({f"s{i}": _APP.format(place=where)
                                                      for i in range(n)})
        before = _weigh(0)
        session = Session(stage, peer, n, where)
        try:
            sample: Sample = {"started": session.started, "wall_s": session.wall_s}
            time.sleep(_SETTLE_S)
            layer, services = session.tree.split(where / "svc")
            after = _weigh(harness.pss_kb(layer))
            roles: dict[str, int] = {}
            for pid in layer:
                role = peer.role(Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
                roles[role] = roles.get(role, 0) + harness.pss_kb([pid])
            sample |= {key: (after[key] - before[key]) / n for key in after}
            sample |= {"services": len(services), "pss_by_role_kb": roles}
            sample["stop_s"] = session.stop(_LIMIT_S * 3)
        finally:
            session.close()
    time.sleep(_SETTLE_S)
    return sample


@contextmanager
def _furnished(bench: Bench) -> Iterator[tuple[Path, Fifo]]:
    """A place that every sandbox can see, with the probes and a FIFO that anybody may write to."""
    with place() as where:
        fifo = Fifo(where / "fifo")
        root = where / "root"  # in which the same is at the same path
        (root / str(where)[1:]).mkdir(parents=True)
        for name in ("proc", "dev", "sys"):
            (root / name).mkdir()
        for program in ("svc", "hot", "enter"):
            shutil.copy(bench.bindir / program, where)
        for name in ("svc", "hot", "fifo"):
            os.link(where / name, root / str(where)[1:] / name)
        try:
            yield where, fifo
        finally:
            fifo.close()


def _weigh(layer_kb: int) -> dict[str, int]:
    """`layer_kb`: PSS of our processes. `kernel_kb`: memory that the kernel keeps for itself (with
    caches that it could give back). `used_kb`: what is not available of the whole machine."""
    rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    found = {row[0][:-1]: int(row[1]) for row in rows}
    kernel = ("Slab", "KernelStack", "PageTables", "Percpu")
    return {
        "layer_kb": layer_kb, "kernel_kb": sum(found[name] for name in kernel),
        "used_kb": found["MemTotal"] - found["MemAvailable"],
    }  # fmt: skip

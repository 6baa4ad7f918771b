"""Telling agents of the instances that come and go, with descriptors of their cgroup and process.

Law: a slow reader holds up nobody and costs a bounded memory: of each instance only the latest news
waits. The descriptors are opened when the message leaves, so they are never of an earlier run. The
keeper has our end (`door:KEY`), so a new manager goes on; as it does not know what was told, it
tells how everything is now.
"""
from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from msgspec import json

from supervisor.core.world import RESTING
from supervisor.kernel import door
from supervisor.manager.launcher import is_isolated
from supervisor.manager.loop import WRITE
from supervisor.model.state import Instance
from supervisor.model.unit import SECOND_NS, Unit, receives

if TYPE_CHECKING:
    from supervisor.core.graph import Graph
    from supervisor.manager.supervisor import Supervisor

_UNKNOWN = -1  # no pid: whatever it was told, it is told again
_PAUSE_NS = SECOND_NS  # before it is tried again for want of descriptors
_encode = json.Encoder().encode


class _Wants(NamedTuple):
    cgroup: bool
    pidfd: bool


class Door:
    """Of one run of an agent. `told`: the pid that each instance had; 0 once it was gone."""

    def __init__(self, unit: Unit, run: int, fd: int) -> None:
        self.name = unit.name
        self.wants = _Wants(receives(unit, "cgroup"), receives(unit, "pidfd"))
        self.boxed = is_isolated(unit)
        self.denied = unit.sandbox is not None and unit.sandbox.view == "deny"
        self.run = run
        self.fd = fd
        self.told: dict[str, int] = {}
        self.waiting: dict[str, None] = {}  # keys of instances that there is news of
        self.watched = False
        self.again_ns = 0
        self.graph: Graph | None = None  # that `mains` is of
        self.mains: frozenset[str] = frozenset()


class Doors:
    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup
        self._doors: dict[str, Door] = {}

    def open(self, inst: Instance, unit: Unit) -> int:
        """The agent's end, which is the caller's to close. Raises OSError."""
        self.close(inst.key)
        ours, theirs = door.pair()
        self._sup.launcher.descriptors.keep(f"door:{inst.key}", ours)
        one = self._doors[inst.key] = Door(unit, inst.launch, ours)
        self.look_at(self._sup.world.instances, only=one)
        return theirs

    def adopt(self, inst: Instance, unit: Unit, fd: int) -> None:
        """An earlier manager opened it."""
        one = self._doors[inst.key] = Door(unit, inst.launch, fd)
        graph = self._sup.world.graph
        mains = graph.agents.get(unit.name, ())
        keys = [key for name in mains for key in self._sup.world.all_of(name)]
        one.told = dict.fromkeys(keys, _UNKNOWN)
        self.look_at(keys, only=one)

    def close(self, key: str) -> None:
        one = self._doors.pop(key, None)
        if one is not None:
            if one.watched:
                self._sup.loop.remove(one.fd)
            os.close(one.fd)
        self._sup.drop(f"door:{key}")
        self._schedule()

    def run_of(self, key: str) -> int:
        one = self._doors.get(key)
        return one.run if one is not None else 0

    def look_at(self, keys: Iterable[str], only: Door | None = None) -> None:
        """These instances may have come, gone, or have another process now."""
        graph = self._sup.world.graph
        for one in self._doors.values() if only is None else (only,):
            if one.graph is not graph:
                one.graph, one.mains = graph, frozenset(graph.agents.get(one.name, ()))
            for key in keys:
                mine = key in one.told or key.partition("/")[0] in one.mains
                if mine and one.told.get(key, 0) != self._pid(key):
                    one.waiting[key] = None
            if one.waiting and not one.watched and not one.again_ns:
                self._flush(one)

    def _flush(self, one: Door) -> None:
        one.again_ns = 0
        result = "sent"
        while one.waiting and result == "sent":
            key = next(iter(one.waiting))
            pid = self._pid(key)
            if one.told.get(key, 0) == pid:
                del one.waiting[key]
                continue
            result = self._send(one, key, pid)
            if result == "sent":
                del one.waiting[key]
                one.told[key] = pid
                if key not in self._sup.world.instances:
                    del one.told[key]
        if result == "gone":
            one.waiting.clear()
        if result == "short":
            one.again_ns = self._sup.now() + _PAUSE_NS
        self._watch(one, wanted=result == "full")
        self._schedule()

    def _watch(self, one: Door, *, wanted: bool) -> None:
        if wanted and not one.watched:
            self._sup.loop.add(one.fd, WRITE, lambda _events: self._flush(one))
        elif one.watched and not wanted:
            self._sup.loop.remove(one.fd)
        one.watched = wanted

    def _send(self, one: Door, key: str, pid: int) -> str:
        name, _, index = key.partition("/")
        fds = self._descriptors(one, key, pid) if pid else {}
        message = {
            "event": "up" if pid else "down", "key": key, "unit": name,
            "instance": int(index or 0), "pid": pid, "descriptors": list(fds),
        }  # fmt: skip
        try:
            return door.send(one.fd, _encode(message), tuple(fds.values()))
        finally:
            for fd in fds.values():
                os.close(fd)

    def _descriptors(self, one: Door, key: str, pid: int) -> dict[str, int]:
        sup, found = self._sup, {}
        base = getattr(sup.tracker, "base", "")
        if one.wants.cgroup and base:
            group = sup.tracker.group(key)
            found["cgroup"] = door.group_of(base, group, boxed=one.boxed, denied=one.denied)
        if one.wants.pidfd:
            found["pidfd"] = door.process_of(pid, sup.keeper_pid)
        return {name: fd for name, fd in found.items() if fd >= 0}

    def look(self, now: int) -> None:
        for one in list(self._doors.values()):
            if 0 < one.again_ns <= now:
                self._flush(one)

    def _schedule(self) -> None:
        times = [one.again_ns for one in self._doors.values() if one.again_ns]
        self._sup.doors_ns = min(times, default=0)

    def _pid(self, key: str) -> int:
        """Of its main process, once that was executed; 0 while it does not run."""
        inst = self._sup.world.instances.get(key)
        if inst is None or inst.phase in RESTING or inst.phase == "launching":
            return 0
        return inst.pid

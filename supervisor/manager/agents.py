"""What the supervisor does for agents while they run (docs/agents.md): loaded for the first one.

Law: an agent gets what it asked for by descriptors and files of ours, and whatever it does with
them costs nobody else anything: nothing here waits for an agent. All of it lasts as long as the
run of the agent that it was made for.
"""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import MsgspecError, Struct, json

from supervisor.kernel.host import read
from supervisor.manager.doors import Doors
from supervisor.manager.endpoints import Endpoints
from supervisor.manager.feeds import Feeds
from supervisor.manager.given import forget_progress, meets, progress_file
from supervisor.model.unit import receives

if TYPE_CHECKING:
    from collections.abc import Iterable

    from supervisor.core.graph import Graph
    from supervisor.core.resume import Child
    from supervisor.manager.supervisor import Supervisor
    from supervisor.model.state import Instance, Transition
    from supervisor.model.unit import Unit


PROGRESS_BYTES = 1 << 20  # of a feed of some thousand streams


class _Progress(Struct):
    behind_bytes: int


class Agents:
    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup
        self.feeds = Feeds(sup)
        self.doors = Doors(sup)
        self._endpoints = Endpoints(sup)
        self._graph: Graph | None = None
        self._told = False  # an agent of `_graph` receives endpoints
        sup.listeners.append(self._on_transitions)

    # --- launches -----------------------------------------------------------------------------

    def open(self, inst: Instance, unit: Unit) -> list[int]:
        """The descriptors that the launch sends along, in the order of given.given; the caller's to
        close. Raises OSError."""
        if receives(unit, "endpoints"):
            self._endpoints.write()
        found: list[int] = []
        try:
            if receives(unit, "logs"):
                os.makedirs(os.path.dirname(progress_file(self._sup.paths, inst.key)), 0o700,
                            exist_ok=True)
                forget_progress(self._sup.paths, inst.key)
                found.append(self._pipe(f"feed:{inst.key}", ours=1))
                if unit.agent is not None and unit.agent.cursor:
                    found.append(self._pipe(f"ack:{inst.key}", ours=0))
            if meets(unit):
                found.append(self.doors.open(inst, unit))
        except OSError:
            for fd in found:
                os.close(fd)
            for kind in ("feed", "ack", "door"):
                self._sup.drop(f"{kind}:{inst.key}")
            raise
        return found

    def launched(self, inst: Instance, unit: Unit) -> None:
        """The launch was asked for."""
        if receives(unit, "logs"):
            self.feeds.begin(inst, unit)

    def _pipe(self, name: str, *, ours: int) -> int:
        """The agent's end of a new pipe, of which the keeper keeps the other one."""
        ends = os.pipe2(os.O_CLOEXEC)
        try:
            self._sup.launcher.descriptors.keep(name, ends[ours])
        finally:
            os.close(ends[ours])
        return ends[1 - ours]

    # --- what happens -------------------------------------------------------------------------

    def _on_transitions(self, fresh: list[Transition]) -> None:
        instances = self._sup.world.instances
        moved = dict.fromkeys(one.key for one in fresh)
        for key in moved:
            inst = instances.get(key)
            self._over(key, inst.launch if inst is not None else 0)
        self.doors.look_at(moved)
        if self._wanted():
            self._endpoints.changed()

    def _over(self, key: str, run: int) -> None:
        """Let go of what was made for an earlier run than this."""
        if self.feeds.run_of(key) not in (0, run):
            self.feeds.gone(key)
        if self.doors.run_of(key) not in (0, run):
            self.doors.close(key)

    def _wanted(self) -> bool:
        graph = self._sup.world.graph
        if self._graph is not graph:
            self._graph = graph
            self._told = any(receives(graph.units[name], "endpoints") for name in graph.agents)
        return self._told

    def redefined(self) -> None:
        """Units came, went or changed."""
        self.feeds.redefined()
        if self._wanted():
            self._endpoints.changed()

    def look(self, now: int) -> None:
        """Do what is due."""
        if 0 < self._sup.feeds_ns <= now:
            self.feeds.look(now)
        if 0 < self._sup.doors_ns <= now:
            self.doors.look(now)
        if 0 < self._sup.endpoints_ns <= now:
            self._endpoints.write()

    def behind(self, inst: Instance) -> int | None:
        """Bytes that are stored for an agent and that it has not got; None: nobody knows."""
        if self.feeds.run_of(inst.key) != inst.launch or not inst.launch:
            return None
        text = read(progress_file(self._sup.paths, inst.key), PROGRESS_BYTES)
        try:
            return json.decode(text, type=_Progress).behind_bytes
        except MsgspecError:
            return None  # it has not written any yet

    # --- a new manager ------------------------------------------------------------------------

    def resume(self, children: Iterable[Child], doors: dict[str, int]) -> None:
        """Go on with the runs that there are. `children`: the feeds that the keeper knows; `doors`:
        by the agent's key, to own."""
        sup = self._sup
        last: dict[str, Child] = {}
        strays: set[int] = set()
        for child in sorted(children, key=lambda child: child.launch):
            last[child.key.partition(":")[0]] = child
            if child.state != "EXITED_UNACKED":
                strays.add(child.launch)
        for key, inst in sup.world.instances.items():
            unit = sup.launched.get(key) or sup.world.unit_of(inst)
            if unit.agent is None or inst.launch not in sup.launches:
                continue
            mine = last.get(key)
            if mine is not None and mine.launch < inst.launch:
                mine = None  # of an earlier run
            if mine is not None:
                strays.discard(mine.launch)
            if receives(unit, "logs") and (mine is not None or f"feed:{key}" in sup.stored):
                self.feeds.adopt(inst, unit, mine)
            if meets(unit) and key in doors:
                self.doors.adopt(inst, unit, doors.pop(key))
        for fd in doors.values():
            os.close(fd)
        for launch in strays:
            sup.keeper.signal(launch, 9)
        if self._wanted():
            self._endpoints.changed()

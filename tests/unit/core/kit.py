"""A world of a few units, told events by hand, with what it asked for as short words.

`asked()` gives the actions since the last call: "launch web", "launch web before 0",
"signal web 15 all", "kill web", "watch web", "drain web", "release web", ...
"""
from __future__ import annotations

from typing import Any

from supervisor.core.world import World
from supervisor.model import action as do
from supervisor.model import event as ev
from supervisor.model.state import Transition
from supervisor.model.unit import Edge, Needs, Unit, Until

START = 2**62 + 12_345  # a hostile offset: time is only compared and added to
MS = 1_000_000
S = 1_000_000_000


class Bench:
    def __init__(self, *units: Unit, cores: int = 2, machine: bool = False) -> None:
        self.world = World(3, cores, machine=machine)
        self.now = START
        self.told: list[Transition] = []
        self.world.define({unit.name: unit for unit in units})

    def __getitem__(self, key: str) -> Any:  # an Instance; a checker must not believe it unchanged
        return self.world.instances[key]

    # --- requests -----------------------------------------------------------------------------

    def start(self, *names: str) -> Bench:
        self.world.start(names, "asked to start", self.now)
        return self

    def stop(self, *names: str) -> Bench:
        self.world.stop(names, "asked to stop", self.now)
        return self

    def restart(self, *keys: str) -> Bench:
        self.world.restart(keys, "asked to restart", self.now)
        return self

    def tell(self, key: str, event: object) -> Bench:
        self.world.deliver(key, event, self.now)
        return self

    # --- what processes do --------------------------------------------------------------------

    def execed(self, *keys: str) -> Bench:
        """The main processes (or, while they run, the jobs) of `keys` are executed."""
        for key in keys:
            launch = self[key].job or self[key].launch
            self.tell(key, ev.Execed(launch, 1000 + launch))
        return self

    def exited(self, key: str, status: int = 0, empty: bool = True) -> Bench:
        return self.tell(key, ev.Exited(self[key].launch, 1, status, empty))

    def killed(self, key: str, signal: int = 15, empty: bool = True) -> Bench:
        return self.tell(key, ev.Exited(self[key].launch, 2, signal, empty))

    def job_exited(self, key: str, status: int = 0, empty: bool = False) -> Bench:
        return self.tell(key, ev.Exited(self[key].job, 1, status, empty))

    def gone(self, *keys: str) -> Bench:
        """The main processes of what is stopping end as they were told to."""
        for key in keys:
            self.killed(key)
        return self

    def up(self, *names: str) -> Bench:
        """Start units, and have every main process executed, in the order of their needs."""
        self.start(*names)
        for _ in self.world.instances:
            for inst in list(self.world.instances.values()):
                if inst.phase == "launching":
                    self.execed(inst.key)
        self.asked()
        return self

    def after(self, span: int) -> Bench:
        """Let time pass, and what is due be due."""
        self.now += span
        self.world.expire(self.now)
        return self

    # --- what can be seen ---------------------------------------------------------------------

    def phases(self, *keys: str) -> list[str]:
        return [self[key].phase for key in keys]

    def asked(self) -> list[str]:
        actions, fresh, _ = self.world.take()
        self.told += fresh
        return [words(action) for action in actions]

    def left(self) -> int:
        """Time until the next deadline."""
        return self.world.deadline() - self.now


def words(action: do.Action) -> str:
    if isinstance(action, do.Launch):
        return f"launch {action.key}" + (f" {action.role} {action.hook}" if action.role else "")
    if isinstance(action, do.Signal):
        return f"signal {action.key} {action.signal} {action.scope}"
    if isinstance(action, do.Freeze):
        return f"{'freeze' if action.frozen else 'thaw'} {action.key}"
    name = "kill" if isinstance(action, do.KillAll) else type(action).__name__.lower()
    return f"{name} {action.key}"


def service(name: str = "web", **fields: object) -> Unit:
    return Unit(name, command=("run",), **fields)  # type: ignore[arg-type]


def needy(name: str = "web", **needs: object) -> Unit:
    return service(name, needs=Needs(**needs))  # type: ignore[arg-type]


def group(name: str, *members: str) -> Unit:
    return Unit(name, kind="group", needs=Needs(wants=edges(*members)))


def edges(*names: str, until: Until = "ready", order: bool = True) -> tuple[Edge, ...]:
    return tuple(Edge(name, until, order) for name in names)

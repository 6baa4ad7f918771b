"""Runs a manager in which one callback raises once: put beside a copy of the real one.

`raise` in the home directory holds the name of a place; the next call of that place removes the
file and raises. Places are `Class.method` and `step PHASE EVENT` (a handler of core's table). From
when there is a file `forget` on, every place that is called is noted in `called`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

HOME = os.environ["SABOTAGE_HOME"]
called: set[str] = set()


class Sabotage(Exception):
    pass


def wanted() -> str:
    try:
        with open(f"{HOME}/raise") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def sabotaged(place: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*words: Any, **named: Any) -> Any:
        order = wanted()
        if place not in called and not order and os.path.exists(f"{HOME}/forget"):
            called.add(place)
            with open(f"{HOME}/called", "a") as file:
                file.write(place + "\n")
        if order == place:
            os.unlink(f"{HOME}/raise")
            raise Sabotage(place)
        return call(*words, **named)

    return wrapper


def methods(kind: type, *names: str) -> None:
    for name in names or [n for n in vars(kind) if callable(getattr(kind, n)) and n[:2] != "__"]:
        setattr(kind, name, sabotaged(f"{kind.__name__}.{name}", getattr(kind, name)))


def prepare() -> None:
    from supervisor.control.server import Server
    from supervisor.core import step, world
    from supervisor.manager.eventlog import EventLog
    from supervisor.manager.journal import Journal
    from supervisor.manager.launcher import Launcher
    from supervisor.manager.notices import Notices
    from supervisor.manager.observer import Observer
    from supervisor.manager.performer import Performer
    from supervisor.manager.reports import Reports
    from supervisor.manager.requests import Requests
    from supervisor.manager.waiters import Waiters

    methods(Observer)
    methods(Performer)
    methods(Notices)
    methods(Requests)
    methods(Waiters, "add", "look", "_on_transitions", "look_all")
    methods(Reports, "instance", "transition", "describe", "progress")
    methods(Launcher, "frame", "plan", "forget")
    methods(EventLog, "report", "_on_transitions", "_opened")
    methods(Journal, "append", "create")
    methods(Server, "on_event", "expire")
    methods(world.World, "deliver", "expire", "start", "stop", "restart")
    for (phase, kind), handler in list(step.TABLE.items()):
        if handler is not None:
            step.TABLE[phase, kind] = sabotaged(f"step {phase} {kind.__name__}", handler)


def main(argv: list[str]) -> int:
    prepare()
    from supervisor.manager.main import main as begin

    return begin(argv)


if __name__ == "__main__":
    here = __file__.rpartition("/supervisor/")[0]
    sys.path[0:0] = [here, *sys.argv[sys.argv.index("--site") + 1].split(":")]
    sys.exit(main(sys.argv[1:]))

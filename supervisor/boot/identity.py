"""Step `identity`: machine id, random seed, clock, records of the boot, directories in /run.

`unboxed boot identity --save` is for the end of a run: it saves seed and clock, and records the
shutdown. None of these fails a boot: what cannot be done is told, and the machine goes on without.
"""
from __future__ import annotations

import os

from supervisor.boot import _clock, _machine_id, _places, _seed, _utmp
from supervisor.boot._machine import Machine, step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SIGTERM = 15


def main(argv: Sequence[str]) -> int:
    return step("identity", argv, {"": run, "--save": save})


def run(machine: Machine) -> int:
    """At boot. Again on the running machine, it mends what is gone, and does nothing twice."""
    _try(machine, "make a machine id", lambda: _machine_id.ensure(machine))
    _clock.forward(machine)
    _try(machine, "note the time", lambda: _clock.stamp(machine))
    for problem in _places.make(machine):
        machine.warn(f"{problem}; who needs it will say so")
    if machine.once("identity"):
        _try(machine, "load the random seed", lambda: machine.tell(_seed.load(machine)))
        _try(machine, "record the boot", lambda: _utmp.booted(machine))
        _try(machine, "clean /tmp", lambda: _clean(machine))
    return 0


def save(machine: Machine) -> int:
    """At the end; then the process that the unit keeps for this has nothing to wait for."""
    _try(machine, "save the random seed", lambda: _seed.save(machine, marked=True))
    _try(machine, "note the time", lambda: _clock.stamp(machine))
    _try(machine, "record the shutdown", lambda: _utmp.shut_down(machine))
    release()
    return 0


def release() -> None:
    """End the main process of the unit whose stop command this is. No harm without one."""
    pid = os.environ.get("MAINPID", "")
    if pid.isdigit() and int(pid) > 1:
        try:
            os.kill(int(pid), _SIGTERM)
        except ProcessLookupError:
            pass


def _clean(machine: Machine) -> None:
    left = _places.clean_tmp(machine)
    if left:
        machine.tell(f"{left} entries of an earlier boot could not be removed from /tmp")


def _try(machine: Machine, what: str, do: Callable[[], None]) -> None:
    try:
        do()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        where = f"{error.filename}: " if error.filename else ""
        machine.warn(f"cannot {what}: {where}{reason}; the machine goes on without")

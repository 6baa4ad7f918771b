"""Mounts what fstab says, in the order that directories ask for, and as many at a time as can be.

Law: a mount that nobody insists on (nofail) never fails a boot, and one that hangs is killed when
its time is over. Each is one mount(8) by its directory, which looks up the rest in fstab itself and
knows all types and their helpers; so each that fails is named with what mount said of it.
"""
from __future__ import annotations

import os

from supervisor.boot._fstab import Entry
from supervisor.boot._machine import Machine
from supervisor.boot._mounted import seen
from supervisor.boot._tools import Child, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TELL_S = 10.0


def mount_all(machine: Machine, entries: Sequence[Entry]) -> tuple[list[Entry], dict[Entry, str]]:
    """(what was mounted now, why others were not). What is mounted already is left as it is."""
    there = seen(machine)
    real = {each: machine.real(each.target) for each in entries}
    todo = [each for each in entries if real[each] not in there]
    running: dict[Entry, Child] = {}
    done: list[Entry] = []
    failed: dict[Entry, str] = {}
    told = machine.now()
    while todo or running:
        ready = [each for each in todo
                 if not any(_needs(each, one, real) for one in (*todo, *running) if one != each)]
        if not ready and not running:  # they wait for each other: in the order of the file
            ready = todo[:1]
        for entry in ready:
            todo.remove(entry)
            lacking = next((each for each in failed if _needs(entry, each, real)), None)
            if lacking:
                failed[entry] = f"{lacking.target} is not mounted"
                continue
            _make_directory(machine, entry)
            running[entry] = machine.tools.start("mount", entry.target, timeout_s=entry.mount_s)
        if running:
            wait(list(running.values()), 1.0)
        late = machine.now() - told >= _TELL_S
        for entry, child in list(running.items()):
            ended = child.poll()
            if ended:
                del running[entry]
                if ended.code:
                    failed[entry] = ended.words()
                else:
                    done.append(entry)
            elif late:
                machine.show(f"boot: still mounting {entry.spec} on {entry.target}")
        if late:
            told = machine.now()
    return done, failed


def with_needs(
    machine: Machine, chosen: Sequence[Entry], entries: Sequence[Entry]
) -> list[Entry]:
    """Those of `entries` that are chosen or have to be mounted before one that is: what a directory
    that is bound lies in, too."""
    real = {each: machine.real(each.target) for each in entries if each.target not in ("", "/")}
    found = list(chosen)
    for each in found:
        found += [one for one in real if one not in found and _needs(each, one, real)]
    return [each for each in entries if each in found]


def _needs(entry: Entry, other: Entry, real: Mapping[Entry, str]) -> bool:
    """Whether its directory, or what it is made of, is inside of the other. `real`: directories as
    the kernel names them, where links lead."""
    return any(
        path.startswith(f"{above.rstrip('/')}/")
        for above in (other.target, real[other])
        for path in (entry.target, real[entry], f"{entry.spec}/"))


def _make_directory(machine: Machine, entry: Entry) -> None:
    """As systemd does. That it cannot be made, mount tells."""
    source = machine.path(entry.spec)
    if entry.bind and os.path.exists(source) and not os.path.isdir(source):
        return  # a file goes on a file
    try:
        os.makedirs(machine.path(entry.target), 0o755, exist_ok=True)
    except OSError:
        pass

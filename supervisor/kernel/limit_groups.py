"""Groups of instances and slices in every hierarchy that has a controller of ours.

An instance's group has the same name in all of them, and that of cgroup v2 is the one that tracking
has. A slice is a group above its members': `+NAME`, because no unit's name begins so.
"""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from supervisor.kernel.controllers import Controllers, enable, make_v1
from supervisor.kernel.usage import Places
from supervisor.model.unit import Limits

Slices = Sequence[tuple[str, Limits]]  # the outermost first: name of the group unit, its [limits]


def group_of(key: str, slices: Slices = ()) -> str:
    """An instance's group relative to the units' directory, in every hierarchy."""
    return above(slices) + key.replace("/", "@")


def above(slices: Slices) -> str:
    """What stands before a group in these slices: also for CgroupTracker.slices."""
    return "".join(f"+{name}/" for name, _ in slices)


def make(controllers: Controllers, controller: str, group: str) -> bool:
    """Make a group, and those above it, in a controller's hierarchy. True: it was not there."""
    found = controllers.found(controller)
    path, made = found.top, False
    for part in group.split("/"):
        if found.version == 2 and path != found.top:
            enable(path, controller)
        upper, path = path, f"{path}/{part}"
        if found.version == 1:
            made = make_v1(path, upper, controller)
        else:
            made = not os.path.isdir(path)
            if made:
                os.mkdir(path, 0o755)
    return made


def places(controllers: Controllers, group: str) -> Places:
    """Where the figures of a group are. On v1 it is in those hierarchies only that limit it."""
    paths = {}
    for name, found in controllers.seen().items():
        path = f"{found.top}/{group}"
        if found.version == 1 and os.path.isdir(path):
            paths[name] = path
    base = controllers.base
    return Places(
        f"{base}/{group}" if base else "",
        *(paths.get(name, "") for name in ("memory", "cpu", "pids", "io")),
    )


def tops(controllers: Controllers) -> set[str]:
    """Our directories in v1 hierarchies."""
    return {one.top for one in controllers.seen().values() if one.version == 1}


def sliced(controllers: Controllers) -> dict[str, str]:
    """Key and group of the instances in slices that are there."""
    base = [controllers.base] if controllers.base else []
    found = {}
    for top in (*base, *tops(controllers)):
        for path, below, _ in os.walk(top):
            if path != top:
                within = path[len(top) + 1 :]
                names = [name for name in below if name[0] != "+"]
                found.update({name.replace("@", "/"): f"{within}/{name}" for name in names})
            below[:] = [name for name in below if name[0] == "+"]
    return found


def slices_of(base: str) -> Iterator[str]:
    """Directories of the outermost slices."""
    for entry in os.scandir(base):
        if entry.name[0] == "+":
            yield entry.path


def remove(path: str) -> bool:
    """Remove a group and those below it, the deepest first. True: it is not there any more."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        pass  # somebody is in it, or there are groups below
    else:
        return True
    for root, _, _ in os.walk(path, topdown=False, followlinks=False):
        try:
            os.rmdir(root)
        except OSError:
            pass  # somebody is in it, and what is above stays as well
    return not os.path.exists(path)

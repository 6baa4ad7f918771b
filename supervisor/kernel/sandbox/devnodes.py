"""A /dev of the unit's own: nodes that are named, and nothing else.

Each node is a mount of the host's, whose type and number were looked at through a descriptor: never
one of the unit's root, where /dev/null may be anything (CVE-2025-31133). A link to a node is made
again as a link.
"""
from __future__ import annotations

import os
import stat

from supervisor.kernel.sandbox import devices
from supervisor.kernel.sandbox.mounts import NODEV, NOEXEC, NOSUID, RDONLY, Scene
from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.kernel.sandbox.trace import Traced, trace
from supervisor.model.policy import Policy

_LINKS = {
    "/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2", "/dev/ptmx": "pts/ptmx",
}  # fmt: skip


def own(policy: Policy) -> bool:
    return policy.devices is not None


def nodes(policy: Policy) -> list[Traced]:
    """The host's nodes that are in it. Raises CannotConfine."""
    found = []
    for path, node in devices.ALWAYS.items():
        if path in _LINKS:
            continue
        real = _look(path)
        number = os.makedev(node.major, node.minor or 0)
        if real is None:
            continue  # a host without /dev/tty has none to give
        if number != _number(real.real):
            raise CannotConfine(f"sandbox.devices: cannot show {path}: the host's is another one")
        found.append(real)
    for path in devices.listed(policy):
        real = _look(path)
        if real is not None:
            found.append(real)
    return list({one.real: one for one in found}.values())


def take(scene: Scene, found: list[Traced]) -> list[tuple[str, str]]:
    """Before /dev is covered: path and tree of each."""
    taken = []
    for one in found:
        tree = scene.take(one.real)
        scene.change(tree, NOSUID | NOEXEC)
        taken.append((one.real, tree))
    return taken


def cover(scene: Scene) -> None:
    """The file system that /dev becomes, empty."""
    scene.memory("/dev", NOSUID | NOEXEC, 0o755)


def fill(scene: Scene, taken: list[tuple[str, str]], found: list[Traced]) -> None:
    """Nodes, terminals of its own, links, shared memory; then nothing can be added."""
    for path, tree in taken:
        scene.put(tree, path, directory=False)
    terminals = scene.make("devpts", NOSUID | NOEXEC, mode="0620", ptmxmode="0666")
    scene.put(terminals, "/dev/pts")
    scene.memory("/dev/shm", NOSUID | NODEV | NOEXEC, 0o1777)  # noqa: S108 - its name
    for path, text in (*_LINKS.items(), *(link for one in found for link in one.links)):
        scene.symlink(path, text)
    scene.change(scene.covers["/dev"], RDONLY, deep=False)


def words(found: list[Traced]) -> str:
    names = " ".join(sorted(one.real.removeprefix("/dev/") for one in found))
    return f"a /dev of its own with {names}, and terminals that it makes"


def _look(path: str) -> Traced | None:
    """The real path of a node, None if there is none. Raises CannotConfine for what is no node."""
    try:
        real = trace(path, key="sandbox.devices")
    except OSError:
        return None
    if not (stat.S_ISCHR(real.mode) or stat.S_ISBLK(real.mode)):
        raise CannotConfine(f"sandbox.devices: cannot show {path}: it is no device")
    if not real.real.startswith("/dev/"):
        raise CannotConfine(f"sandbox.devices: cannot show {path}: it leads out of /dev")
    return real


def _number(path: str) -> int:
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.fstat(fd).st_rdev
    finally:
        os.close(fd)

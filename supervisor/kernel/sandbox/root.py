"""A directory as the root of a unit (root=): its tree, and what every root needs from the host.

The tree is taken by descriptor and is the root after pivot_root; what is not in it is not there.
/proc, /dev, /run and /tmp are mounted over the empty directories that it has for them. Nothing is
made in it, so one that lacks these is refused by name.
"""
from __future__ import annotations

from supervisor.kernel.sandbox.mounts import NODEV, NOSUID, Scene
from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.kernel.sandbox.trace import exists, trace
from supervisor.model.policy import Policy

EMPTY = ("/run",)  # of its own, for what is only there while it runs
_NEEDED = ("/proc", "/dev")
_SYSTEM = "/sys"
_RESOLVER = ("/etc/resolv.conf", "/etc/hosts")


def take(scene: Scene, policy: Policy) -> str:
    """The tree, put where `pivot` finds it; its label. Raises CannotConfine."""
    try:
        real = trace(policy.root, key="root")
    except OSError as exc:
        raise CannotConfine(
            f"root: cannot find {policy.root}: {exc.strerror}; unpack an image there"
        ) from exc
    if not real.directory:
        raise CannotConfine(f"root: cannot use {policy.root}: it is no directory")
    for path in _NEEDED:
        if not exists(path, policy.root) or not trace(path, policy.root).directory:
            raise CannotConfine(
                f"root: cannot use {policy.root}: it has no directory {path[1:]}; make an empty one"
            )
    tree = scene.take(real.real)
    scene.change(tree, NODEV | (NOSUID if policy.no_new_privileges else 0))
    scene.become_root(tree, own=False)
    return tree


def files(policy: Policy) -> list[str]:
    """What of the host's is seen in it, read-only: devices' description, and with the host's
    network who answers for names. Only what the root has a place for."""
    found = [_SYSTEM] if _has(_SYSTEM, policy.root) else []
    if policy.network.mode == "host":
        found += [path for path in _RESOLVER if exists(path) and _has(path, policy.root)]
    return found


def _has(path: str, root: str) -> bool:
    """Whether it is there, and not by a link."""
    return exists(path, root) and trace(path, root).real == path

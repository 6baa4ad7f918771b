"""Whether udev, which gives interfaces their final names, has still to do with them.

Law: asked only while something is waited for, and believed only while udev runs. What it is at is
told by its own marks (as `udevadm settle` reads them, which waits for all devices of the machine).
"""
from __future__ import annotations

import os
from collections.abc import Iterable

from supervisor.boot.net.seen import Link

FOLDER = "/run/udev"
_DEVICES = ("", "veth")  # kinds: what others make has the name that they gave it


def runs(folder: str) -> bool:
    return os.path.exists(f"{folder}/control")


def busy(folder: str) -> bool:
    """Some device has not been looked at, of whatever kind: an interface may come of it."""
    return runs(folder) and os.path.exists(f"{folder}/queue")


def unnamed(links: Iterable[Link], folder: str) -> list[str]:
    """Interfaces that it has not looked at yet: their names may change."""
    if not runs(folder):
        return []
    return [
        link.name for link in links
        if link.kind in _DEVICES and link.name != "lo"
        and not os.path.exists(f"{folder}/data/n{link.index}")
    ]

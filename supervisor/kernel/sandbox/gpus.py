"""Device nodes of graphics cards by index: what `gpus` lets a unit open.

nvidiaN is the card of that minor number, with the control nodes that every use of one needs. amdN
is the N-th AMD card in the order of render nodes, as its own tools count them.
"""
from __future__ import annotations

import os

from supervisor.kernel.host import read
from supervisor.kernel.sandbox.part import CannotConfine

_NVIDIA_SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
_AMD_VENDOR = "0x1002"


def nodes(names: tuple[str, ...], dev: str = "/dev", sys: str = "/sys") -> tuple[str, ...]:
    """Paths of the nodes of these cards, of all there are for "all". Raises CannotConfine."""
    cards = _cards(dev, sys)
    if not names:
        return ()
    if "all" in names:
        names = tuple(cards)
    found: list[str] = []
    for name in names:
        if name not in cards:
            there = ", ".join(cards) or "none"
            raise CannotConfine(
                f"sandbox.gpus: cannot find {name}; graphics cards of this host: {there}"
            )
        found += cards[name]
    if not found:
        raise CannotConfine(
            "sandbox.gpus: cannot find any graphics card of this host; load its driver"
        )
    return tuple(dict.fromkeys(found))


def _cards(dev: str, sys: str) -> dict[str, list[str]]:
    cards: dict[str, list[str]] = {}
    names = os.listdir(dev)
    shared = [f"{dev}/{name}" for name in _NVIDIA_SHARED if name in names]
    numbers = (name.removeprefix("nvidia") for name in names if name.startswith("nvidia"))
    for number in sorted((n for n in numbers if n.isdigit()), key=int):
        cards[f"nvidia{number}"] = [*shared, f"{dev}/nvidia{number}"]
    kfd = [f"{dev}/kfd"] if "kfd" in names else []
    for index, node in enumerate(_amd(sys)):
        if os.path.exists(f"{dev}/dri/{node}"):
            cards[f"amd{index}"] = [*kfd, f"{dev}/dri/{node}"]
    return cards


def _amd(sys: str) -> list[str]:
    """Render nodes of AMD cards, in order."""
    try:
        names = os.listdir(f"{sys}/class/drm")
    except OSError:
        return []
    found = [
        int(name.removeprefix("renderD"))
        for name in names
        if name.startswith("renderD")
        and read(f"{sys}/class/drm/{name}/device/vendor").strip() == _AMD_VENDOR
    ]
    return [f"renderD{number}" for number in sorted(found)]

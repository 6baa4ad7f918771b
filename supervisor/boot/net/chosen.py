"""Which interface each table of network.toml means."""
from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from supervisor.boot.net.seen import Link, Seen
from supervisor.config.machine_address import LOOPBACK
from supervisor.config.machine_network import Interface, MachineNetwork, Match

_MADE = frozenset(("vlan", "bond", "bridge", "dummy"))


def choose(network: MachineNetwork, seen: Seen, earlier: Mapping[str, str]) -> dict[str, str]:
    """The kernel's name by the name of the table; those that are not there, and not made by the
    file, are left out. `earlier`: what was chosen the last time, which stays while it fits."""
    taken = {LOOPBACK}
    for one in network.interface:
        taken |= {one.name} if one.match is None else set()
    tables = {one.name for one in network.interface}
    for one in network.interface:
        taken |= set(one.below) - tables
    found: dict[str, str] = {}
    waiting: list[Interface] = []
    for one in network.interface:
        if one.match is None:
            if one.made or one.name in seen.links:
                found[one.name] = one.name
            continue
        link = seen.links.get(earlier.get(one.name, ""))
        if link and link.name not in taken and _fits(one.match, link):
            found[one.name] = link.name
            taken.add(link.name)
        else:
            waiting.append(one)
    for one in waiting:
        for name in sorted(seen.links.keys() - taken, key=_natural):
            if one.match and _fits(one.match, seen.links[name]):
                found[one.name] = name
                taken.add(name)
                break
    return _standing(network, found, seen)


def _standing(network: MachineNetwork, found: dict[str, str], seen: Seen) -> dict[str, str]:
    """Without the VLANs whose carrier is missing."""
    tables = {one.name: one for one in network.interface}
    while True:
        for name in found:
            vlan = tables[name].vlan
            if vlan and vlan.link not in found and (
                vlan.link in tables or vlan.link not in seen.links
            ):
                del found[name]
                break
        else:
            return found


def absent(network: MachineNetwork, chosen: Mapping[str, str]) -> bool:
    """Whether any interface is not there, also one that may be missing."""
    return any(one.name not in chosen for one in network.interface)


def missing(network: MachineNetwork, chosen: Mapping[str, str], seen: Seen) -> list[str]:
    """What is not there and should be, in words of the file."""
    tables = {one.name for one in network.interface}
    found = [
        f"interface {one.name}" + _words(one.match)
        for one in network.interface
        if not one.optional and not one.made and one.name not in chosen
    ]
    for one in network.interface:
        found += [
            f"interface {name}, of which {one.name} is made"
            for name in one.below
            if not one.optional and name not in tables and name not in seen.links
        ]
    return found


def _words(match: Match | None) -> str:
    if match is None:
        return ""
    parts = ["/".join(match.name)] if match.name else []
    return f" ({' '.join([*parts, match.mac] if match.mac else parts)})"


def _fits(match: Match, link: Link) -> bool:
    if link.kind in _MADE:
        return False
    if match.mac and match.mac not in {link.own_mac, link.mac}:
        return False
    return not match.name or any(fnmatchcase(link.name, pattern) for pattern in match.name)


def _natural(name: str) -> list[tuple[int, str]]:
    """eth2 before eth10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]

"""What no single key of network.toml can know: contradictions between keys, and between interfaces.

Law: as `rules`. Asked about a file whose every key was accepted, so no error is another's echo.
"""
from __future__ import annotations

from collections.abc import Iterator

from supervisor.config.machine_address import LOOPBACK, inside, is_six, link_local
from supervisor.config.machine_network import Interface, MachineNetwork, Route
from supervisor.config.table import Fault

_LEAST_MTU_OF_SIX = 1280  # RFC 8200
_RATED = ("802.3ad",)
_WITH_PRIMARY = ("active-backup", "balance-tlb", "balance-alb")


def check(network: MachineNetwork) -> list[Fault]:
    """Each with its path from the top of the file."""
    faults: list[Fault] = []
    for one in network.interface:
        for rule in (_kind, _down, _loopback, _gateway, _each_route, _mtu, _bond, _bridge):
            found = rule(one)
            faults += [(("interface", one.name, *where), why) for where, why in found]
    return [*faults, *_masters(network), *_circle(network), *_twice(network), *_defaults(network)]


def default_routes(one: Interface) -> list[Route]:
    """What `gateway` stands for."""
    return [Route("default", via, one.metric) for via in one.gateway]


def family_six(route: Route) -> bool:
    return is_six(route.via if route.to == "default" else route.to)


def _kind(one: Interface) -> Iterator[Fault]:
    kinds = [kind for kind in ("vlan", "bond", "bridge", "dummy") if getattr(one, kind)]
    for kind in kinds[1:]:
        yield (kind,), f"cannot be a {kind} too: it is a {kinds[0]}; remove one of the two"
    if kinds and one.match is not None:
        why = f"cannot match anything: this {kinds[0]} is made, not found; remove match"
        yield ("match",), why


def _down(one: Interface) -> Iterator[Fault]:
    if one.up:
        return
    for key in ("dhcp", "gateway", "routes", "online"):
        if getattr(one, key):
            yield (key,), f"cannot have {key} while up = false; remove one of the two"


def _loopback(one: Interface) -> Iterator[Fault]:
    if one.name != LOOPBACK:
        return
    for key in ("match", "vlan", "bond", "bridge", "dummy", "dhcp", "gateway", "mac", "online"):
        if getattr(one, key):
            yield (key,), f"cannot have {key}: it is the loopback; remove it"
    if not one.up:
        yield ("up",), "cannot set the loopback down: programs rely on it; remove it"


def _gateway(one: Interface) -> Iterator[Fault]:
    if len({is_six(via) for via in one.gateway}) < len(one.gateway):
        why = "cannot have two of one family: write the other as one of routes, with a metric"
        yield ("gateway",), why
    for via in one.gateway:
        yield from _reachable(one, via, ("gateway",))


def _each_route(one: Interface) -> Iterator[Fault]:
    for index, route in enumerate(one.routes):
        where = ("routes", index)
        if route.to == "default" and not route.via:
            why = 'cannot tell if this is v4 or v6: add via, or write "0.0.0.0/0" or "::/0"'
            yield (*where, "to"), why
            continue
        for key in ("via", "source"):
            other = getattr(route, key)
            if other and is_six(other) != family_six(route):
                yield (*where, key), f"cannot be {other}: {route.to} is of the other family"
        if route.onlink and not route.via:
            yield (*where, "onlink"), "cannot be without via: there is no router; remove it"
        if route.via and not route.onlink:
            yield from _reachable(one, route.via, (*where, "via"))


def _reachable(one: Interface, via: str, where: tuple[str | int, ...]) -> Iterator[Fault]:
    """A router that no address of the file leads to is a slip, unless others bring addresses."""
    if via in {address.partition("/")[0] for address in one.addresses}:
        yield where, f"cannot be {via}: that is this interface's own address"
    elif not _brought(one, via) and not any(inside(via, own) for own in one.addresses):
        hint = "correct one of them, or write a route with onlink = true"
        yield where, f"cannot reach {via}: it is in none of the networks of addresses; {hint}"


def _brought(one: Interface, via: str) -> bool:
    """Whether a network with `via` may come from DHCP or from routers."""
    if not is_six(via):
        return one.dhcp
    return link_local(via) or (one.accept_ra is not False and not any(map(is_six, one.addresses)))


def _mtu(one: Interface) -> Iterator[Fault]:
    six = any(map(is_six, one.addresses)) or one.accept_ra or one.slaac
    if one.mtu and one.mtu < _LEAST_MTU_OF_SIX and six:
        yield ("mtu",), f"cannot be {one.mtu}: IPv6 needs {_LEAST_MTU_OF_SIX} bytes"


def _bond(one: Interface) -> Iterator[Fault]:
    bond = one.bond
    if bond is None:
        return
    if bond.primary and bond.primary not in bond.members:
        yield ("bond", "primary"), f"cannot be {bond.primary}: it is none of members"
    if bond.primary and bond.mode not in _WITH_PRIMARY:
        yield ("bond", "primary"), f"cannot be used in mode {bond.mode}; remove it"
    if bond.lacp_rate and bond.mode not in _RATED:
        yield ("bond", "lacp_rate"), f"cannot be used in mode {bond.mode}; remove it"
    for key, value in (("updelay", bond.updelay_ns), ("downdelay", bond.downdelay_ns)):
        if value and not bond.miimon_ns:
            yield ("bond", key), "cannot be used while miimon is 0: nothing looks at the links"
        elif value and value % bond.miimon_ns:
            yield ("bond", key), "cannot be used: it must be a multiple of miimon"
    for key in ("miimon_ns", "updelay_ns", "downdelay_ns"):
        if getattr(bond, key) % 1_000_000:
            yield ("bond", key.removesuffix("_ns")), "cannot be used: write whole milliseconds"


def _bridge(one: Interface) -> Iterator[Fault]:
    if one.bridge is None or not one.bridge.stp:
        return
    if not 2_000_000_000 <= one.bridge.forward_delay_ns <= 30_000_000_000:
        yield ("bridge", "forward_delay"), "cannot be used: it must be from 2s to 30s"
    elif one.bridge.forward_delay_ns % 10_000_000:
        yield ("bridge", "forward_delay"), "cannot be used: write whole hundredths of a second"


def _masters(network: MachineNetwork) -> Iterator[Fault]:
    tables = {one.name: one for one in network.interface}
    owner: dict[str, str] = {}
    for master in network.interface:
        key = "members" if master.bond else "ports"
        for name in master.members:
            where = ("interface", master.name, "bond" if master.bond else "bridge", key)
            if name in owner and owner[name] != master.name:
                yield where, f"cannot take {name}: it belongs to {owner[name]}"
            owner.setdefault(name, master.name)
            member = tables.get(name)
            if name == LOOPBACK:
                yield where, "cannot take lo: it is the loopback"
            if member is None:
                continue
            for own in ("addresses", "gateway", "routes", "dhcp", "online"):
                if getattr(member, own):
                    why = f"cannot have {own}: it is part of {master.name}; write it there"
                    yield ("interface", name, own), why
            if not member.up and master.bond:
                why = f"cannot be down: it is a member of {master.name}; remove it"
                yield ("interface", name, "up"), why


def _circle(network: MachineNetwork) -> Iterator[Fault]:
    below = {one.name: one.below for one in network.interface}
    for one in network.interface:
        seen: set[str] = set()
        todo = list(one.below)
        while todo:
            name = todo.pop()
            if name == one.name:
                where = ("interface", one.name, one.made)
                yield where, "cannot stand on itself: follow what it is made of"
                break
            if name not in seen:
                seen.add(name)
                todo += below.get(name, ())


def _twice(network: MachineNetwork) -> Iterator[Fault]:
    """The same address in two places, and a VLAN made twice."""
    seen: dict[str, str] = {}
    vlans: dict[tuple[str, int], str] = {}
    for one in network.interface:
        for index, address in enumerate(one.addresses):
            host = address.partition("/")[0]
            if host in seen and not link_local(host):
                where = ("interface", one.name, "addresses", index)
                yield where, f"cannot have {host}: it is an address of {seen[host]}"
            seen.setdefault(host, one.name)
        if one.vlan:
            key = (one.vlan.link, one.vlan.id)
            if key in vlans:
                why = f"cannot be made: {vlans[key]} is the same VLAN"
                yield ("interface", one.name, "vlan"), why
            vlans.setdefault(key, one.name)


def _defaults(network: MachineNetwork) -> Iterator[Fault]:
    """Two routes that the kernel cannot tell apart."""
    seen: dict[tuple[object, ...], str] = {}
    for one in network.interface:
        listed = [(route, ("gateway",)) for route in default_routes(one)]
        rest = [(route, ("routes", index)) for index, route in enumerate(one.routes)]
        for route, where in [*listed, *rest]:
            six = family_six(route)
            to = route.to if route.to != "default" else "::/0" if six else "0.0.0.0/0"
            key = (to, route.table, route.metric or (1024 if six else 0))
            if key in seen:
                why = f"cannot lead to {route.to} too: {seen[key]} does, with the same metric"
                yield ("interface", one.name, *where), f"{why}; give one another metric"
            seen.setdefault(key, one.name)

"""What network.toml asks for, in the kernel's terms: names resolved, defaults filled in."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from supervisor.boot.net.seen import Way
from supervisor.config.machine_network import (
    BOND_MODES,
    HASH_POLICIES,
    LACP_RATES,
    Interface,
    MachineNetwork,
    Route,
)
from supervisor.config.machine_rules import default_routes, family_six

_MS = 1_000_000
_METRIC_OF_SIX = 1024  # IP6_RT_PRIO_USER: what 0 means to the kernel


class Device(Struct, frozen=True):
    """A link that the file makes. `fixed`: attributes that only a new one can have; `free`: those
    that can change; `names`: those that are another link."""

    kind: str
    fixed: tuple[tuple[str, int], ...] = ()
    free: tuple[tuple[str, int], ...] = ()
    lower: str = ""
    names: tuple[tuple[str, str], ...] = ()


class Wanted(Struct, frozen=True):
    """`order`: all links that are to be there, each behind what it stands on."""

    order: tuple[str, ...] = ()
    devices: dict[str, Device] = {}
    members: dict[str, str] = {}
    addresses: tuple[tuple[str, str], ...] = ()
    ways: tuple[Way, ...] = ()
    onlink: frozenset[Way] = frozenset()
    up: dict[str, bool] = {}
    mtu: dict[str, int] = {}
    mac: dict[str, str] = {}
    settings: dict[tuple[str, str], str] = {}
    dhcp: dict[str, int] = {}  # with the metric of the default route


def want(network: MachineNetwork, chosen: Mapping[str, str]) -> Wanted:
    """`chosen`: as `chosen.choose` says; tables without an interface ask for nothing."""
    tables = {one.name: one for one in network.interface}

    def real(name: str) -> str:
        """"" for one that is not there; a name without a table is the kernel's."""
        return chosen.get(name, "") if name in tables else name

    members: dict[str, str] = {}
    for one in network.interface:
        if one.name in chosen:
            members |= {real(name): chosen[one.name] for name in one.members if real(name)}
    up = {real(name): True for one in network.interface for name in one.below if real(name)}
    wanted = Wanted(order=_ordered(network, chosen, real), members=members, up=up)
    addresses: list[tuple[str, str]] = []
    ways: dict[Way, bool] = {}
    for one in network.interface:
        link = chosen.get(one.name)
        if link is None:
            continue
        if one.made:
            wanted.devices[link] = _device(one, real)
        up[link] = one.up or (link in members and up.get(link, False))
        if one.mtu:
            wanted.mtu[link] = one.mtu
        if one.mac:
            wanted.mac[link] = one.mac
        if one.accept_ra is not None:  # 2: also where this machine forwards
            wanted.settings[link, "accept_ra"] = "2" if one.accept_ra else "0"
        if one.slaac is not None:
            wanted.settings[link, "autoconf"] = str(int(one.slaac))
        addresses += [(link, address) for address in one.addresses]
        ways |= {_way(link, way): way.onlink for way in [*default_routes(one), *one.routes]}
        if one.dhcp:
            wanted.dhcp[link] = one.metric
    return Wanted(
        wanted.order, wanted.devices, members, tuple(addresses),
        tuple(sorted(ways, key=nearest_first)),
        frozenset(way for way, onlink in ways.items() if onlink),
        up, wanted.mtu, wanted.mac, wanted.settings, wanted.dhcp,
    )  # fmt: skip


def _ordered(network: MachineNetwork, chosen: Mapping[str, str], real: Any) -> tuple[str, ...]:
    tables = {one.name: one for one in network.interface}
    found: dict[str, None] = {}

    def visit(name: str) -> None:  # the rules of the file leave no circle
        for below in tables[name].below if name in tables else ():
            visit(below)
        if real(name):
            found[real(name)] = None

    for name in tables:
        visit(name)
    return tuple(found)


def _device(one: Interface, real: Any) -> Device:
    if one.vlan:
        return Device("vlan", (("IFLA_VLAN_ID", one.vlan.id),), lower=real(one.vlan.link))
    if one.bond:
        bond = one.bond
        free = [
            ("IFLA_BOND_MIIMON", bond.miimon_ns // _MS),
            ("IFLA_BOND_UPDELAY", bond.updelay_ns // _MS),
            ("IFLA_BOND_DOWNDELAY", bond.downdelay_ns // _MS),
            ("IFLA_BOND_MIN_LINKS", bond.min_links),
        ]
        # Which of them can change while it is up depends on the kernel and the mode: it is remade.
        fixed = [("IFLA_BOND_MODE", BOND_MODES.index(bond.mode))]
        if bond.lacp_rate:
            fixed.append(("IFLA_BOND_AD_LACP_RATE", LACP_RATES.index(bond.lacp_rate)))
        if bond.hash_policy:
            number = HASH_POLICIES.index(bond.hash_policy)
            fixed.append(("IFLA_BOND_XMIT_HASH_POLICY", number))
        names = (("IFLA_BOND_PRIMARY", real(bond.primary)),) if bond.primary else ()
        return Device("bond", tuple(fixed), _without_idle(free), names=names)
    if one.bridge:
        bridge = one.bridge
        switch = [
            ("IFLA_BR_STP_STATE", int(bridge.stp)),
            ("IFLA_BR_VLAN_FILTERING", int(bridge.vlan_filtering)),
        ]
        if bridge.stp:  # in hundredths of a second: USER_HZ
            switch.append(("IFLA_BR_FORWARD_DELAY", bridge.forward_delay_ns // (10 * _MS)))
        return Device("bridge", free=tuple(switch))
    return Device("dummy")


def _without_idle(free: list[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Delays are refused by the kernel, 0 too, while no miimon is set."""
    delays = {"IFLA_BOND_UPDELAY", "IFLA_BOND_DOWNDELAY"}
    return tuple(row for row in free if free[0][1] or row[0] not in delays)


def _way(link: str, route: Route) -> Way:
    six = family_six(route)
    to = route.to
    if to == "default":
        to = "::/0" if six else "0.0.0.0/0"
    metric = route.metric or (_METRIC_OF_SIX if six else 0)
    return Way(link, to, route.via, metric, route.table, route.source)


def nearest_first(way: Way) -> tuple[bool, int]:
    """A router must be reachable when its route is made."""
    return bool(way.via), -int(way.to.rpartition("/")[2])

"""Whether the machine is online: what network.toml asks for, and packets can take. Pure."""
from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from supervisor.boot.net.seen import Address, Seen
from supervisor.boot.net.wanted import Wanted
from supervisor.config.machine_address import is_six, link_local
from supervisor.config.machine_network import Interface, MachineNetwork

_ANYWHERE = ("0.0.0.0/0", "::/0")


class Lacking(Struct, frozen=True):
    """`final`: waiting will not help. `maybe`: it comes soon if it comes at all."""

    words: str
    final: bool = False
    maybe: bool = False


def lacking(
    network: MachineNetwork, chosen: Mapping[str, str], wanted: Wanted, seen: Seen
) -> list[Lacking]:
    """What is missing for the machine to be online; nothing: it is."""
    found: list[Lacking] = []
    for one in network.interface:
        if not one.awaited:
            continue
        name = chosen.get(one.name, "")
        if name not in seen.links:
            found += [] if one.optional else [Lacking(f"there is no interface {one.name}")]
        elif not seen.links[name].carrier:
            what = "has no carrier" if seen.links[name].up else "is down"
            found.append(Lacking(f"{name} {what}"))
        else:
            held = [row for row in seen.addresses if row.link == name]
            found += [*_addresses(one, name, held), *_routes(name, wanted, seen)]
            # A lease without a router is none of our business, one whose route comes behind it is.
            if one.dhcp and not any(w.link == name and w.to in _ANYWHERE for w in seen.dhcp_ways):
                found.append(Lacking(f"{name} has no default route by DHCP", maybe=True))
    return found


def _addresses(one: Interface, name: str, held: list[Address]) -> Iterator[Lacking]:
    by_address = {row.address: row for row in held}
    for address in one.addresses:
        row = by_address.get(address)
        if row is None:
            yield Lacking(f"{name} does not have {address}")
        elif row.duplicate:
            yield Lacking(f"{address} of {name} is in use by another host", final=True)
        elif row.tentative:
            yield Lacking(f"it is not known yet if another host has {address} of {name}")
    leased = [row for row in held if row.dynamic and not is_six(row.address)]
    if one.dhcp and not leased:
        yield Lacking(f"{name} has no address by DHCP")
    if one.accept_ra and not one.addresses and not one.dhcp and not any(map(_global_six, held)):
        yield Lacking(f"{name} has no address from a v6 router")


def _global_six(row: Address) -> bool:
    host = row.address.partition("/")[0]
    return is_six(host) and not (link_local(host) or row.tentative or row.duplicate)


def _routes(name: str, wanted: Wanted, seen: Seen) -> Iterator[Lacking]:
    for way in wanted.ways:
        if way.link == name and way.to in _ANYWHERE and way not in seen.ways:
            yield Lacking(f"{name} has no default route via {way.via}")

"""The difference between what is wanted and what is there, as rows to carry out in this order.

Law: pure. A row says what it does; the same three values give the same rows; what is as it should
be gives none. What others made (never in the file, so not in the record) is in no row.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from supervisor.boot.net.made import Made
from supervisor.boot.net.seen import Link, Seen, Way
from supervisor.boot.net.wanted import Device, Wanted

LOOPBACK = "lo"
_KERNEL_WORDS = {"IFLA_BOND_": "bond ", "IFLA_BR_": "bridge ", "IFLA_VLAN_": "vlan "}
WORDS = {
    "create": "make {link}, a {value[0]}",
    "delete": "delete {link}",
    "change": "set {words} of {link}",
    "name": "set {words} of {link}",
    "join": "add {link} to {value}",
    "leave": "take {link} out of {value}",
    "up": "set {link} up",
    "down": "set {link} down",
    "mtu": "set the MTU of {link} to {value}",
    "mac": "set the hardware address of {link} to {value}",
    "setting": "set {value[0]} of {link} to {value[1]}",
    "address": "add {value} to {link}",
    "no-address": "remove {value} from {link}",
    "route": "add the route to {way}",
    "no-route": "remove the route to {way}",
}


class Row(Struct, frozen=True):
    """`do` is one of WORDS. `value`: what the words say, and `act` needs."""

    do: str
    link: str
    value: Any = None

    def describe(self) -> str:
        way = _describe(self.value) if type(self.value) is Way else ""
        words = ""
        if self.do in {"change", "name"}:
            name, value = self.value[-1]
            words = f"{plain(name)} to {value}"
        return WORDS[self.do].format(link=self.link, value=self.value, way=way, words=words)


def plain(name: str) -> str:
    """An attribute of the kernel's in words."""
    for prefix, word in _KERNEL_WORDS.items():
        if name.startswith(prefix):
            return word + name.removeprefix(prefix).lower()
    return name


def _describe(way: Way) -> str:
    to = "default" if way.to in {"0.0.0.0/0", "::/0"} else way.to
    via = f" via {way.via}" if way.via else ""
    metric = f" metric {way.metric}" if way.metric else ""
    table = f" table {way.table}" if way.table != 254 else ""
    return f"{to}{via} dev {way.link}{metric}{table}"


def plan(wanted: Wanted, seen: Seen, made: Made) -> tuple[list[Row], list[str]]:
    """The rows, and what stands in their way."""
    gone, problems = _obsolete(wanted, seen, made)
    rows = [*_loopback(seen), *_removed(wanted, seen, made, gone)]
    rows += [Row("delete", name) for name in sorted(gone)]
    rest = seen.without(gone)
    rows += _restored(wanted, rest, made)
    blocked = {name for name, _ in problems}
    rows += _links(wanted, rest, blocked)
    there = [name for name in wanted.order if name in rest.links or name in wanted.devices]
    there = [name for name in there if name not in blocked]
    rows += [row for name in there for row in _link(name, wanted, rest)]
    held = _held(rest)
    rows += [
        Row("address", link, address)
        for link, address in wanted.addresses
        if (link, address) not in held and link in there
    ]
    rows += [
        Row("up" if wanted.up[name] else "down", name)
        for name in there
        if name in wanted.up and wanted.up[name] != _is_up(rest.links.get(name))
    ]
    rows += [
        Row("route", way.link, way)
        for way in wanted.ways
        if way not in rest.ways and way.link in there
    ]
    return list(dict.fromkeys(rows)), [why for _, why in problems]


def after(wanted: Wanted, seen: Seen, made: Made, chosen: dict[str, str]) -> Made:
    """What the record says once the file is applied: of what it names only what was not there
    before, so that the rest outlives the file."""
    rest = seen.without(_obsolete(wanted, seen, made)[0])  # what is made anew is all ours
    ours = {
        name for name, device in wanted.devices.items()
        if name in made.links or name not in seen.links or _spare(name, device, seen)
    }
    before = [row for row in made.before if row[:2] in _set_keys(wanted)]
    known = {row[:2] for row in before}
    before += [
        (link, key, value)
        for link, key in sorted(_set_keys(wanted) - known)
        if link not in ours and (value := _value(seen, link, key))
    ]
    leased = {row.link for row in seen.addresses if row.dynamic and ":" not in row.address}
    return Made(
        frozenset(ours),
        frozenset(wanted.addresses) - (_held(rest) - made.addresses),
        frozenset(wanted.ways) - (rest.ways - made.ways),
        frozenset(wanted.members.items()) - (_joined(rest) - made.members),
        frozenset(
            name for name, up in wanted.up.items()
            if up and (name in made.up or not _is_up(seen.links.get(name)))
        ),
        frozenset(wanted.dhcp) - (leased - made.dhcp),  # another client's
        tuple(sorted(chosen.items())),
        tuple(before),
    )


def _held(seen: Seen) -> set[tuple[str, str]]:
    return {(row.link, row.address) for row in seen.addresses if not row.dynamic}


def _joined(seen: Seen) -> set[tuple[str, str]]:
    return {(link.name, link.master) for link in seen.links.values() if link.master}


def _is_up(link: Link | None) -> bool:
    return link is not None and link.up


def _loopback(seen: Seen) -> Iterator[Row]:
    if LOOPBACK in seen.links and not seen.links[LOOPBACK].up:
        yield Row("up", LOOPBACK)


def _obsolete(wanted: Wanted, seen: Seen, made: Made) -> tuple[set[str], list[tuple[str, str]]]:
    """Links to delete: ours that are not wanted, or not as they are; and those of others that are
    in the way."""
    gone = {name for name in made.links if name in seen.links and name not in wanted.devices}
    problems: list[tuple[str, str]] = []
    for name, device in wanted.devices.items():
        link = seen.links.get(name)
        if link is None or _same(device, link):
            continue
        if name in made.links or _spare(name, device, seen):
            gone.add(name)
        else:
            what = link.kind or "a device"
            why = f"cannot make {name}: there is another of that name ({what}), and not from here"
            problems.append((name, f"{why}; remove or rename one of the two"))
    return gone, problems


def _spare(name: str, device: Device, seen: Seen) -> bool:
    """A link that came with its module (bond0, dummy0) and that nobody has put to use."""
    link = seen.links[name]
    used = link.up or link.master or any(one.master == name for one in seen.links.values())
    return link.kind == device.kind and not used and all(
        row.link != name for row in seen.addresses
    )


def _same(device: Device, link: Link) -> bool:
    data = dict(link.data)
    return (
        device.kind == link.kind
        and device.lower == link.lower
        and all(data.get(name, 0) == value for name, value in device.fixed)
    )


def _removed(wanted: Wanted, seen: Seen, made: Made, gone: set[str]) -> Iterator[Row]:
    """What the record has and the file has not, of links that stay."""
    unleased = made.dhcp - set(wanted.dhcp)
    static = set(wanted.addresses)
    for way in sorted(seen.ways):
        ours = way in made.ways or (way.link in unleased and way in seen.dhcp_ways)
        if ours and way not in wanted.ways and way.link not in gone:
            yield Row("no-route", way.link, way)
    for row in seen.addresses:
        key = (row.link, row.address)
        leased = row.link in unleased and row.dynamic and ":" not in row.address
        if (key in made.addresses or leased) and key not in static and row.link not in gone:
            yield Row("no-address", row.link, row.address)
    for name, master in sorted(made.members):
        link = seen.links.get(name)
        stays = link and link.master == master and name not in gone and master not in gone
        if stays and wanted.members.get(name) != master:
            yield Row("leave", name, master)


def _restored(wanted: Wanted, seen: Seen, made: Made) -> Iterator[Row]:
    """Links that are in the file no more get back what they had."""
    kept = _set_keys(wanted)
    for name, key, value in made.before:
        if (name, key) not in kept and name in seen.links and _value(seen, name, key) != value:
            yield _setter(name, key, value)
    for name in sorted(made.up):
        if name not in wanted.up and _is_up(seen.links.get(name)) and name != LOOPBACK:
            yield Row("down", name)


def _set_keys(wanted: Wanted) -> set[tuple[str, str]]:
    found = set(wanted.settings)
    found |= {(name, "mtu") for name in wanted.mtu}
    return found | {(name, "mac") for name in wanted.mac}


def _value(seen: Seen, name: str, key: str) -> str:
    link = seen.links.get(name)
    if link is None:
        return ""
    if key == "mtu":
        return str(link.mtu)
    return link.mac if key == "mac" else seen.settings.get((name, key), "")


def _setter(name: str, key: str, value: str) -> Row:
    if key == "mtu":
        return Row("mtu", name, int(value))
    return Row("mac", name, value) if key == "mac" else Row("setting", name, (key, value))


def _links(wanted: Wanted, seen: Seen, blocked: set[str]) -> Iterator[Row]:
    for name in wanted.order:
        device = wanted.devices.get(name)
        if device is None or name in blocked:
            continue
        link = seen.links.get(name)
        if link is None:
            # 0 is what a new one has; to some kernels the mere attribute is more than they can.
            attributes = tuple(row for row in (*device.fixed, *device.free) if row[1])
            yield Row("create", name, (device.kind, attributes, device.lower))
            continue
        data = dict(link.data)
        for attribute in device.free:
            if data.get(attribute[0], 0) != attribute[1]:
                yield Row("change", name, (device.kind, attribute))


def _link(name: str, wanted: Wanted, seen: Seen) -> Iterator[Row]:
    """What one link is set to, but up, which comes behind its addresses."""
    link = seen.links.get(name)
    mac = wanted.mac.get(name)
    if mac and (link is None or link.mac != mac):
        yield Row("mac", name, mac)
    mtu = wanted.mtu.get(name)
    if mtu and (link is None or link.mtu != mtu):
        yield Row("mtu", name, mtu)
    for (of, key), value in wanted.settings.items():
        if of == name and seen.settings.get((name, key)) != value:
            yield Row("setting", name, (key, value))
    for member, master in wanted.members.items():
        part = seen.links.get(member)
        if master != name or (part is not None and part.master == master):
            continue
        if part is None and member not in wanted.devices:
            continue  # it is missing, and `chosen.missing` says so
        if _is_up(part) and wanted.devices[name].kind == "bond":
            yield Row("down", member)
        yield Row("join", member, master)
    device = wanted.devices.get(name)
    for attribute, other in device.names if device else ():
        target = seen.links.get(other)
        set_to = dict(link.data).get(attribute) if link else None
        known = target is not None or other in wanted.devices
        if known and (target is None or set_to != target.index):
            yield Row("name", name, (wanted.devices[name].kind, (attribute, other)))

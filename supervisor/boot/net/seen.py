"""A snapshot of what the kernel has: links, addresses, routes. Values, of which a plan is made."""
from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from msgspec import Struct

from supervisor.boot.net.netlink import GETADDR, GETLINK, GETROUTE, Netlink

_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000
_IFA_F_DADFAILED, _IFA_F_TENTATIVE, _IFA_F_PERMANENT = 0x08, 0x40, 0x80
_AF_INET, _AF_INET6 = 2, 10
_RTN_UNICAST, _RTM_F_CLONED, RTPROT_DHCP = 1, 0x200, 16
# What the file says of a link, and where the kernel keeps it.
SETTINGS = {"accept_ra": "ipv6/conf", "autoconf": "ipv6/conf"}
_SYS = "/proc/sys/net"
_BAD_STATES = frozenset(("DOWN", "LOWERLAYERDOWN", "DORMANT", "NOTPRESENT", "TESTING"))


class Link(Struct, frozen=True):
    """`kind` "": a device. `data`: the kernel's attributes of its kind. `lower`: of a VLAN, what
    carries it. `carrier`: packets can leave."""

    index: int
    name: str
    kind: str = ""
    up: bool = False
    carrier: bool = False
    mtu: int = 0
    mac: str = ""
    own_mac: str = ""
    master: str = ""
    lower: str = ""
    data: tuple[tuple[str, Any], ...] = ()


class Address(Struct, frozen=True):
    """`address` is ADDRESS/BITS. `dynamic`: it ends by itself unless somebody renews it."""

    link: str
    address: str
    dynamic: bool = False
    tentative: bool = False
    duplicate: bool = False


class Way(Struct, frozen=True, order=True):
    """A route. `to` is NETWORK/BITS."""

    link: str
    to: str
    via: str = ""
    metric: int = 0
    table: int = 254
    source: str = ""


class Seen(Struct, frozen=True):
    links: dict[str, Link] = {}
    addresses: tuple[Address, ...] = ()
    ways: frozenset[Way] = frozenset()
    dhcp_ways: frozenset[Way] = frozenset()  # those of them that a DHCP client made
    settings: dict[tuple[str, str], str] = {}

    def without(self, gone: Collection[str]) -> Seen:
        """As it is once these links are deleted, and with them what stands on them."""
        names = set(gone)
        while more := _standing_on(names, self.links) - names:
            names |= more
        links = {
            name: _freed(link, names) for name, link in self.links.items() if name not in names
        }
        return Seen(
            links,
            tuple(row for row in self.addresses if row.link not in names),
            frozenset(way for way in self.ways if way.link not in names),
            frozenset(way for way in self.dhcp_ways if way.link not in names),
            {key: value for key, value in self.settings.items() if key[0] not in names},
        )


def _standing_on(names: Collection[str], links: dict[str, Link]) -> set[str]:
    return {link.name for link in links.values() if link.lower in names}


def _freed(link: Link, gone: Collection[str]) -> Link:
    from msgspec.structs import replace

    return replace(link, master="") if link.master in gone else link


def look(netlink: Netlink) -> Seen:
    """Raises OSError."""
    messages = netlink.dump(GETLINK)
    names = {message["index"]: message.get_attr("IFLA_IFNAME") for message in messages}
    links = {names[message["index"]]: _link(message, names) for message in messages}
    found = [row for message in netlink.dump(GETADDR) if (row := _address(message, names))]
    ways: set[Way] = set()
    leased: set[Way] = set()
    # An rtmsg without a family is one of IPv4 to this library.
    for message in [*netlink.dump(GETROUTE, _AF_INET), *netlink.dump(GETROUTE, _AF_INET6)]:
        made = set(_ways(message, names))
        ways |= made
        if message["proto"] == RTPROT_DHCP:
            leased |= made
    return Seen(links, tuple(found), frozenset(ways), frozenset(leased), _settings(links))


def setting_path(link: str, key: str) -> str:
    return f"{_SYS}/{SETTINGS[key]}/{link}/{key}"


def _settings(links: Iterable[str]) -> dict[tuple[str, str], str]:
    found = {}
    for link in links:
        for key in SETTINGS:
            try:
                with open(setting_path(link, key), encoding="ascii") as file:
                    found[link, key] = file.read().strip()
            except OSError:
                pass  # no IPv6 here
    return found


def _link(message: Any, names: dict[int, str]) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND") if info else None
    data = info.get_attr("IFLA_INFO_DATA") if info else None
    flags = message["flags"]
    state = message.get_attr("IFLA_OPERSTATE")
    mac = message.get_attr("IFLA_ADDRESS") or ""
    return Link(
        message["index"],
        message.get_attr("IFLA_IFNAME"),
        kind or "",
        bool(flags & _IFF_UP),
        bool(flags & _IFF_LOWER_UP) and state not in _BAD_STATES,
        message.get_attr("IFLA_MTU") or 0,
        mac,
        message.get_attr("IFLA_PERM_ADDRESS") or mac,
        names.get(message.get_attr("IFLA_MASTER") or 0, ""),
        names.get(message.get_attr("IFLA_LINK") or 0, "") if kind == "vlan" else "",
        _plain(data) if kind in {"vlan", "bond", "bridge"} else (),
    )


def _plain(data: Any) -> tuple[tuple[str, Any], ...]:
    """Those of the attributes that are numbers."""
    attributes = data["attrs"] if data else ()
    return tuple((name, value) for name, value in attributes if type(value) is int)


def _address(message: Any, names: dict[int, str]) -> Address | None:
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    # A peer's address is IFA_ADDRESS, and ours is the other.
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if message["index"] not in names or not address:
        return None
    return Address(
        names[message["index"]],
        f"{address}/{message['prefixlen']}",
        not flags & _IFA_F_PERMANENT,
        bool(flags & _IFA_F_TENTATIVE),
        bool(flags & _IFA_F_DADFAILED),
    )


def _ways(message: Any, names: dict[int, str]) -> Iterable[Way]:
    if message["type"] != _RTN_UNICAST or message["flags"] & _RTM_F_CLONED:
        return
    none = "::" if message["family"] == _AF_INET6 else "0.0.0.0"  # noqa: S104 - a route's, no bind
    to = f"{message.get_attr('RTA_DST') or none}/{message['dst_len']}"
    metric = message.get_attr("RTA_PRIORITY") or 0
    table = message.get_attr("RTA_TABLE") or message["table"]
    source = message.get_attr("RTA_PREFSRC") or ""
    hops = [(hop["oif"], hop) for hop in message.get_attr("RTA_MULTIPATH") or ()]
    for index, hop in hops or [(message.get_attr("RTA_OIF"), message)]:
        if index in names:
            yield Way(names[index], to, hop.get_attr("RTA_GATEWAY") or "", metric, table, source)

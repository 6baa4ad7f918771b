"""Rows of a plan to requests to the kernel, one dumb step each."""
from __future__ import annotations

from collections.abc import Callable
from errno import EBUSY, EEXIST, ENODEV
from typing import Any

from supervisor.boot.net.netlink import (
    DELADDR,
    DELLINK,
    DELROUTE,
    NEWADDR,
    NEWLINK,
    NEWROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Attributes,
    Netlink,
)
from supervisor.boot.net.plan import Row
from supervisor.boot.net.seen import Way, setting_path
from supervisor.boot.net.wanted import Wanted

_AF_INET, _AF_INET6 = 2, 10
_IFF_UP = 1
_RTN_UNICAST, _RTPROT_STATIC, _RTNH_F_ONLINK, _SCOPE_LINK, _SCOPE_UNIVERSE = 1, 4, 4, 253, 0


def act(row: Row, netlink: Netlink, wanted: Wanted) -> str:
    """Do it. "" if it is done, else why not."""
    try:
        if row.do in {"route", "no-route"}:
            _route(row, netlink, onlink=row.value in wanted.onlink)
        else:
            _ACTS[row.do](row, netlink)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno == EEXIST and row.do == "route":
            reason = "another route leads there with the same metric; give this one another"
        return f"cannot {row.describe()}: {reason}"
    return ""


def _index(name: str) -> int:
    """Raises OSError, of a link that is not there."""
    from socket import if_nametoindex

    try:
        return if_nametoindex(name)
    except OSError:
        raise OSError(ENODEV, f"there is no interface {name}") from None


def _set(netlink: Netlink, name: str, attributes: Attributes, up: bool | None = None) -> None:
    fields: dict[str, Any] = {"index": _index(name)}
    if up is not None:
        fields |= {"flags": _IFF_UP if up else 0, "change": _IFF_UP}
    netlink.do(NEWLINK, 0, fields, attributes)


def _create(row: Row, netlink: Netlink) -> None:
    kind, data, lower = row.value
    attributes: Attributes = [("IFLA_IFNAME", row.link)]
    if lower:
        attributes.append(("IFLA_LINK", _index(lower)))
    attributes.append(_info(kind, data))
    try:
        netlink.do(NEWLINK, NLM_F_CREATE | NLM_F_EXCL, {}, attributes)
    except OSError as error:
        if error.errno != EEXIST:  # its module was loaded for it just now, and made a first one
            raise


def _info(kind: str, data: Any) -> tuple[str, Any]:
    info: Attributes = [("IFLA_INFO_KIND", kind)]
    if data:
        info.append(("IFLA_INFO_DATA", {"attrs": list(data)}))
    return "IFLA_LINKINFO", {"attrs": info}


def _delete(row: Row, netlink: Netlink) -> None:
    """One that went with what it stood on is gone, too."""
    try:
        netlink.do(DELLINK, 0, {"index": _index(row.link)}, [])
    except OSError as error:
        if error.errno != ENODEV:
            raise


def _change(row: Row, netlink: Netlink) -> None:
    kind, attribute = row.value
    _set(netlink, row.link, [_info(kind, [attribute])])


def _name(row: Row, netlink: Netlink) -> None:
    kind, (attribute, other) = row.value
    _set(netlink, row.link, [_info(kind, [(attribute, _index(other))])])


def _join(row: Row, netlink: Netlink) -> None:
    _set(netlink, row.link, [("IFLA_MASTER", _index(row.value))])


def _mac(row: Row, netlink: Netlink) -> None:
    """Some devices take another address only while they are down: what goes with that comes back
    in the next round."""
    try:
        _set(netlink, row.link, [("IFLA_ADDRESS", row.value)])
    except OSError as error:
        if error.errno != EBUSY:
            raise
        _set(netlink, row.link, [], up=False)
        try:
            _set(netlink, row.link, [("IFLA_ADDRESS", row.value)])
        finally:
            _set(netlink, row.link, [], up=True)


def _setting(row: Row, netlink: Netlink) -> None:
    key, value = row.value
    with open(setting_path(row.link, key), "w", encoding="ascii") as file:
        file.write(value)


def _address(row: Row, netlink: Netlink) -> None:
    """One that would have ended by itself (a DHCP client's) becomes permanent."""
    fields, attributes = _address_of(row.link, row.value)
    netlink.do(NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, fields, attributes)


def remove_address(netlink: Netlink, link: str, address: str) -> None:
    """It alone: unless told otherwise, the kernel takes all others of its network along. Raises
    OSError."""
    if ":" not in address:
        path = f"/proc/sys/net/ipv4/conf/{link}/promote_secondaries"
        with open(path, "w", encoding="ascii") as file:
            file.write("1")
    netlink.do(DELADDR, 0, *_address_of(link, address))


def _address_of(link: str, address: str) -> tuple[dict[str, Any], Attributes]:
    host, _, bits = address.partition("/")
    six = ":" in host
    fields = {
        "index": _index(link),
        "family": _AF_INET6 if six else _AF_INET,
        "prefixlen": int(bits),
    }
    attributes: Attributes = [("IFA_LOCAL", host), ("IFA_ADDRESS", host)]
    if not six and int(bits) < 31:
        attributes.append(("IFA_BROADCAST", broadcast(host, int(bits))))
    return fields, attributes


def broadcast(host: str, bits: int) -> str:
    from socket import inet_aton, inet_ntoa

    number = int.from_bytes(inet_aton(host), "big") | ((1 << (32 - bits)) - 1)
    return inet_ntoa(number.to_bytes(4, "big"))


def _route(row: Row, netlink: Netlink, *, onlink: bool) -> None:
    fields, attributes = route_message(row.value, _index(row.link), onlink=onlink)
    if row.do == "route":
        netlink.do(NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, fields, attributes)
    else:
        fields["proto"] = 0  # whoever made it
        netlink.do(DELROUTE, 0, fields, attributes)


def route_message(
    way: Way, index: int, *, onlink: bool, proto: int = _RTPROT_STATIC
) -> tuple[dict[str, Any], Attributes]:
    to, _, bits = way.to.partition("/")
    six = ":" in to
    near = not way.via and not six
    fields = {
        "family": _AF_INET6 if six else _AF_INET,
        "dst_len": int(bits),
        "table": way.table if way.table < 256 else 0,
        "proto": proto,
        "type": _RTN_UNICAST,
        "scope": _SCOPE_LINK if near else _SCOPE_UNIVERSE,
        "flags": _RTNH_F_ONLINK if onlink else 0,
    }
    attributes: Attributes = [("RTA_TABLE", way.table), ("RTA_OIF", index)]
    if int(bits):
        attributes.append(("RTA_DST", to))
    if way.via:
        attributes.append(("RTA_GATEWAY", way.via))
    if way.source:
        attributes.append(("RTA_PREFSRC", way.source))
    if way.metric:
        attributes.append(("RTA_PRIORITY", way.metric))
    return fields, attributes


_ACTS: dict[str, Callable[[Row, Netlink], None]] = {
    "create": _create,
    "delete": _delete,
    "change": _change,
    "name": _name,
    "join": _join,
    "leave": lambda row, netlink: _set(netlink, row.link, [("IFLA_MASTER", 0)]),
    "up": lambda row, netlink: _set(netlink, row.link, [], up=True),
    "down": lambda row, netlink: _set(netlink, row.link, [], up=False),
    "mtu": lambda row, netlink: _set(netlink, row.link, [("IFLA_MTU", row.value)]),
    "mac": _mac,
    "setting": _setting,
    "address": _address,
    "no-address": lambda row, netlink: remove_address(netlink, row.link, row.value),
}

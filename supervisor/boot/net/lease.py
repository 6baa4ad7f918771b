"""What a DHCP client found, applied: names always, address and routes for clients that leave those
to their script (udhcpc, dhclient).

Law: an address lives as long as its lease, by the kernel's own clock, so nothing must run to end
it, and a client that is started again flaps nothing. Routes are marked as DHCP's (RTPROT_DHCP).
"""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from supervisor.boot.net import resolver
from supervisor.boot.net.act import broadcast, remove_address, route_message
from supervisor.boot.net.clients import LOST, TAKEN, Asked
from supervisor.boot.net.made import replace_file
from supervisor.boot.net.netlink import (
    DELROUTE,
    NEWADDR,
    NEWROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Attributes,
    Netlink,
)
from supervisor.boot.net.seen import RTPROT_DHCP, Way, look
from supervisor.boot.net.wanted import nearest_first
from supervisor.config.machine_address import inside

_FOREVER = 0xFFFFFFFF
_LAST = 1000  # and the index of the interface: metrics of DHCP, behind those of the file
_ANYWHERE = "0.0.0.0/0"
_ON_LINK = "0.0.0.0"  # noqa: S104 - RFC 3442: of a route without a router


class Lease(Struct, frozen=True):
    """`address` is ADDRESS/BITS, "" where the client sets it. `routes`: network and router."""

    address: str = ""
    seconds: int = _FOREVER
    routes: tuple[tuple[str, str], ...] = ()
    mtu: int = 0
    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


def happened(
    event: str, variables: Mapping[str, str], asked: Asked, folder: str, resolv: str
) -> list[str]:
    """Take what a client said in its environment, and say what was done. Raises OSError."""
    link = variables.get("interface", "")
    if link not in asked.links:
        return []
    path = f"{folder}/lease-{link}"
    done: list[str] = []
    if event in TAKEN:
        lease = _parse(variables)
        if lease.address:
            done += _configure(link, lease, asked.links[link])
        replace_file(path, msgspec.json.encode(lease))
    elif event in LOST:
        if "ifmetric" not in variables:  # dhcpcd has it, and removes its own
            done += _configure(link, Lease(), 0)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
    return done + (_names(asked, folder, resolv) if asked.names else [])


def _parse(variables: Mapping[str, str]) -> Lease:
    """In the names of udhcpc, or those that dhclient and dhcpcd share. It comes from the network:
    what is no address is left out."""
    ours = "ip" not in variables

    def words(theirs: str, name: str) -> list[str]:
        return variables.get(f"new_{name}" if ours else theirs, "").replace(",", " ").split()

    servers = [word for word in words("dns", "domain_name_servers") if _is_address(word)]
    search = words("search", "domain_search") or words("domain", "domain_name")
    lease = Lease(
        servers=tuple(dict.fromkeys(servers)),
        search=tuple(word.rstrip(".") for word in search if _is_domain(word))[:6],
    )
    if "ifmetric" in variables:
        return lease
    address = (words("ip", "ip_address") or [""])[0]
    bits = _bits((words("subnet", "subnet_mask") or ["255.255.255.255"])[0])
    if not _is_address(address) or bits < 0:
        return lease
    seconds = (words("lease", "dhcp_lease_time") or [""])[0]
    mtu = (words("mtu", "interface_mtu") or [""])[0]
    routers = [word for word in words("router", "routers") if _is_address(word)]
    classless = tuple(_classless(words("staticroutes", "rfc3442_classless_static_routes")))
    return Lease(
        f"{address}/{bits}",
        _number(seconds, 1, _FOREVER) or _FOREVER,
        classless or tuple((_ANYWHERE, router) for router in routers[:1]),  # RFC 3442
        _number(mtu, 576, 65535),
        lease.servers,
        lease.search,
    )


def _number(word: str, low: int, high: int) -> int:
    """0 for what is none, or too small or large to be meant."""
    found = int(word) if word.isdecimal() and len(word) <= 10 else 0
    return found if low <= found <= high else 0


def _is_address(word: str) -> bool:
    from socket import AF_INET, inet_pton

    try:
        return any(inet_pton(AF_INET, word))
    except OSError:
        return False


def _is_domain(word: str) -> bool:
    plain = word.replace("-", "").replace(".", "").replace("_", "")
    return plain.isascii() and plain.isalnum() and len(word) <= 253


def _bits(mask: str) -> int:
    """Of 255.255.255.0 or 24; -1 if it is neither."""
    if mask.isdecimal():
        return int(mask) if int(mask) <= 32 else -1
    if not _is_address(mask):
        return -1
    number = int.from_bytes(bytes(map(int, mask.split("."))), "big")
    bits = number.bit_count()
    return bits if number == (0xFFFFFFFF << (32 - bits)) & 0xFFFFFFFF else -1


def _classless(words: list[str]) -> Iterator[tuple[str, str]]:
    """udhcpc: `10.0.0.0/8 10.1.1.1 ...`; dhclient: the bytes of RFC 3442 as numbers."""
    if words and "/" in words[0]:
        for to, via in zip(words[::2], words[1::2], strict=False):
            net, _, bits = to.partition("/")
            known = _is_address(via) or via == _ON_LINK
            if bits.isdecimal() and int(bits) <= 32 and known:
                yield f"{net}/{bits}", via
        return
    numbers = [int(word) for word in words if word.isdecimal() and int(word) < 256]
    while numbers:
        prefix, length = numbers[0], (numbers[0] + 7) // 8
        if prefix > 32 or len(numbers) < 5 + length:
            return
        network = [*numbers[1 : 1 + length], 0, 0, 0, 0][:4]
        router = numbers[1 + length : 5 + length]
        yield f"{'.'.join(map(str, network))}/{prefix}", ".".join(map(str, router))
        numbers = numbers[5 + length :]


def _configure(link: str, lease: Lease, metric: int) -> list[str]:
    """The address and the routes of this lease, and none of another."""
    done: list[str] = []
    with Netlink() as netlink:
        seen = look(netlink)
        index = seen.links[link].index if link in seen.links else 0
        if not index:
            return []
        held = [row for row in seen.addresses if row.link == link and ":" not in row.address]
        own = lease.address.partition("/")[0]
        wanted = {
            Way(link, to, via if via != _ON_LINK else "", metric or _LAST + index, source=own)
            for to, via in lease.routes
        }
        for way in sorted(seen.dhcp_ways - wanted):
            if way.link == link:
                fields, attributes = route_message(way, index, onlink=False, proto=RTPROT_DHCP)
                netlink.do(DELROUTE, 0, fields, attributes)
                done.append(f"remove the route to {way.to} dev {link}")
        for row in held:
            if row.dynamic and row.address != lease.address:
                done.append(f"remove {row.address} from {link}")
                remove_address(netlink, link, row.address)
        if lease.address:
            if lease.address not in {row.address for row in held}:
                done.append(f"add {lease.address} to {link}, leased for {lease.seconds} s")
            netlink.do(NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, *_address(index, lease))
        for way in sorted(wanted - seen.ways, key=nearest_first):
            onlink = bool(way.via) and not inside(way.via, lease.address)
            fields, attributes = route_message(way, index, onlink=onlink, proto=RTPROT_DHCP)
            if lease.mtu:
                attributes.append(("RTA_METRICS", {"attrs": [("RTAX_MTU", lease.mtu)]}))
            netlink.do(NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, fields, attributes)
            done.append(f"add the route to {way.to} via {way.via} dev {link}")
    return done


def _address(index: int, lease: Lease) -> tuple[dict[str, Any], Attributes]:
    host, _, bits = lease.address.partition("/")
    ends = {"ifa_preferred": lease.seconds, "ifa_valid": lease.seconds, "cstamp": 0, "tstamp": 0}
    attributes: Attributes = [
        ("IFA_LOCAL", host), ("IFA_ADDRESS", host), ("IFA_CACHEINFO", ends),
    ]
    if int(bits) < 31:
        attributes.append(("IFA_BROADCAST", broadcast(host, int(bits))))
    return {"index": index, "family": 2, "prefixlen": int(bits)}, attributes


def _names(asked: Asked, folder: str, resolv: str) -> list[str]:
    """resolv.conf of all leases, in the order of their routes."""
    servers: list[str] = []
    search: list[str] = []
    for link in sorted(asked.links, key=lambda name: asked.links[name]):
        try:
            with open(f"{folder}/lease-{link}", "rb") as file:
                lease = msgspec.json.decode(file.read(), type=Lease)
        except (OSError, msgspec.MsgspecError):
            continue
        servers += [server for server in lease.servers if server not in servers]
        search += [domain for domain in lease.search if domain not in search]
    text = resolver.leased(servers, search, "what DHCP said")
    words = resolver.difference(text, resolv, folder, ours_goes=True)
    resolver.write(text, resolv, folder, ours_goes=True)
    return [words] if words else []

"""network.mode = "private": a network namespace of its own, and one cable from it to this host.

The cable is a veth pair: eth0 there, ub-HASH here, with a network of its own and a default route to
this end. Nothing else changes: no NAT, no forwarding, no firewall, so it reaches this host and is
reached from it; what goes further is up to the host's own rules. The namespace is kept by a mount
below the runtime directory, so whoever is the manager finds it again by the name.

pyroute2 does the talking (the extra `private-network`); it is loaded with the first such unit.
"""
from __future__ import annotations

import os
import sys
from binascii import crc32
from collections.abc import Iterator
from errno import ENODEV
from typing import TYPE_CHECKING, Any

from supervisor.kernel.calls import Out, call
from supervisor.kernel.sandbox.namespaces import NEWNET, privileged
from supervisor.kernel.sandbox.part import CannotConfine, Context, Part
from supervisor.model.policy import Policy

if TYPE_CHECKING:
    from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

    Interface = IPv4Interface | IPv6Interface
    Network = IPv4Network | IPv6Network

POOL = "10.213.0.0/16"
_PIECE = 30  # bits of the prefix of one network: two ends
_LEAST_PREFIX = 16  # a shorter route (a VPN's 10.0.0.0/8) is no reason to leave the pool alone
_AT_FDCWD, _O_CLOEXEC, _MS_BIND, _MNT_DETACH = -100, 0o2000000, 4096, 2
_OWN_END = "eth0"
_IFF_UP = 1


def part(policy: Policy, ctx: Context) -> Part:
    """Raises CannotConfine for an address that leaves no other end."""
    if policy.network.mode != "private":
        return Part()
    if policy.network.address:
        _ends(policy.network.address)
    why = ""
    if not privileged(ctx):
        why = "needs a supervisor that runs as root: this host's end takes CAP_NET_ADMIN"
    elif not _library():
        why = f"needs the library pyroute2: {sys.executable} -m pip install pyroute2"
    if why:
        why += "; without it the unit has the host's own network"
        return Part(missing=(("network.mode", why),))
    path = _path(ctx.key, ctx.runtime)
    address = policy.network.address or f"an address of {POOL}"
    words = (
        f"a network namespace ({path}) and a veth pair: {_OWN_END} in it with {address}, "
        f"{name_of(ctx.key, ctx.runtime)} here; no NAT, no forwarding"
    )
    steps = (
        call("openat", _AT_FDCWD, path, _O_CLOEXEC, result="network", words=f"take {path}"),
        call("setns", Out("network"), NEWNET, words="enter its network namespace"),
    )
    return Part(first=steps, mechanisms=(("network.mode", words),))


def prepare(policy: Policy, ctx: Context) -> None:
    """The namespace and the cable, unless an earlier launch of this run made them. Raises
    CannotConfine."""
    if policy.network.mode != "private" or not privileged(ctx) or not _library():
        return
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    path, name = _path(ctx.key, ctx.runtime), name_of(ctx.key, ctx.runtime)
    try:
        with IPRoute() as here:
            known = here.link_lookup(ifname=name)
            if known and os.path.ismount(path) and _is_up(here, known[0]):
                return
            if known:  # first: with its namespace it goes too, but at a time of its own
                _delete(here, known[0])
            remove(ctx.key, ctx.runtime)
            own, host = _addresses(policy.network.address, ctx.key, here)
            there = _make(path, IPRoute)
            with there:
                _connect(here, there, path, name, own, host)
    except (OSError, NetlinkError) as exc:
        remove(ctx.key, ctx.runtime)
        reason = exc.args[1] if isinstance(exc, NetlinkError) else exc.strerror
        raise CannotConfine(f"network.mode: cannot make {name}: {reason}") from exc


def remove(key: str, runtime: str) -> None:
    """Let go of the namespace of an instance, if it has one: with its last process it ends, and
    both ends of the cable with it."""
    if os.path.isdir(f"{runtime}/netns"):
        _let_go(_path(key, runtime))


def sweep(runtime: str) -> None:
    """The same for all that an earlier supervisor left behind."""
    for name in os.listdir(f"{runtime}/netns"):
        _let_go(f"{runtime}/netns/{name}")


def name_of(key: str, runtime: str) -> str:
    """Of the host's end: at most 15 bytes."""
    from hashlib import blake2b

    return "ub-" + blake2b(f"{runtime}\0{key}".encode(), digest_size=6).hexdigest()


def _path(key: str, runtime: str) -> str:
    return f"{runtime}/netns/{name_of(key, runtime)}"


def _library() -> bool:
    from importlib.util import find_spec

    return find_spec("pyroute2") is not None


def _let_go(path: str) -> None:
    import ctypes

    if os.path.exists(path):
        ctypes.CDLL(None).umount2(os.fsencode(path), _MNT_DETACH)
        os.unlink(path)
    try:
        os.rmdir(os.path.dirname(path))
    except OSError:
        pass  # there are others


def _make(path: str, connection: Any) -> Any:
    """The namespace, mounted at `path`, and a connection that was made in it: this thread enters
    for a moment. Raises OSError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            own = b"/proc/thread-self/ns/net"
            if libc.mount(own, os.fsencode(path), None, _MS_BIND, None):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            return connection()
        finally:
            if libc.setns(home, NEWNET):
                os.abort()  # it would serve nobody in there; the keeper starts another manager
    finally:
        os.close(home)


def _connect(here: Any, there: Any, path: str, name: str, own: Interface, host: str) -> None:
    """This end is up last of all, so that what a manager left half made is known by that."""
    here.link("add", ifname=name, kind="veth", peer={"ifname": _OWN_END, "net_ns_fd": path})
    end, far = here.link_lookup(ifname=name)[0], there.link_lookup(ifname=_OWN_END)[0]
    here.addr("add", index=end, address=host, prefixlen=own.network.prefixlen)
    there.addr("add", index=far, address=str(own.ip), prefixlen=own.network.prefixlen)
    for index in (*there.link_lookup(ifname="lo"), far):
        there.link("set", index=index, state="up")
    there.route("add", dst="default" if own.version == 4 else "::/0", gateway=host)
    here.link("set", index=end, state="up")


def _delete(here: Any, index: int) -> None:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        here.link("del", index=index)
    except NetlinkError as exc:
        if exc.code != ENODEV:
            raise


def _is_up(here: Any, index: int) -> bool:
    return bool(here.link("get", index=index)[0]["flags"] & _IFF_UP)


def _addresses(address: str, key: str, here: Any) -> tuple[Interface, str]:
    """The unit's end and the host's. Raises CannotConfine if none is free."""
    used = list(_used(here))
    if address:
        own, host = _ends(address)
        if _taken(own, used):
            raise CannotConfine(
                f"network.address: cannot use {address}: this host has another network in "
                f"{own.network}; write another one"
            )
        return own, host
    from ipaddress import ip_interface, ip_network

    pool = ip_network(POOL)
    count, width = 1 << _PIECE - pool.prefixlen, 1 << 32 - _PIECE
    start = crc32(key.encode())
    for turn in range(count):
        first = pool.network_address + (start + turn) % count * width
        own = ip_interface(f"{first + 2}/{_PIECE}")
        if not _taken(own, used):
            return own, str(first + 1)
    raise CannotConfine(
        f"network.address: cannot choose one: no network of {POOL} is free; write one"
    )


def _taken(own: Interface, used: list[Network]) -> bool:
    return any(one.version == own.version and one.overlaps(own.network) for one in used)


def _ends(address: str) -> tuple[Interface, str]:
    """The unit's end, and the first address of its network that is left. Raises CannotConfine."""
    from ipaddress import ip_interface

    try:
        own = ip_interface(address)
    except ValueError as exc:
        raise CannotConfine(f"network.address: cannot read {address}: {exc}") from exc
    for host in own.network.hosts():
        if host != own.ip and own.network.num_addresses > 1:
            edges = (own.network.network_address, own.network.broadcast_address)
            if own.version == 6 or own.network.prefixlen == 31 or own.ip not in edges:
                return own, str(host)
            break
    raise CannotConfine(
        f"network.address: cannot use {address}: it is no address of a network with another end; "
        "write one like 10.9.0.2/30"
    )


def _used(here: Any) -> Iterator[Network]:
    """Networks that this host has or reaches by a route of its own."""
    from ipaddress import ip_network

    for row in here.get_addr():
        yield ip_network(f"{row.get_attr('IFA_ADDRESS')}/{row['prefixlen']}", strict=False)
    for row in here.get_routes():
        if row.get_attr("RTA_DST") and row["dst_len"] >= _LEAST_PREFIX:
            yield ip_network(f"{row.get_attr('RTA_DST')}/{row['dst_len']}", strict=False)

"""Where a unit listens: the text of `[[listen]] address`, and what each family can be asked for."""
from __future__ import annotations

from typing import Any

from supervisor.config.table import Fault, Refused, Type, show
from supervisor.config.values import DIGITS, text
from supervisor.model.unit import Listen

MAX_SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path without its NUL (unix(7))

# Protocol numbers of linux/netlink.h, by the names that systemd.socket(5) gives them.
NETLINK_FAMILIES = {
    "route": 0, "firewall": 3, "inet-diag": 4, "nflog": 5, "xfrm": 6, "selinux": 7, "iscsi": 8,
    "audit": 9, "fib-lookup": 10, "netfilter": 12, "ip6-fw": 13, "dnrtmsg": 14,
    "kobject-uevent": 15, "generic": 16, "scsitransport": 18, "rdma": 20,
}  # fmt: skip

INET = frozenset(("tcp", "tcp6", "udp", "udp6"))
_PATHS = frozenset(("unix", "unix-datagram", "fifo"))
ONLY_FOR = {  # keys that mean something to these families only, and why
    "reuse_port": (INET, "only tcp and udp sockets share a port"),
    "backlog": (frozenset(("tcp", "tcp6", "unix", "abstract")), "nobody connects to it"),
    "mode": (_PATHS, "only a path has permissions"),
    "user": (_PATHS, "only a path has an owner"),
    "group": (_PATHS, "only a path has an owner"),
}

Address = tuple[str, str, int, str]  # family, host, port, path


def _address(value: object) -> Address:
    found = text(value)
    family, colon, rest = found.partition(":")
    if not colon or not rest:
        raise _bad(value, 'write FAMILY:ADDRESS, as in "tcp:127.0.0.1:8080"')
    if family in INET:
        host, port = _host_port(value, family, rest)
        return family, host, port, ""
    if family in _PATHS:
        if rest[0] != "/" or rest[-1] == "/":
            raise _bad(value, f'write an absolute path, as in "{family}:/run/web.sock"')
        limit = 4095 if family == "fifo" else MAX_SOCKET_PATH_BYTES
        if len(rest.encode()) > limit:
            raise _bad(value, f"its path has more than {limit} bytes")
        return family, "", 0, rest
    if family == "abstract":
        if len(rest.encode()) > MAX_SOCKET_PATH_BYTES or not rest.isprintable():
            raise _bad(value, f"a name has 1 to {MAX_SOCKET_PATH_BYTES} printable bytes")
        return family, "", 0, rest
    if family == "netlink":
        return family, "", 0, _netlink(value, rest)
    raise _bad(
        value,
        f"{show(family)} is no family; they are tcp, tcp6, udp, udp6, unix, unix-datagram, "
        "abstract, fifo and netlink",
    )


def _bad(value: object, why: str) -> Refused:
    return Refused(f"cannot listen on {show(value)}: {why}")


def _host_port(value: object, family: str, rest: str) -> tuple[str, int]:
    import _socket

    host, _, digits = rest.rpartition(":")
    if not digits or len(digits) > 5 or not DIGITS.issuperset(digits) or int(digits) > 65535:
        raise _bad(value, "it ends in no port; a port is 0 to 65535, 0 takes any that is free")
    if family[-1] != "6":
        if host.startswith("[") or ":" in host:
            raise _bad(value, f"that is an IPv6 address; write {family}6:")
        host = {"": "0.0.0.0", "*": "0.0.0.0", "localhost": "127.0.0.1"}.get(host, host)  # noqa: S104 - asked for by the unit
        kind = _socket.AF_INET
    else:
        if host and host not in {"*", "localhost"}:
            if host[0] != "[" or host[-1] != "]":
                raise _bad(value, f'write an IPv6 address in brackets, as in "{family}:[::1]:80"')
            host = host[1:-1]
        host = {"": "::", "*": "::", "localhost": "::1"}.get(host, host)
        kind = _socket.AF_INET6
    try:
        return _socket.inet_ntop(kind, _socket.inet_pton(kind, host)), int(digits)
    except (OSError, UnicodeError):
        raise _bad(
            value, f"{show(host)} is no numeric address, and names are not looked up"
        ) from None


def _netlink(value: object, rest: str) -> str:
    family, _, group = rest.partition(" ")
    if family not in NETLINK_FAMILIES:
        raise _bad(value, f"{show(family)} is no netlink family, such as kobject-uevent")
    if not group:
        return family
    if len(group) > 10 or not DIGITS.issuperset(group) or int(group) > 0xFFFFFFFF:
        raise _bad(value, f"{show(group)} is no group; write its number")
    return f"{family} {int(group)}"


def make_listen(*, address: Address, name: str = "", **parts: Any) -> Listen:
    """One listener. Its name is its family unless it has one. Raises Refused."""
    family, host, port, path = address
    faults: list[Fault] = [
        ((key,), f"cannot be used with {family}: {why}; remove it")
        for key, (families, why) in ONLY_FOR.items()
        if key in parts and family not in families and parts[key] is not False
    ]
    if faults:
        raise Refused.of(faults)
    return Listen(name or family, family, host, port, path, **parts)  # type: ignore[arg-type]


def listener_name(value: object) -> str:
    """It becomes a part of LISTEN_FDNAMES, where a colon separates."""
    found = text(value)
    if not 0 < len(found) <= 31 or not _NAME.issuperset(found):
        raise Refused(
            f"cannot use {show(value)}: a listener's name has 1 to 31 of a-z, A-Z, 0-9, '.', '_' "
            "and '-'"
        )
    return found


_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")

ADDRESS = Type(_address, "address", "`FAMILY:ADDRESS`")
LISTENER_NAME = Type(listener_name, "listener", "1 to 31 letters, digits, `.`, `_`, `-`")

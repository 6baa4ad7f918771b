"""What the filter adds to Landlock's port rules: extra rules for filter.compile, from `[network]`.

Measured on Linux 6.18 under a domain that refuses all TCP: listen() without bind() takes a port by
itself, and UDP is free (Landlock has no rule for it before ABI 10). MPTCP and fast open, the other
two holes, are closed under every promise.
"""
from __future__ import annotations

from supervisor.kernel.seccomp import argument as a
from supervisor.kernel.seccomp.filter import Extra
from supervisor.kernel.seccomp.general import ALWAYS
from supervisor.kernel.seccomp.rule import (
    EAFNOSUPPORT,
    EPROTONOSUPPORT,
    VIOLATION,
    Rule,
    number,
    other,
)


def no_listen() -> Extra:
    """For a unit whose `listen` names nothing: a socket that was handed to it needs no listen()."""
    return [("listen", Rule((), VIOLATION))]


def no_udp() -> Extra:
    """For a unit whose rules name TCP ports only. Ping and name resolution by UDP go with it."""
    return [("socket", Rule((a.INTERNET, a.UDP_TYPE), VIOLATION))]


def no_unix() -> Extra:
    """For a unit whose `unix` names nothing. Pairs of sockets, and those it was handed, stay."""
    return [("socket", Rule((number(0, a.AF_UNIX),), EAFNOSUPPORT))]


def no_others() -> Extra:
    """For a unit without promises, in which what passes rules about ports is closed: fast open,
    raw sockets, other protocols, and other families (AF_PACKET, AF_VSOCK, AF_XDP, AF_ALG)."""
    families = number(0, a.AF_UNIX, a.AF_INET, a.AF_INET6, a.AF_NETLINK)
    return [
        *((call, rule) for call, rule in ALWAYS if call.startswith("send")),
        ("socket", Rule((other(families),), EAFNOSUPPORT)),
        ("socket", Rule((a.INTERNET, other(a.PLAIN_PROTOCOLS)), EPROTONOSUPPORT)),
        ("socket", Rule((a.INTERNET, other(a.PLAIN_TYPES)), VIOLATION)),
    ]


def no_internet() -> Extra:
    """For a unit that may neither listen nor connect: as a kernel without IPv4 and IPv6."""
    return [("socket", Rule((a.INTERNET,), EAFNOSUPPORT))]

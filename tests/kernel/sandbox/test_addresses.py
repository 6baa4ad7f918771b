"""Programs on a cgroup: whom a unit reaches, and where it listens, by address and protocol."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from supervisor.kernel.sandbox import addresses, namespaces
from supervisor.kernel.sandbox.facts import facts
from supervisor.model.sandbox import Network, PortRule
from tests.kernel.kit import Groups
from tests.kernel.sandbox.stage import Stage, stage
from tests.unit.kernel.sandbox.given import policy

pytestmark = pytest.mark.skipif(
    not (facts().root and facts().cgroup_bpf), reason="needs root, and programs on cgroups"
)
EPERM, EAFNOSUPPORT = 1, 97
TRY = """import socket
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM
def errno(call, *args):
    try:
        call(*args)
    except OSError as exc:
        return exc.errno
    return 0
def on(family, kind, protocol, name, *args):
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(5)
        getattr(sock, name)(*args)
def connect(family, kind, address, port):
    return errno(on, family, kind, 0, "connect", (address, port))
def send(family, address, port, flags=0, kind=SOCK_DGRAM):
    return errno(on, family, kind, 0, "sendto", b"x", flags, (address, port))
def bind(family, kind, address, port):
    return errno(on, family, kind, 0, "bind", (address, port))
def make(family, kind, protocol):
    return errno(lambda: socket.socket(family, kind, protocol).close())
"""


@pytest.fixture
def on_v2(groups: Groups) -> Iterator[Stage]:
    with stage(groups.tracker.base) as made:
        yield made


def tried(made: Stage, network: Network | None, **tries: str) -> dict[str, object]:
    code = TRY + "\n".join(f"seen[{name!r}] = {words}" for name, words in tries.items())
    # In an empty network of its own: nobody else's ports, and ::1 on every host.
    box = policy(network=Network("none"))
    limited = policy(network=network)

    def part(_: object, ctx: object) -> object:
        return addresses.part(limited, ctx)  # type: ignore[arg-type] # handed on

    return made.look(code, box, made.context(), part, namespaces.part)  # type: ignore[arg-type] # as above


CONNECTS = {
    "listed": "connect(AF_INET, SOCK_STREAM, '127.0.0.1', 5432)",
    "other_port": "connect(AF_INET, SOCK_STREAM, '127.0.0.1', 5433)",
    "other_net": "connect(AF_INET, SOCK_STREAM, '127.9.0.1', 5432)",
    "mapped": "connect(AF_INET6, SOCK_STREAM, '::ffff:127.0.0.1', 5432)",
    "mapped_other": "connect(AF_INET6, SOCK_STREAM, '::ffff:127.9.0.1', 5432)",
    "six": "connect(AF_INET6, SOCK_STREAM, '::1', 5432)",
    "fast_open": "send(AF_INET, '127.9.0.1', 5432, 0x20000000, SOCK_STREAM)",
    "fast_open_listed": "send(AF_INET, '127.0.0.1', 5432, 0x20000000, SOCK_STREAM)",
    "udp": "connect(AF_INET, SOCK_DGRAM, '127.0.0.1', 53)",
    "udp_other": "connect(AF_INET, SOCK_DGRAM, '127.0.0.1', 54)",
    "sent": "send(AF_INET, '127.0.0.1', 53)",
    "sent_other": "send(AF_INET, '127.0.0.1', 54)",
    "sent_mapped": "send(AF_INET6, '::ffff:127.0.0.1', 53)",
    "sent_mapped_other": "send(AF_INET6, '::ffff:127.9.0.1', 53)",
    "sent_six": "send(AF_INET6, '::1', 53)",
}
LISTED = Network(
    connect=(PortRule("tcp", 5432, "127.0.0.0/16"), PortRule("udp", 53, "127.0.0.1/32"))
)


def expected(free: dict[str, object], passed: set[str]) -> dict[str, object]:
    """EPERM, but for what passes, and what this kernel has not (IPv6)."""
    return {
        name: error if name in passed or error == EAFNOSUPPORT else EPERM
        for name, error in free.items()
    }


def test_only_listed_addresses_are_reached(on_v2: Stage) -> None:
    free = tried(on_v2, None, **CONNECTS)
    assert EPERM not in free.values()
    assert EAFNOSUPPORT not in {free["other_net"], free["sent_other"]}
    found = tried(on_v2, LISTED, **CONNECTS)
    passed = {"listed", "mapped", "fast_open_listed", "udp", "sent", "sent_mapped"}
    assert found == expected(free, passed)


BINDS = {
    "listed": "bind(AF_INET, SOCK_STREAM, '127.0.0.1', 8080)",
    "other_port": "bind(AF_INET, SOCK_STREAM, '127.0.0.1', 8081)",
    "any_port": "bind(AF_INET, SOCK_STREAM, '127.0.0.1', 0)",
    "every_address": "bind(AF_INET, SOCK_STREAM, '0.0.0.0', 8080)",
    "udp": "bind(AF_INET, SOCK_DGRAM, '127.0.0.1', 8080)",
    "six": "bind(AF_INET6, SOCK_STREAM, '::1', 8080)",
    "six_listed": "bind(AF_INET6, SOCK_STREAM, '::1', 9090)",
    "mapped": "bind(AF_INET6, SOCK_STREAM, '::ffff:127.0.0.1', 8080)",
}


def test_only_listed_addresses_are_bound(on_v2: Stage) -> None:
    free = tried(on_v2, None, **BINDS)
    assert set(free.values()) <= {0, EAFNOSUPPORT}
    rules = (PortRule("tcp", 8080, "127.0.0.0/8"), PortRule("tcp", 9090, "::/0"))
    found = tried(on_v2, Network(listen=rules), **BINDS)
    assert free["listed"] == 0
    assert found == expected(free, {"listed", "six_listed", "mapped"})


def test_protocols_that_go_round_the_rules_have_no_sockets(on_v2: Stage) -> None:
    tries = {
        "tcp": "make(AF_INET, SOCK_STREAM, 0)", "udp": "make(AF_INET, SOCK_DGRAM, 0)",
        "unix": "make(socket.AF_UNIX, SOCK_STREAM, 0)", "ping": "make(AF_INET, SOCK_DGRAM, 1)",
        "raw": "make(AF_INET, SOCK_RAW, 255)", "raw6": "make(AF_INET6, SOCK_RAW, 58)",
        "mptcp": "make(AF_INET, SOCK_STREAM, 262)", "sctp": "make(AF_INET, SOCK_STREAM, 132)",
        "lite": "make(AF_INET, SOCK_DGRAM, 136)",
    }  # fmt: skip
    free = tried(on_v2, None, **tries)
    found = tried(on_v2, Network(connect=()), **tries)
    for name, error in found.items():
        expected = 0 if name in {"tcp", "udp", "unix"} else EPERM if free[name] == 0 else free[name]
        assert error == expected, name
    assert free["raw"] == 0  # so the refusal was ours


def test_an_empty_list_reaches_nobody(on_v2: Stage) -> None:
    tries = {**CONNECTS, **{f"bind_{name}": words for name, words in BINDS.items()}}
    found = tried(on_v2, Network(connect=(), listen=()), **tries)
    assert found == expected(tried(on_v2, None, **tries), set())
    assert list(found.values()).count(EPERM) > 10

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from supervisor.kernel.sandbox import addresses
from supervisor.kernel.sandbox.addresses import part, programs
from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.model.sandbox import Network, PortRule
from tests.unit.kernel.sandbox.ebpf_machine import run
from tests.unit.kernel.sandbox.given import FACTS, context, policy

TCP, UDP, ICMP, RAW, SCTP, MPTCP = 6, 17, 1, 255, 132, 262
RULES = (
    PortRule("tcp", 5432, "10.0.0.0/8"),
    PortRule("tcp", 443),
    PortRule("udp", 53, "192.0.2.53/32"),
    PortRule("udp", 0, "2001:db8::/33"),
    PortRule("tcp", 0, "172.16.1.0/30"),
)


def sock_addr(address: str, port: int, protocol: int) -> bytes:
    """struct bpf_sock_addr, as far as the programs may look."""
    packed = ip_address(address).packed
    family = 10 if len(packed) == 16 else 2
    four, six = (bytes(4), packed) if family == 10 else (packed, bytes(16))
    return (
        struct.pack("=I", family) + four + six + struct.pack(">H", port) + bytes(2)
        + struct.pack("=III", family, 1 if protocol == TCP else 2, protocol)
    )  # fmt: skip


def passes(attach: int, address: str, port: int, protocol: int) -> bool:
    one = next(p for p in programs((), RULES) if p.attach == attach)
    return bool(run(one.code, sock_addr(address, port, protocol)))


@pytest.mark.parametrize(
    "address, port, protocol, expected",
    [
        ("10.0.0.0", 5432, TCP, True),
        ("10.255.255.255", 5432, TCP, True),
        ("11.0.0.0", 5432, TCP, False),
        ("9.255.255.255", 5432, TCP, False),
        ("10.1.2.3", 5433, TCP, False),
        ("10.1.2.3", 5432, UDP, False),
        ("203.0.113.9", 443, TCP, True),
        ("255.255.255.255", 443, TCP, True),
        ("192.0.2.53", 53, UDP, True),
        ("192.0.2.52", 53, UDP, False),
        ("192.0.2.53", 53, TCP, False),
        ("172.16.1.3", 1, TCP, True),
        ("172.16.1.3", 65535, TCP, True),
        ("172.16.1.4", 1, TCP, False),
    ],
)
def test_version_4(address: str, port: int, protocol: int, *, expected: bool) -> None:
    assert passes(addresses.CONNECT4, address, port, protocol) is expected
    mapped = f"::ffff:{address}"  # as a socket of version 6 reaches it
    assert passes(addresses.CONNECT6, mapped, port, protocol) is expected
    if protocol == UDP:
        assert passes(addresses.SENDMSG4, address, port, protocol) is expected


@pytest.mark.parametrize(
    "address, port, protocol, expected",
    [
        ("2001:db8::1", 9, UDP, True),
        ("2001:db8:7fff:ffff::1", 9, UDP, True),
        ("2001:db8:8000::1", 9, UDP, False),
        ("2001:db9::1", 9, UDP, False),
        ("2001:db8::1", 9, TCP, False),
        ("2001:db8::1", 443, TCP, True),
        ("::1", 443, TCP, True),
        ("::10.0.0.1", 5432, TCP, False),  # not the mapped form
        ("64:ff9b::10.0.0.1", 5432, TCP, False),
    ],
)
def test_version_6(address: str, port: int, protocol: int, *, expected: bool) -> None:
    assert passes(addresses.CONNECT6, address, port, protocol) is expected
    if protocol == UDP:
        assert passes(addresses.SENDMSG6, address, port, protocol) is expected


def test_no_rule_of_version_6_is_one_of_version_4() -> None:
    found = programs(None, (PortRule("tcp", 0, "::/0"),))
    four = next(p for p in found if p.attach == addresses.CONNECT4)
    assert not run(four.code, sock_addr("10.0.0.1", 80, TCP))


def test_every_address_of_version_4_is_not_every_address() -> None:
    found = programs(None, (PortRule("tcp", 0, "0.0.0.0/0"),))
    six = next(p for p in found if p.attach == addresses.CONNECT6)
    assert run(six.code, sock_addr("::ffff:192.0.2.1", 80, TCP))
    assert not run(six.code, sock_addr("2001:db8::1", 80, TCP))


@pytest.mark.parametrize(
    "protocol, expected",
    [(TCP, 1), (UDP, 1), (ICMP, 0), (RAW, 0), (SCTP, 0), (MPTCP, 0), (0, 0)],
)
def test_sockets_of_other_protocols_are_not_made(protocol: int, expected: int) -> None:
    create = next(p for p in programs((), None) if p.attach == addresses.SOCK_CREATE)
    assert run(create.code, struct.pack("=IIII", 0, 2, 1, protocol)) == expected


def test_an_empty_list_lets_nothing_pass() -> None:
    for one in programs((), ()):
        if one.attach != addresses.SOCK_CREATE:
            assert not run(one.code, sock_addr("::1", 1, TCP)), one.attach


def test_what_is_not_limited_has_no_program() -> None:
    assert {p.attach for p in programs((), None)} == {
        addresses.SOCK_CREATE, addresses.BIND4, addresses.BIND6,
    }  # fmt: skip
    assert not part(policy(), context()).first


def test_a_network_with_host_bits_is_refused_by_its_key() -> None:
    with pytest.raises(CannotConfine, match=r"network\.listen: 10\.0\.0\.1/8 has host bits"):
        programs((PortRule("tcp", 1, "10.0.0.1/8"),), None)


@pytest.mark.parametrize(
    "listen, connect, landlock, expected",
    [
        ([], [PortRule("tcp", 443)], 2, []),  # Landlock and the filter, which say what they lack
        ([], [PortRule("tcp", 443, "10.0.0.0/8")], 10, ["network.connect"]),
        ([], [PortRule("udp", 53)], 9, ["network.connect"]),
        ([], [PortRule("udp", 53)], 10, []),
        ([PortRule("udp", 53)], [PortRule("tcp", 443)], 9, ["network.connect"]),  # it may send
        ([PortRule("tcp", 80, "10.0.0.0/8")], [], 10, ["network.listen"]),
    ],
)
def test_without_programs_what_others_cannot_do_is_missing(
    listen: list[PortRule], connect: list[PortRule], landlock: int, expected: list[str]
) -> None:
    facts = FACTS._replace(cgroup_bpf=False, landlock=landlock)
    limited = policy(network=Network(listen=tuple(listen), connect=tuple(connect)))
    found = part(limited, context(facts))
    assert [key for key, _ in found.missing] == expected
    assert not found.first


def test_what_listens_without_bind_is_said() -> None:
    both = Network(listen=(PortRule("tcp", 80),), connect=())
    said = dict(part(policy(network=both), context()).mechanisms)
    assert "without bind(2)" in said["network.listen"]
    assert "without bind(2)" not in said["network.connect"]


def test_without_a_group_the_reason_says_so() -> None:
    limited = policy(network=Network(connect=(PortRule("udp", 53),)))
    ((key, why),) = part(limited, context(group="")).missing
    assert key == "network.connect"
    assert "no cgroup of v2" in why

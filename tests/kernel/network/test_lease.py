"""What a DHCP client says, applied to a real kernel: as udhcpc and dhclient say it."""
from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.boot.net.clients import Asked
from supervisor.boot.net.lease import happened
from tests.kernel.network.kit import Place

ASKED = Asked({"a0": 0, "a1": 50}, names=True)
BOUND = {
    "interface": "a0", "ip": "10.77.0.20", "subnet": "255.255.255.0", "router": "10.77.0.1",
    "dns": "10.77.0.1 10.77.0.5", "domain": "example.org", "lease": "600", "mtu": "1400",
}  # fmt: skip


@pytest.fixture
def leased(cables: Place) -> Place:
    cables.apply("[interface.a0]\n[interface.a1]\n")
    return cables


def said(place: Place, event: str, variables: dict[str, str], asked: Asked = ASKED) -> list[str]:
    return happened(event, variables, asked, place.where.folder, place.where.resolv)


def test_a_lease_ends_by_itself_and_is_not_touched_when_it_is_renewed(leased: Place) -> None:
    said(leased, "bound", BOUND)
    assert leased.addresses("a0") == {"10.77.0.20/24"}
    (row,) = leased.ip.get_addr(index=leased.index("a0"), family=2)
    assert 590 <= row.get_attr("IFA_CACHEINFO")["ifa_valid"] <= 600
    assert row.get_attr("IFA_BROADCAST") == "10.77.0.255"
    (route,) = leased.ip.get_default_routes(family=2)
    assert route.get_attr("RTA_PRIORITY") == 1000 + leased.index("a0")
    assert route["proto"] == 16  # RTPROT_DHCP
    assert route.get_attr("RTA_METRICS").get_attr("RTAX_MTU") == 1400
    text = Path(leased.where.resolv).read_text()
    assert text.endswith("nameserver 10.77.0.1\nnameserver 10.77.0.5\nsearch example.org\n")
    assert said(leased, "renew", BOUND) == []


def test_another_address_takes_the_place_of_the_first(leased: Place) -> None:
    said(leased, "bound", BOUND)
    leased.ip.addr("add", index=leased.index("a0"), address="10.99.0.1", prefixlen=16)
    said(leased, "renew", {**BOUND, "ip": "10.77.0.21", "router": "10.77.0.2"})
    assert leased.addresses("a0") == {"10.77.0.21/24", "10.99.0.1/16"}
    assert leased.routes("a0") == {"all via 10.77.0.2"}
    assert said(leased, "nak", {"interface": "a0"})
    assert leased.addresses("a0") == {"10.99.0.1/16"}
    assert leased.routes("a0") == set()
    assert not Path(leased.where.resolv).exists()


def test_routes_of_their_own_replace_the_router_and_one_may_be_on_no_network(
    leased: Place,
) -> None:
    said(leased, "bound", {
        **BOUND, "subnet": "255.255.255.255",
        "staticroutes": "203.0.113.1/32 0.0.0.0 0.0.0.0/0 203.0.113.1",
    })  # fmt: skip
    assert leased.routes("a0") == {"203.0.113.1/32 via None", "all via 203.0.113.1"}


def test_dhclient_says_it_in_other_words(leased: Place) -> None:
    said(leased, "REBOOT", {
        "interface": "a1", "new_ip_address": "10.78.0.9", "new_subnet_mask": "255.255.0.0",
        "new_routers": "10.78.0.1", "new_dhcp_lease_time": "60",
        "new_rfc3442_classless_static_routes": "24 192 0 2 10 78 0 3 0 10 78 0 1",
        "new_domain_name_servers": "10.78.0.1", "new_domain_search": "a.example. b.example.",
    })  # fmt: skip
    assert leased.addresses("a1") == {"10.78.0.9/16"}
    assert leased.routes("a1") == {"192.0.2.0/24 via 10.78.0.3", "all via 10.78.0.1"}
    text = Path(leased.where.resolv).read_text()
    assert text.endswith("nameserver 10.78.0.1\nsearch a.example b.example\n")
    said(leased, "EXPIRE", {"interface": "a1"})
    assert leased.addresses("a1") == set()


def test_names_of_two_leases_are_in_the_order_of_their_routes(leased: Place) -> None:
    asked = Asked({"a0": 90, "a1": 50}, names=True)
    said(leased, "bound", BOUND, asked)
    other = {**BOUND, "interface": "a1", "ip": "10.78.0.9", "dns": "10.78.0.1", "router": ""}
    said(leased, "bound", other, asked)
    servers = [line for line in Path(leased.where.resolv).read_text().splitlines()
               if line.startswith("nameserver")]  # fmt: skip
    assert servers == [f"nameserver {name}" for name in ("10.78.0.1", "10.77.0.1", "10.77.0.5")]


def test_names_that_the_file_says_are_not_a_leases(leased: Place) -> None:
    said(leased, "bound", BOUND, Asked({"a0": 0}, names=False))
    assert leased.addresses("a0") == {"10.77.0.20/24"}
    assert not Path(leased.where.resolv).exists()


@pytest.mark.parametrize("variables", [
    {"ip": "10.77.0.20; rm"}, {"subnet": "255.0.255.0"}, {"subnet": "a.b.c.d"}, {"ip": ""},
    {"ip": "::1"}, {"interface": "lo"}, {"interface": ""},
])  # fmt: skip
def test_what_is_no_lease_sets_no_address(variables: dict[str, str], leased: Place) -> None:
    said(leased, "bound", {**BOUND, **variables})
    assert leased.addresses("a0") == set()
    assert leased.addresses("lo") == {"127.0.0.1/8", "::1/128"}


def test_what_a_server_should_not_say_is_left_out(leased: Place) -> None:
    said(leased, "bound", {
        **BOUND, "dns": "10.0.0.1\noptions 10.0.0.2 x", "domain": "a b;c $(id) d.example",
        "router": "x 10.77.0.3", "lease": "soon", "mtu": "9",
        "staticroutes": "10.0.0.0/99 10.77.0.1",
    })  # fmt: skip
    text = Path(leased.where.resolv).read_text().splitlines()[1:]
    assert text == ["nameserver 10.0.0.1", "nameserver 10.0.0.2", "search a d.example"]
    assert leased.routes("a0") == {"all via 10.77.0.3"}

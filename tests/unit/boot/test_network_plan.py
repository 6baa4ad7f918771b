"""The plan of a machine's network: what it does in which order, and that it then does nothing."""
from __future__ import annotations

from msgspec.structs import replace

from supervisor.boot.net.chosen import choose, missing
from supervisor.boot.net.made import Made
from supervisor.boot.net.plan import Row, after, plan
from supervisor.boot.net.ready import lacking
from supervisor.boot.net.seen import Address, Link, Seen, Way
from supervisor.boot.net.wanted import Wanted, want
from supervisor.config.machine_file import parse
from supervisor.config.machine_network import MachineNetwork

LO = Link(1, "lo", up=True, carrier=True, mtu=65536)


def ether(index: int, name: str, **more: object) -> Link:
    link = Link(index, name, mtu=1500, mac=f"52:54:00:00:00:{index:02x}",
                own_mac=f"52:54:00:00:00:{index:02x}")  # fmt: skip
    return replace(link, **more)


def seen(*links: Link, **more: object) -> Seen:
    return Seen({link.name: link for link in (LO, *links)}, **more)  # type: ignore[arg-type]


def file(text: str) -> MachineNetwork:
    return parse("network.toml", text.encode())


def rows(text: str, there: Seen, made: Made | None = None) -> list[str]:
    """The plan in words; nothing may stand in its way."""
    network, record = file(text), made or Made()
    wanted = want(network, choose(network, there, dict(record.chosen)))
    found, problems = plan(wanted, there, record)
    assert not problems
    return [row.describe() for row in found]


def record(text: str, there: Seen) -> Made:
    network = file(text)
    chosen = choose(network, there, {})
    return after(want(network, chosen), there, Made(), chosen)


STATIC = """
[interface.eth0]
addresses = ["192.0.2.10/24", "2001:db8::10/64"]
gateway = ["192.0.2.1", "2001:db8::1"]
mtu = 9000
"""
UP = seen(
    ether(2, "eth0", up=True, mtu=9000),
    addresses=(Address("eth0", "192.0.2.10/24"), Address("eth0", "2001:db8::10/64")),
    ways=frozenset(
        [Way("eth0", "0.0.0.0/0", "192.0.2.1"), Way("eth0", "::/0", "2001:db8::1", 1024)]
    ),
)


def test_addresses_come_before_up_and_routes_last() -> None:
    assert rows(STATIC, seen(ether(2, "eth0"))) == [
        "set the MTU of eth0 to 9000",
        "add 192.0.2.10/24 to eth0",
        "add 2001:db8::10/64 to eth0",
        "set eth0 up",
        "add the route to default via 192.0.2.1 dev eth0",
        "add the route to default via 2001:db8::1 dev eth0 metric 1024",
    ]


def test_what_is_as_it_should_be_is_left_alone() -> None:
    assert rows(STATIC, UP) == []


def test_what_others_made_is_left_alone() -> None:
    theirs = replace(
        UP,
        addresses=(*UP.addresses, Address("eth0", "10.9.9.9/8")),
        ways=UP.ways | {Way("eth0", "10.0.0.0/8", "192.0.2.3")},
    )
    assert rows(STATIC, theirs, record(STATIC, UP)) == []


def test_what_left_the_file_goes_and_what_was_set_is_restored() -> None:
    made = record(STATIC, seen(ether(2, "eth0"), settings={("eth0", "accept_ra"): "1"}))
    assert rows("", UP, made) == [
        "remove the route to default via 192.0.2.1 dev eth0",
        "remove the route to default via 2001:db8::1 dev eth0 metric 1024",
        "remove 192.0.2.10/24 from eth0",
        "remove 2001:db8::10/64 from eth0",
        "set the MTU of eth0 to 1500",
        "set eth0 down",
    ]


def test_what_was_there_before_the_file_named_it_outlives_the_file() -> None:
    assert rows("", UP, record(STATIC, UP)) == []
    half = replace(UP, addresses=UP.addresses[:1], ways=frozenset())
    assert rows("", UP, record(STATIC, half)) == [
        "remove the route to default via 192.0.2.1 dev eth0",
        "remove the route to default via 2001:db8::1 dev eth0 metric 1024",
        "remove 2001:db8::10/64 from eth0",
    ]


def test_what_an_earlier_version_added_is_no_strangers_to_a_later_one() -> None:
    made = record(STATIC, seen(ether(2, "eth0")))
    wanted = want(file(STATIC), {"eth0": "eth0"})
    again = after(wanted, UP, made, {"eth0": "eth0"})
    assert (again.addresses, again.ways) == (made.addresses, made.ways)
    assert len(again.addresses) == len(again.ways) == 2


STACK = """
[interface.br0]
bridge = {ports = ["guests"]}
addresses = "10.20.0.1/24"
[interface.guests]
vlan = {link = "bond0", id = 20}
[interface.bond0]
bond = {members = ["eth0", "eth1"], mode = "802.3ad", lacp_rate = "fast"}
"""
STACKED = seen(
    ether(2, "eth0", up=True, master="bond0"),
    ether(3, "eth1", up=True, master="bond0"),
    ether(4, "bond0", kind="bond", up=True, data=(
        ("IFLA_BOND_MODE", 4), ("IFLA_BOND_MIIMON", 100), ("IFLA_BOND_AD_LACP_RATE", 1),
        ("IFLA_BOND_UPDELAY", 0))),
    ether(5, "guests", kind="vlan", up=True, lower="bond0", master="br0",
          data=(("IFLA_VLAN_ID", 20),)),
    ether(6, "br0", kind="bridge", up=True, data=(("IFLA_BR_STP_STATE", 0),)),
    addresses=(Address("br0", "10.20.0.1/24"),),
)  # fmt: skip


def test_links_are_made_from_the_bottom_up_and_members_are_down_when_they_join() -> None:
    there = seen(ether(2, "eth0", up=True), ether(3, "eth1"))
    assert rows(STACK, there) == [
        "make bond0, a bond",
        "make guests, a vlan",
        "make br0, a bridge",
        "set eth0 down",
        "add eth0 to bond0",
        "add eth1 to bond0",
        "add guests to br0",
        "add 10.20.0.1/24 to br0",
        "set eth1 up",
        "set bond0 up",
        "set guests up",
        "set br0 up",
    ]
    assert rows(STACK, STACKED) == []


def test_another_number_makes_a_vlan_anew_with_what_it_had() -> None:
    made = record(STACK, seen(ether(2, "eth0"), ether(3, "eth1")))
    assert rows(STACK.replace("20}", "21}"), STACKED, made) == [
        "delete guests", "make guests, a vlan", "add guests to br0", "set guests up",
    ]


def test_another_mode_makes_a_bond_anew_with_all_that_stands_on_it() -> None:
    made = record(STACK, seen(ether(2, "eth0"), ether(3, "eth1")))
    changed = STACK.replace('mode = "802.3ad", lacp_rate = "fast"', 'mode = "broadcast"')
    found = rows(changed, STACKED, made)
    assert found[:3] == ["delete bond0", "make bond0, a bond", "make guests, a vlan"]
    assert {"add eth0 to bond0", "add eth1 to bond0", "add guests to br0"} <= set(found)
    assert "add 10.20.0.1/24 to br0" not in found


def test_what_can_change_in_place_does() -> None:
    changed = STACK.replace("ports", "stp = true, ports").replace("mode", 'miimon = "50ms", mode')
    assert rows(changed, STACKED) == [
        "set bond miimon to 50 of bond0",
        "set bridge stp_state to 1 of br0",
        "set bridge forward_delay to 1500 of br0",
    ]


def test_links_that_left_the_file_go_and_their_members_are_free() -> None:
    made = record(STACK, seen(ether(2, "eth0", up=True), ether(3, "eth1", up=True)))
    assert rows("", STACKED, made) == ["delete bond0", "delete br0", "delete guests"]
    without = STACK.replace(', "eth1"', "")
    assert rows(without, STACKED, made)[0] == "take eth1 out of bond0"


def test_a_link_of_somebody_else_is_in_the_way_and_stays() -> None:
    network = file("[interface.br0]\nbridge = {}\naddresses = '10.0.0.1/24'\n")
    there = seen(ether(2, "br0", kind="dummy"))
    found, problems = plan(want(network, choose(network, there, {})), there, Made())
    assert found == []
    why = "there is another of that name (dummy), and not from here"
    assert problems == [f"cannot make br0: {why}; remove or rename one of the two"]


def test_a_link_that_came_with_its_module_is_taken_unless_somebody_uses_it() -> None:
    first = ether(4, "bond0", kind="bond", data=(("IFLA_BOND_MODE", 0),))
    there = seen(ether(2, "eth0"), ether(3, "eth1"), first)
    assert rows(STACK, there)[:2] == ["delete bond0", "make bond0, a bond"]
    assert record(STACK, there).links == {"bond0", "guests", "br0"}
    network = file(STACK)
    for used in (
        seen(replace(first, up=True)),
        seen(first, ether(3, "eth1", master="bond0")),
        seen(first, addresses=(Address("bond0", "10.0.0.1/8"),)),
    ):
        found, problems = plan(want(network, choose(network, used, {})), used, Made())
        assert problems
        assert "bond0" not in {row.link for row in found}


def test_a_leased_address_that_the_file_has_becomes_its_own() -> None:
    there = replace(UP, addresses=(Address("eth0", "192.0.2.10/24", dynamic=True),
                                   Address("eth0", "2001:db8::10/64")))  # fmt: skip
    assert rows(STATIC, there) == ["add 192.0.2.10/24 to eth0"]


LEASED = seen(
    ether(2, "eth0", up=True),
    addresses=(
        Address("eth0", "10.0.0.5/24", dynamic=True), Address("eth0", "10.1.0.5/24"),
        Address("eth0", "2001:db8::5/64", dynamic=True),
    ),
    ways=frozenset([Way("eth0", "0.0.0.0/0", "10.0.0.1", 1002), Way("eth0", "10.9.0.0/16")]),
    dhcp_ways=frozenset([Way("eth0", "0.0.0.0/0", "10.0.0.1", 1002)]),
)  # fmt: skip


def test_a_lease_stays_while_the_file_asks_for_it_and_no_longer() -> None:
    asked = "[interface.eth0]\ndhcp = true\n"
    made = record(asked, seen(ether(2, "eth0", up=True)))
    assert rows(asked, LEASED, made) == []
    assert rows("[interface.eth0]\n", LEASED, made) == [
        "remove the route to default via 10.0.0.1 dev eth0 metric 1002",
        "remove 10.0.0.5/24 from eth0",
    ]
    assert rows("[interface.eth0]\n", LEASED, record(asked, LEASED)) == []  # another client's


def test_a_port_that_was_one_before_stays_one() -> None:
    text = '[interface.br0]\nbridge = {ports = ["eth0", "eth1"]}\n'
    there = seen(
        ether(2, "eth0", up=True, master="br0"), ether(3, "eth1", up=True),
        ether(4, "br0", kind="bridge", up=True))  # fmt: skip
    both = seen(*there.links.values(), ether(3, "eth1", up=True, master="br0"))
    assert rows("", both, record(text, there)) == ["take eth1 out of br0"]


def test_settings_come_before_up_and_down_is_said() -> None:
    text = "[interface.eth0]\naccept_ra = true\nslaac = false\n[interface.eth1]\nup = false\n"
    there = seen(ether(2, "eth0"), ether(3, "eth1", up=True))
    assert rows(text, there) == [
        "set accept_ra of eth0 to 2", "set autoconf of eth0 to 0", "set eth0 up", "set eth1 down",
    ]


def test_tables_that_match_alike_take_one_each_in_order_of_names() -> None:
    text = "".join(f'[interface.{name}]\nmatch = {{name = "en*"}}\n' for name in ("b", "a"))
    there = seen(ether(2, "en10"), ether(3, "en2"), ether(4, "en1", kind="vlan"), ether(5, "wl0"))
    network = file(text + "[interface.en3]\n")
    assert choose(network, there, {}) == {"b": "en2", "a": "en10"}
    more = replace(there, links={**there.links, "en0": ether(6, "en0")})
    assert choose(network, more, {"b": "en2", "a": "en10"}) == {"b": "en2", "a": "en10"}
    assert choose(network, more, {"b": "gone"}) == {"b": "en0", "a": "en2"}


def test_a_match_by_mac_means_the_one_that_a_device_was_made_with() -> None:
    network = file('[interface.x]\nmatch = {mac = "52:54:00:00:00:03"}\n')
    there = seen(ether(2, "eth0"), ether(3, "eth1", mac="52:54:00:00:00:99"))
    assert choose(network, there, {}) == {"x": "eth1"}


def test_what_is_missing_is_named_and_the_rest_is_done() -> None:
    text = (
        '[interface.eth0]\n[interface.wan]\nmatch = {name = "en*"}\n[interface.maybe]\n'
        'optional = true\n[interface.v]\nvlan = {link = "eth7", id = 3}\n'
        '[interface.bond0]\nbond = {members = ["eth0", "eth8"]}\n'
    )
    there = seen(ether(2, "eth0"))
    network = file(text)
    chosen = choose(network, there, {})
    assert missing(network, chosen, there) == [
        "interface wan (en*)",
        "interface eth7, of which v is made",
        "interface eth8, of which bond0 is made",
    ]
    assert rows(text, there) == [
        "make bond0, a bond", "add eth0 to bond0", "set eth0 up", "set bond0 up",
    ]


def test_a_route_that_needs_no_router_comes_before_one_that_does() -> None:
    text = """[interface.eth0]
addresses = "10.0.0.2/24"
routes = [
  {to = "default", via = "10.5.0.1", onlink = true},
  {to = "10.6.0.0/16", via = "10.0.0.1", table = 7},
  {to = "10.5.0.1"},
]
"""
    wanted = wanted_of(text, seen(ether(2, "eth0")))
    assert [way.to for way in wanted.ways] == ["10.5.0.1/32", "10.6.0.0/16", "0.0.0.0/0"]
    assert [way.to for way in wanted.onlink] == ["0.0.0.0/0"]
    way = wanted.ways[1]
    assert Row("route", "eth0", way).describe() == (
        "add the route to 10.6.0.0/16 via 10.0.0.1 dev eth0 table 7"
    )


def wanted_of(text: str, there: Seen) -> Wanted:
    network = file(text)
    return want(network, choose(network, there, {}))


def unready(text: str, there: Seen) -> list[tuple[str, bool, bool]]:
    network = file(text)
    chosen = choose(network, there, {})
    found = lacking(network, chosen, want(network, chosen), there)
    return [(one.words, one.final, one.maybe) for one in found]


def test_online_is_carrier_addresses_and_routes() -> None:
    online = replace(UP, links={**UP.links, "eth0": replace(UP.links["eth0"], carrier=True)})
    assert unready(STATIC, online) == []
    assert unready(STATIC, seen()) == [("there is no interface eth0", False, False)]
    assert unready(STATIC, UP) == [("eth0 has no carrier", False, False)]
    assert unready(STATIC, seen(ether(2, "eth0"))) == [("eth0 is down", False, False)]
    bare = replace(online, addresses=(), ways=frozenset())
    assert [words for words, _, _ in unready(STATIC, bare)] == [
        "eth0 does not have 192.0.2.10/24", "eth0 does not have 2001:db8::10/64",
        "eth0 has no default route via 192.0.2.1", "eth0 has no default route via 2001:db8::1",
    ]
    assert unready("[interface.eth1]\ndhcp = true\nonline = false\n", seen()) == []
    maybe = "[interface.eth0]\ndhcp = true\noptional = true\n"
    assert unready(maybe, seen()) == []
    assert len(unready(maybe, seen(ether(2, "eth0")))) == 1


def test_an_address_counts_when_it_is_known_that_no_other_host_has_it() -> None:
    text = '[interface.eth0]\naddresses = "2001:db8::10/64"\n'
    own = Address("eth0", "2001:db8::10/64", tentative=True)
    there = seen(ether(2, "eth0", up=True, carrier=True), addresses=(own,))
    assert [final for _, final, _ in unready(text, there)] == [False]
    twice = replace(there, addresses=(replace(own, duplicate=True),))
    assert unready(text, twice) == [("2001:db8::10/64 of eth0 is in use by another host",
                                     True, False)]  # fmt: skip


def test_a_lease_counts_and_its_route_is_given_a_moment() -> None:
    text = "[interface.eth0]\ndhcp = true\n"
    link = ether(2, "eth0", up=True, carrier=True)
    assert unready(text, seen(link)) == [
        ("eth0 has no address by DHCP", False, False),
        ("eth0 has no default route by DHCP", False, True),
    ]
    static = seen(link, addresses=(Address("eth0", "10.0.0.5/24"),))
    assert len(unready(text, static)) == 2
    there = seen(replace(link), addresses=LEASED.addresses, dhcp_ways=LEASED.dhcp_ways)
    assert unready(text, there) == []


def test_a_v6_router_alone_must_have_given_an_address() -> None:
    text = "[interface.eth0]\naccept_ra = true\n"
    link = ether(2, "eth0", up=True, carrier=True)
    local = Address("eth0", "fe80::5/64")
    assert [words for words, _, _ in unready(text, seen(link, addresses=(local,)))] == [
        "eth0 has no address from a v6 router"
    ]
    ours = Address("eth0", "2001:db8::5/64", dynamic=True)
    assert unready(text, seen(link, addresses=(local, ours))) == []

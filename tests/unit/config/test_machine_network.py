"""network.toml: every key right and wrong, every contradiction, and what is said of them."""
from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.config.generate import files
from supervisor.config.machine_file import Wrong, json_schema, parse, read
from supervisor.config.machine_network import MachineNetwork, Wait, walk
from supervisor.config.problem import Problem

FILE = "/etc/unboxed/network.toml"
DOCS = Path(__file__).resolve().parents[3] / "docs"
ETH = "[interface.eth0]\n"


def good(text: str) -> MachineNetwork:
    return parse(FILE, text.encode())


def bad(text: str) -> list[str]:
    with pytest.raises(Wrong) as caught:
        parse(FILE, text.encode())
    return [str(problem) for problem in caught.value.problems]


# Key: (values that are right, with what they make; values that are refused).
KEYS: dict[str, tuple[list[tuple[str, Any]], list[str]]] = {
    "interface.NAME.match": (
        [('{name = "en*"}', {"name": ["en*"], "mac": ""})],
        ["{}", '"en*"', '{nam = "en*"}'],
    ),
    "interface.NAME.match.name": (
        [('["en*", "eth[0-3]"]', ["en*", "eth[0-3]"]), ('"wan0"', ["wan0"])],
        ["5", '"a b"', '"a/b"', '["en*", "en*"]', '""'],
    ),
    "interface.NAME.match.mac": (
        [('"52:54:00:AB:cd:01"', "52:54:00:ab:cd:01"), ('"52-54-00-ab-cd-1f"',
            "52:54:00:ab:cd:1f")],
        ['"52:54"', '"52:54:00:12:34:5g"', "5", '""'],
    ),
    "interface.NAME.dummy": ([("true", True)], ["false", "1", "{}"]),
    "interface.NAME.vlan": (
        [('{link = "lan", id = 5}', {"link": "lan", "id": 5})],
        ["5", "{}", '{link = "lan"}', "{id = 5}", '{link = "lan", id = 5, mtu = 3}'],
    ),
    "interface.NAME.vlan.link": ([], ['{link = "", id = 5}', "{link = 5, id = 5}"]),
    "interface.NAME.vlan.id": (
        [], ['{link = "lan", id = 0}', '{link = "lan", id = 4095}', '{link = "lan", id = "5"}'],
    ),
    "interface.NAME.bond": ([], ["5", "true", "{slaves = []}"]),
    "interface.NAME.bond.members": (
        [('["a", "b"]', ["a", "b"])], ["5", '["a", "a"]', '["a/b"]', '["much-too-long-name"]'],
    ),
    "interface.NAME.bond.mode": ([('"802.3ad"', "802.3ad")], ["1", '"lacp"']),
    "interface.NAME.bond.miimon": ([('"50ms"', 50_000_000), ("0", 0)], ['"50"', "-1"]),
    "interface.NAME.bond.updelay": ([('"200ms"', 200_000_000)], ["true", '"150ms"']),
    "interface.NAME.bond.downdelay": ([('"200ms"', 200_000_000)], ["true", '"150ms"']),
    "interface.NAME.bond.primary": ([], ["5", '"other"']),
    "interface.NAME.bond.lacp_rate": ([], ["1", '"quick"', '"fast"']),
    "interface.NAME.bond.hash_policy": ([('"layer3+4"', "layer3+4")], ["1", '"layer4"']),
    "interface.NAME.bond.min_links": ([("2", 2)], ["-1", "65", '"1"']),
    "interface.NAME.bridge": ([], ["5", "{members = []}"]),
    "interface.NAME.bridge.ports": ([('"a"', ["a"])], ["5", '["a", "a"]', '["a b"]']),
    "interface.NAME.bridge.stp": ([("true", True)], ['"on"', "1"]),
    "interface.NAME.bridge.forward_delay": ([('"4s"', 4_000_000_000)], ['"4"', "[]"]),
    "interface.NAME.bridge.vlan_filtering": ([("true", True)], ["1"]),
    "interface.NAME.up": ([("false", False)], ["0", '"down"']),
    "interface.NAME.mtu": ([("9000", 9000), ("68", 68)], ["67", "65537", '"1500"', "true"]),
    "interface.NAME.mac": (
        [('"52:54:00:12:34:56"', "52:54:00:12:34:56")],
        ['"01:00:5e:00:00:01"', '"00:00:00:00:00:00"', "5"],
    ),
    "interface.NAME.addresses": (
        [
            ('"192.0.2.10/24"', ["192.0.2.10/24"]),
            ('["2001:DB8:0::10/64", "10.0.0.0/31"]', ["2001:db8::10/64", "10.0.0.0/31"]),
            ('"192.0.2.10/32"', ["192.0.2.10/32"]),
        ],
        [
            '"192.0.2.10"', '"192.0.2.0/24"', '"192.0.2.255/24"', '"192.0.2.10/33"', '"host/24"',
            '"224.0.0.5/24"', '"ff02::1/64"', '"0.0.0.0/0"', '"2001:db8::/64"', "5",
            '["192.0.2.10/24", "192.0.2.10/24"]', '"192.0.2.010/24"', '"192.0.2.10/"',
        ],
    ),
    "interface.NAME.gateway": (
        [], ['"192.0.2.1/24"', '"router"', "5", '["10.0.0.1", "10.0.0.2", "10.0.0.3"]', '"::"'],
    ),
    "interface.NAME.metric": ([("100", 100)], ["-1", "4294967296", '"1"']),
    "interface.NAME.routes": ([], ["5", '["default"]', "[{}]", '[{to = "10.0.0.0/8", gw = 1}]']),
    "interface.NAME.routes.to": ([], ['"10.0.0.1/8"', '"net"', "5", '"default"']),
    "interface.NAME.routes.via": ([], ['"10.0.0.0/8"', "5"]),
    "interface.NAME.routes.metric": ([], ["-1", '"5"']),
    "interface.NAME.routes.table": ([], ["0", '"main"']),
    "interface.NAME.routes.onlink": ([], ["1", "true"]),
    "interface.NAME.routes.source": ([], ['"2001:db8::1"', '"here"']),
    "interface.NAME.dhcp": ([("true", True)], ['"yes"', "4"]),
    "interface.NAME.accept_ra": ([("true", True), ("false", False)], ["1", '"on"']),
    "interface.NAME.slaac": ([("false", False)], ["0"]),
    "interface.NAME.online": ([("false", False)], ['"no"']),
    "interface.NAME.optional": ([("true", True)], ["1"]),
    "dns": ([], ["5", "{}", '{search = "example.org"}', '{server = "10.0.0.1"}']),
    "dns.servers": (
        [('["192.0.2.53", "2001:db8::53"]', ["192.0.2.53", "2001:db8::53"])],
        ['"dns.example"', "53", '["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"]'],
    ),
    "dns.search": ([('["example.org."]', ["example.org"])], ['"a..b"', '"a b"', "5", '"."']),
    "dns.options": ([('["edns0", "timeout:2"]', ["edns0", "timeout:2"])], ['"a b"', "5", '""']),
    "wait": ([], ["5", "{device = 5}"]),
    "wait.devices": ([('"0s"', 0), ('"1m"', 60_000_000_000)], ['"soon"', "-1"]),
    "wait.online": ([('"5s"', 5_000_000_000)], ['"0s"', "true"]),
}  # fmt: skip
GOOD = [(key, text, made) for key, (right, _) in KEYS.items() for text, made in right]
BAD = [(key, text) for key, (_, wrong) in KEYS.items() for text in wrong]


def written(key: str, value: str) -> str:
    """A file in which `key` has this value, and nothing else is wrong."""
    parts = key.replace("interface.NAME", "interface.eth0").split(".")
    if parts[-2:-1] == ["vlan"]:
        parts.pop()  # both of its keys are needed: the value is the whole table
    if parts[:1] == ["dns"] and parts[-1] not in {"dns", "servers"}:
        return f'[dns]\nservers = "10.0.0.1"\n{parts[-1]} = {value}\n'
    if "routes" in parts[:-1]:
        to = "" if parts[-1] == "to" else 'to = "10.0.0.0/8"\n'
        return f"[[{'.'.join(parts[:-1])}]]\n{to}{parts[-1]} = {value}\n"
    head = ".".join(parts[:-1])
    return (f"[{head}]\n" if head else "") + f"{parts[-1]} = {value}\n"


def test_every_key_is_tried() -> None:
    named = {path for path, _ in walk()} - {"interface.NAME"}
    assert named == set(KEYS)
    assert {key for key, text in BAD} == named


@pytest.mark.parametrize("key, text, made", GOOD)
def test_a_value_is_taken(key: str, text: str, made: Any) -> None:
    found = msgspec.json.decode(msgspec.json.encode(good(written(key, text))))
    fields = {"miimon": "miimon_ns", "updelay": "updelay_ns", "downdelay": "downdelay_ns",
              "forward_delay": "forward_delay_ns", "devices": "devices_ns", "online": "online_ns"}
    for part in key.replace("interface.NAME", "interface").split("."):
        if part in {"devices", "online"} and not key.startswith("wait"):
            found = found[part]
        else:
            found = found[fields.get(part, part)]
        found = found[0] if part == "interface" else found
    assert found == made


@pytest.mark.parametrize("key, text", BAD)
def test_a_bad_value_is_refused_on_its_line(key: str, text: str) -> None:
    source = written(key, text)
    problems = bad(source)
    name = key.rpartition(".")[2]
    parent = key.split(".")[-2] if key.count(".") else key
    assert any(f": {part}" in p or f".{part}" in p for p in problems for part in (name, parent))
    for problem in problems:
        place, _, rest = problem.removeprefix(f"{FILE}:").partition(": ")
        assert 1 <= int(place) <= source.count("\n"), problem
        assert "cannot " in rest


@pytest.mark.parametrize("text, says", [
    ('[interface.eth0]\nadresses = "10.0.0.2/24"',
     'adresses: cannot use "adresses": there is no such key here; did you mean addresses?'),
    ("[interfaces.eth0]", "did you mean interface?"),
    ('[interface.eth0]\nservers = "10.0.0.1"', "did you mean dns.servers?"),
    ("[interface.eth0]\nqqqqqqqq = 1", "there is match, dummy, vlan"),
    ('[interface."a/b"]', "it is no name of a network interface"),
    ("[interface.a-name-of-16-by]\n[interface.a-name-of-17-byt]", "a-name-of-17-byt: cannot use"),
    ("[interface]\neth0 = 5", "write a table, as in [interface.eth0]"),
    ("interface = 5", "write tables, as in [interface.eth0]"),
    ("[interface.eth0", "cannot read it"),
    ("interface = \xff", "cannot read it"),
])  # fmt: skip
def test_a_slip_is_told_what_was_meant(text: str, says: str) -> None:
    assert any(says in problem for problem in bad(text)), bad(text)


def test_all_that_is_wrong_is_said_at_once_with_lines() -> None:
    problems = bad('[interface.a]\nmtu = 5\n\n[interface.b]\nup = 1\n[dns]\nservers = "x"\n')
    assert [p.split(": ")[:2] for p in problems] == [
        [f"{FILE}:2", "interface.a.mtu"], [f"{FILE}:5", "interface.b.up"],
        [f"{FILE}:7", "dns.servers"],
    ]


STATIC = 'addresses = ["192.0.2.10/24", "2001:db8::10/64"]\n'
TWO_ROUTERS = """
[interface.a]
addresses = "10.0.0.2/24"
gateway = "10.0.0.1"
[interface.b]
addresses = "10.0.1.2/24"
gateway = "10.0.1.1"
"""
CONTRADICTIONS = [
    (ETH + "dummy = true\nbridge = {}", "cannot be a dummy too: it is a bridge"),
    (ETH + 'dummy = true\nmatch = {name = "e*"}', "eth0.match: cannot match anything"),
    *[(ETH + STATIC + f"up = false\n{text}", "while up = false") for text in (
        "dhcp = true", 'gateway = "192.0.2.1"', "online = true",
        'routes = [{to = "10.0.0.0/8"}]')],
    *[(f"[interface.lo]\n{text}", "it is the loopback") for text in (
        "dummy = true", 'match = {name = "e*"}', "dhcp = true", "online = true",
        'mac = "52:54:00:12:34:56"', "bridge = {}", "bond = {}",
        'vlan = {link = "eth0", id = 2}')],
    ("[interface.lo]\nup = false", "cannot set the loopback down"),
    (ETH + STATIC + 'gateway = ["192.0.2.1", "192.0.2.2"]', "cannot have two of one family"),
    (ETH + STATIC + 'gateway = "192.0.3.1"', "cannot reach 192.0.3.1"),
    (ETH + STATIC + 'gateway = "2001:db8:1::1"', "cannot reach 2001:db8:1::1"),
    (ETH + STATIC + 'gateway = "192.0.2.10"', "that is this interface's own address"),
    (ETH + 'accept_ra = false\ngateway = "2001:db8::1"', "cannot reach"),
    (ETH + 'routes = [{to = "10.0.0.0/8", via = "192.0.2.1"}]', "cannot reach 192.0.2.1"),
    (ETH + 'routes = [{to = "default"}]', 'add via, or write "0.0.0.0/0"'),
    (ETH + STATIC + 'routes = [{to = "10.0.0.0/8", via = "2001:db8::1"}]', "of the other family"),
    (ETH + STATIC + 'routes = [{to = "10.0.0.0/8", source = "2001:db8::1"}]', "other family"),
    (ETH + 'routes = [{to = "10.0.0.0/8", onlink = true}]', "cannot be without via"),
    (ETH + STATIC + "mtu = 1000", "IPv6 needs 1280"),
    (ETH + "accept_ra = true\nmtu = 1000", "IPv6 needs 1280"),
    (ETH + 'bond = {members = ["a"], primary = "b"}', "it is none of members"),
    (ETH + 'bond = {members = ["a"], primary = "a", mode = "802.3ad"}', "in mode 802.3ad"),
    (ETH + 'bond = {lacp_rate = "fast"}', "lacp_rate: cannot be used in mode active-backup"),
    (ETH + 'bond = {miimon = 0, updelay = "1s"}', "while miimon is 0"),
    (ETH + 'bond = {downdelay = "150ms"}', "must be a multiple of miimon"),
    (ETH + 'bond = {miimon = "1.5ms"}', "write whole milliseconds"),
    (ETH + 'bridge = {stp = true, forward_delay = "1s"}', "it must be from 2s to 30s"),
    (ETH + 'bridge = {stp = true, forward_delay = "2.001s"}', "whole hundredths"),
    ('[interface.b]\nbridge = {ports = ["p"]}\n[interface.c]\nbond = {members = ["p"]}',
     "cannot take p: it belongs to b"),
    ('[interface.b]\nbridge = {ports = ["lo"]}', "cannot take lo"),
    *[(f'[interface.b]\nbridge = {{ports = ["p"]}}\n[interface.p]\n{text}', "it is part of b")
      for text in ('addresses = "10.0.0.1/8"', "dhcp = true", "online = true")],
    ('[interface.b]\nbond = {members = ["p"]}\n[interface.p]\nup = false', "cannot be down"),
    ('[interface.a]\nvlan = {link = "a", id = 1}', "cannot stand on itself"),
    ('[interface.a]\nvlan = {link = "b", id = 1}\n[interface.b]\nbridge = {ports = ["a"]}',
     "cannot stand on itself"),
    (f"{ETH}{STATIC}[interface.eth1]\n{STATIC}", "it is an address of eth0"),
    ('[interface.a]\nvlan = {link = "x", id = 1}\n[interface.b]\nvlan = {link = "x", id = 1}',
     "a is the same VLAN"),
    (TWO_ROUTERS, "give one another metric"),
]  # fmt: skip


@pytest.mark.parametrize("text, says", CONTRADICTIONS)
def test_what_keys_cannot_be_together_is_refused(text: str, says: str) -> None:
    problems = bad(text)
    assert len(problems) in {1, 2}
    assert says in problems[0], problems


@pytest.mark.parametrize("text", [
    "",
    ETH,
    '[interface.lo]\naddresses = "127.0.0.2/8"',
    ETH + STATIC + 'gateway = ["192.0.2.1", "fe80::1"]',
    ETH + 'dhcp = true\ngateway = "192.0.2.1"',
    ETH + 'gateway = "2001:db8::1"',
    ETH + 'routes = [{to = "default", via = "192.0.2.1", onlink = true}]',
    ETH + 'routes = [{to = "0.0.0.0/0"}, {to = "::/0"}]',
    ETH + 'addresses = "10.0.0.2/24"\nmtu = 1000',
    'interface.a.addresses = "fe80::1/64"\ninterface.b.addresses = "fe80::1/64"',
    TWO_ROUTERS + "metric = 5",
])  # fmt: skip
def test_what_is_unusual_and_right_is_taken(text: str) -> None:
    assert isinstance(good(text), MachineNetwork)


def test_what_is_waited_for_unless_said() -> None:
    network = good(
        f'{ETH}{STATIC}[interface.a]\ndhcp = true\n[interface.b]\n[interface.c]\nonline = true\n'
        '[interface.d]\ndhcp = true\nonline = false\n[interface.e]\ndhcp = true\noptional = true\n'
        '[interface.f]\naccept_ra = true\n[interface.g]\naddresses = "10.3.3.3/24"\nup = false\n'
    )
    assert [one.name for one in network.interface if one.awaited] == ["eth0", "a", "c", "e", "f"]
    assert network.wait == Wait(10_000_000_000, 60_000_000_000)


def test_only_a_file_that_nobody_else_could_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    assert read(str(path)) is None
    assert read(str(tmp_path / "none" / "network.toml")) is None
    path.write_text(ETH)
    path.chmod(0o600)
    assert read(str(path)) == good(ETH)
    path.chmod(0o666)
    with pytest.raises(Wrong, match="cannot trust it"):
        read(str(path))
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(Wrong, match="symbolic link"):
        read(str(path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Wrong, match="no regular file"):
        read(str(path))


def test_defaults_that_are_documented_are_those_of_the_values() -> None:
    for path, key in walk():
        if key.default:
            whole = written(path, key.default)
            assert good(whole) == good(whole.replace(f"{key.name} = {key.default}\n", "")), path


def test_generated_documents_are_up_to_date() -> None:
    """If this fails: python -m supervisor.config.generate."""
    for name in ("network.md", "network.schema.json"):
        assert (DOCS / name).read_text() == files()[name]


def test_the_schema_for_editors_has_every_key() -> None:
    def keys(schema: dict[str, Any]) -> set[str]:
        inner = [schema.get("items"), schema.get("additionalProperties")]
        found = set(schema.get("properties", ()))
        for part in [*schema.get("properties", {}).values(), *inner]:
            found |= keys(part) if isinstance(part, dict) else set()
        return found

    assert keys(json_schema()) == {key.name for _, key in walk()}


EXAMPLES = re.findall(r"```toml\n(.*?)```", (DOCS / "network.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_are_right(text: str) -> None:
    assert good(text).interface


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(EXAMPLES), st.data())
def test_whatever_the_bytes_are_it_is_read_or_told_where_it_is_wrong(
    text: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 20))
    words = st.sampled_from([b"[interface.lo]\n", b"= 5\n", b'"'])
    part = data.draw(st.binary(max_size=20) | words)
    raw = text.encode()
    problems: tuple[Problem, ...] = ()
    try:
        parse(FILE, raw[:at] + part + raw[at + length :])
    except Wrong as wrong:
        problems = wrong.problems
    assert all(str(problem).startswith(FILE) for problem in problems)
    assert all("cannot " in problem.message for problem in problems)

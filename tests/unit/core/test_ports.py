"""One port has one owner: which claims clash, and which only look as if they did."""
from __future__ import annotations

import time

import pytest

from supervisor.config.load import load_text
from supervisor.core.graph import build
from supervisor.core.ports import broken, clashes
from supervisor.model.unit import Unit


def listen(*addresses: str, more: str = "") -> str:
    return "".join(
        f'[[listen]]\nname = "l{n}"\naddress = "{address}"\n{more}'
        for n, address in enumerate(addresses)
    )


def units(**texts: str) -> dict[str, Unit]:
    found = {name: load_text(name, f'command = "/x"\n{text}', "f") for name, text in texts.items()}
    assert all(isinstance(unit, Unit) for unit in found.values()), found
    return {name: unit for name, unit in found.items() if isinstance(unit, Unit)}


RULE = 'network.listen = "tcp:80"\n'
CLASHES = {
    "one address": (listen("tcp:10.0.0.1:80"), listen("tcp:10.0.0.1:80")),
    "all addresses": (listen("tcp:80"), listen("tcp:80")),
    "all and one": (listen("tcp:80"), listen("tcp:127.0.0.1:80")),
    "one and all": (listen("tcp6:[::1]:80"), listen("tcp6:[::]:80")),
    "udp": (listen("udp:53"), listen("udp:53")),
    "the second listener": (listen("tcp:1", "tcp:80"), listen("udp:80", "tcp:80")),
    "two rules": (RULE, RULE),
    "a rule and a listener": (RULE, listen("tcp:127.0.0.1:80")),
    "a rule and a listener of IPv6": (RULE, listen("tcp6:[::1]:80")),
    "a rule and one that shares": (RULE, listen("tcp:80", more="reuse_port = true\n")),
    "one shares, one does not": (listen("tcp:80", more="reuse_port = true\n"), listen("tcp:80")),
    "a listener beside no network": (
        'network.mode = "none"\n' + listen("tcp:80"), listen("tcp:80")),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASHES)
def test_two_units_that_claim_one_port_are_both_broken(name: str) -> None:
    a, b = CLASHES[name]
    found = broken(units(a=a, b=b, c="", d=listen("tcp:81")))
    assert found.keys() == {"a", "b"}
    assert "is claimed by b too" in found["a"]
    assert "is claimed by a too" in found["b"]


PEACE = {
    "other ports": (listen("tcp:80"), listen("tcp:81")),
    "other addresses": (listen("tcp:127.0.0.1:80"), listen("tcp:127.0.0.2:80")),
    "other protocols": (listen("tcp:80"), listen("udp:80")),
    "IPv4 and IPv6": (listen("tcp:80"), listen("tcp6:80")),
    "any port": (listen("tcp:0"), listen("tcp:0")),
    "any port by rule": ('network.listen = "tcp:*"\n', RULE),
    "both share": tuple(listen("tcp:80", more="reuse_port = true\n") for _ in range(2)),
    "one conflicts": ('needs.conflicts = "b"\n' + RULE, RULE),
    "the other conflicts": (RULE, 'needs.conflicts = "a"\n' + RULE),
    "another network": ('network = {mode = "private", listen = "tcp:80"}\n', RULE),
    "nothing is bound": ("network.connect = ['tcp:80']\n", RULE),
    "nothing may be bound": ("network.listen = []\n", RULE),
    "paths": (listen("unix:/run/a"), listen("unix:/run/a")),
}


@pytest.mark.parametrize("name", PEACE)
def test_what_only_looks_like_one_port_is_none(name: str) -> None:
    a, b = PEACE[name]
    assert not broken(units(a=a, b=b))


def test_a_unit_may_listen_and_have_a_rule_for_the_same_port() -> None:
    assert not broken(units(a=RULE + listen("tcp:80"), b="instances = 4\n" + listen("tcp:81")))


def test_the_words_name_both_claims() -> None:
    found = broken(units(a=listen("tcp:127.0.0.1:80"), b=RULE))
    assert found == {
        "a": "its port tcp:127.0.0.1:80 is claimed by b too as tcp:80 ([network] listen)",
        "b": "its port tcp:80 is claimed by a too as tcp:127.0.0.1:80 ([[listen]])",
    }
    both = clashes(units(a=listen("tcp:1", "tcp:80"), b=RULE))["a"]
    assert [one.where for one in both] == [("listen", 1, "address"), ("network", "listen", 0)]


def test_the_graph_refuses_them() -> None:
    graph = build(units(a=RULE, b=RULE, c=listen("tcp:443")))
    assert graph.broken == broken(graph.units)
    assert graph.broken.keys() == {"a", "b"}
    assert not build(units(a="", b="")).broken


def test_a_thousand_claims_of_one_port_cost_little() -> None:
    many = units(**{f"u{n}": RULE for n in range(1000)})
    before = time.process_time()
    assert len(broken(many)) == 1000
    assert time.process_time() - before < 2

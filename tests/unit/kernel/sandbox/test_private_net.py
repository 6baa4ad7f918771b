from __future__ import annotations

import sys
from ipaddress import ip_network
from typing import Any

import pytest

from supervisor.kernel.sandbox import private_net
from supervisor.kernel.sandbox.part import CannotConfine, Part
from supervisor.model.sandbox import Network
from tests.unit.kernel.sandbox.given import FACTS, context, policy


class Answers:
    """A host with these networks, as pyroute2 tells of them."""

    def __init__(self, *networks: str, routes: tuple[str, ...] = ()) -> None:
        self._networks = networks
        self._routes = routes

    def get_addr(self) -> list[Row]:
        return [Row(one, "IFA_ADDRESS", "prefixlen") for one in self._networks]

    def get_routes(self) -> list[Row]:
        return [Row(one, "RTA_DST", "dst_len") for one in self._routes]


class Row(dict[str, Any]):
    def __init__(self, network: str, address: str, length: str) -> None:
        found, bits = network.split("/")
        super().__init__({length: int(bits)})
        self._attributes = {address: found}

    def get_attr(self, name: str) -> str | None:
        return self._attributes.get(name)


@pytest.mark.parametrize(
    "address, host",
    [
        ("10.9.0.2/30", "10.9.0.1"),
        ("10.9.0.1/30", "10.9.0.2"),
        ("10.9.0.5/31", "10.9.0.4"),
        ("10.0.0.7/8", "10.0.0.1"),
        ("fd00::2/64", "fd00::1"),
    ],
)
def test_the_other_end_is_the_first_address_that_is_left(address: str, host: str) -> None:
    own, other = private_net._ends(address)
    assert (str(own), other) == (address, host)


@pytest.mark.parametrize("address", ["10.9.0.1/32", "10.9.0.0/30", "10.9.0.3/30", "fd00::1/128"])
def test_an_address_without_another_end_is_refused(address: str) -> None:
    limited = policy(network=Network("private", address=address))
    with pytest.raises(CannotConfine, match=r"network\.address: .* is no address of a network"):
        private_net.part(limited, context())


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(CannotConfine, match=r"network\.address: .*'10\.9\.0\.300/24'"):
        private_net._ends("10.9.0.300/24")


def test_a_chosen_network_is_a_free_one_of_the_pool() -> None:
    own, host = private_net._addresses("", "web", Answers())
    assert own.network.subnet_of(ip_network(private_net.POOL))  # type: ignore[arg-type] # of version 4
    assert own.network.prefixlen == 30
    assert host in map(str, own.network.hosts())
    assert host != str(own.ip)
    again, _ = private_net._addresses("", "web", Answers())
    assert again == own
    other, _ = private_net._addresses("", "web", Answers(f"{host}/30"))
    assert not other.network.overlaps(own.network)


def test_routes_of_the_pool_are_kept_clear_of_but_not_a_whole_vpn() -> None:
    own, _ = private_net._addresses("", "web", Answers(routes=("10.0.0.0/8", "10.213.0.0/17")))
    assert own.network.subnet_of(ip_network("10.213.128.0/17"))  # type: ignore[arg-type] # of version 4


def test_a_full_pool_and_a_network_in_use_are_refused() -> None:
    with pytest.raises(CannotConfine, match="no network of 10"):
        private_net._addresses("", "web", Answers(routes=(private_net.POOL,)))
    with pytest.raises(CannotConfine, match=r"has another network in 10\.9\.0\.0/24"):
        private_net._addresses("10.9.0.2/24", "web", Answers("10.9.0.77/28"))


def test_names_fit_the_kernel_and_tell_instances_and_supervisors_apart() -> None:
    found = {
        private_net.name_of(key, runtime)
        for key in ("web/0", "web/1", "db") for runtime in ("/run/unboxed", "/run/other")
    }  # fmt: skip
    assert len(found) == 6
    assert {len(name) for name in found} == {15}


def test_the_child_enters_it_before_all_else() -> None:
    found = private_net.part(policy(network=Network("private")), context())
    assert [step.args[0] for step in found.first] == ["openat", "setns"]
    assert not found.setup
    assert "no NAT, no forwarding" in found.mechanisms[0][1]


def test_what_it_takes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = policy(network=Network("private"))
    rootless = private_net.part(limited, context(FACTS._replace(root=False)))
    assert "runs as root" in rootless.missing[0][1]
    monkeypatch.setattr(private_net, "_library", lambda: False)
    without = private_net.part(limited, context())
    ((key, why),) = without.missing
    assert key == "network.mode"
    assert why.startswith(f"needs the library pyroute2: {sys.executable} -m pip install pyroute2; ")
    assert why.endswith("without it the unit has the host's own network")
    assert not without.first
    assert private_net.part(policy(), context()) == Part()

"""What of a policy Landlock takes over, and what it says is missing, for each ABI."""
from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, cast

import pytest

from supervisor.kernel.sandbox import landlock
from supervisor.kernel.sandbox import ruleset as r
from supervisor.kernel.sandbox.part import Part
from supervisor.model.sandbox import Network, PortRule
from tests.unit.kernel.sandbox.given import FACTS, context, policy

TCP, UDP = PortRule("tcp", 8080), PortRule("udp", 53)
ABIS = range(r.NEWEST + 1)


class Domain:
    """The rights that the steps limit, and those that they allow, by path or port."""

    def __init__(self, made: Part) -> None:
        self.files = self.network = self.scopes = 0
        self.paths: dict[str, int] = {}
        self.ports: dict[int, int] = {}
        opened = ""
        for step in made.last:
            name, args = cast("tuple[str, tuple[Any, ...]]", step.args[:2])
            if name == "landlock_create_ruleset":
                fields = struct.unpack(f"<{args[1] // 8}Q", args[0].parts[0])
                self.files, self.network, self.scopes = (*fields, 0, 0)[:3]
            elif name == "openat2":
                opened = args[1]
            elif name == "landlock_add_rule" and args[1] == 1:
                (access,) = struct.unpack("<Q", args[2].parts[0])
                self.paths[opened] = self.paths.get(opened, 0) | access
            elif name == "landlock_add_rule":
                access, port = struct.unpack("<QQ", args[2].parts[0])
                self.ports[port] = access


def part(abi: int, network: Network | None = None, *, bpf: bool = False, **keys: Any) -> Part:
    facts = FACTS._replace(landlock=abi, cgroup_bpf=bpf)
    level = keys.pop("level", "base")
    return landlock.part(policy(level, network=network, **keys), context(facts))


def missing(made: Part) -> dict[str, str]:
    return dict(made.missing)


@pytest.mark.parametrize("abi", ABIS)
def test_denied_paths_have_all_rights_that_the_kernel_knows(abi: int, tmp_path: Path) -> None:
    read, write = tmp_path / "read", tmp_path / "write"
    read.mkdir()
    write.mkdir()
    made = part(abi, view="deny", read=(str(read),), write=(str(write),))
    if abi < 1:
        assert set(missing(made)) == {"sandbox.read", "sandbox.write"}
        assert made.last == ()
        return
    domain = Domain(made)
    assert not made.missing
    assert domain.files == (r.READ | r.WRITE) & r.files(abi)
    assert domain.paths[str(read)] == r.READ
    assert domain.paths[str(write)] == (r.READ | r.WRITE) & r.files(abi)
    assert (domain.network, domain.scopes) == (0, 0)


def test_where_no_view_can_be_made_paths_are_denied_instead(tmp_path: Path) -> None:
    facts = FACTS._replace(root=False, user_namespaces=False, capabilities=0)
    box = policy("base", read=(str(tmp_path),))
    assert landlock.part(box, context()) == Part()
    assert Domain(landlock.part(box, context(facts))).files & r.READ == r.READ
    assert landlock.part(policy("base", read=(str(tmp_path),), view="hide"), context()) == Part()


def test_what_the_own_program_reads_is_readable(tmp_path: Path) -> None:
    domain = Domain(part(7, view="deny", read=(str(tmp_path),)))  # and so no `write`
    assert domain.paths["/usr/bin/true"] == r.READ
    assert domain.paths["/dev"] == r.READ | r.WRITE_FILE | r.IOCTL_DEV  # `devices` is not limited
    assert "/etc" not in domain.paths
    assert "/" not in domain.paths


@pytest.mark.parametrize("abi", [1, 2, 7])
def test_programs_are_limited_in_a_view_too_and_nothing_else(abi: int) -> None:
    made = part(abi, promises=("rpath",))
    domain = Domain(made)
    refer = r.REFER & r.files(abi)
    assert domain.files == r.EXECUTE | refer
    assert domain.paths.pop("/", 0) == refer  # renaming goes on where the kernel lets it
    assert domain.paths.pop("/usr/bin/true") == r.EXECUTE
    (loader,) = domain.paths
    assert "ld-linux" in loader


@pytest.mark.parametrize("words", [("app",), ("rpath", "exec")])
def test_promises_to_execute_leave_all_programs(words: tuple[str, ...]) -> None:
    assert part(7, promises=words) == Part()


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("bpf", [True, False])
def test_ports_of_tcp(abi: int, bpf: bool) -> None:
    made = part(abi, Network(listen=(TCP,), connect=(TCP,)), bpf=bpf)
    if abi < 4:
        keys = set() if bpf else {"network.listen", "network.connect"}
        assert set(missing(made)) == keys
        assert all("Landlock ABI 4, Linux 6.7" in why for why in missing(made).values())
        return
    domain = Domain(made)
    both = r.BIND_TCP | r.CONNECT_TCP
    assert domain.network == r.network(abi)
    assert domain.ports == {8080: both}
    assert not made.missing  # UDP sockets are refused altogether by the filter


def test_a_filter_does_for_those_who_may_do_nothing() -> None:
    """It refuses listen(2), or all sockets of the internet: that takes no rules about ports."""
    assert not part(0, Network(listen=(), connect=())).missing
    assert set(missing(part(0, Network(listen=(), connect=(TCP,))))) == {"network.connect"}
    assert set(missing(part(0, Network(connect=())))) == {"network.connect"}


def test_any_port_of_a_protocol_is_no_limit() -> None:
    domain = Domain(part(10, Network(listen=(PortRule("tcp"), UDP))))
    assert domain.network == r.BIND_UDP
    assert domain.ports == {53: r.BIND_UDP, 0: r.BIND_UDP}


def test_a_client_of_udp_is_given_a_port_of_its_own() -> None:
    domain = Domain(part(10, Network(listen=(), connect=(UDP,))))
    assert domain.ports == {53: r.CONNECT_UDP, 0: r.BIND_UDP}


@pytest.mark.parametrize(
    "abi, bpf, lacks", [(7, False, True), (7, True, False), (10, False, False)]
)
def test_waiting_for_udp_is_missing_where_none_can_refuse_it(
    abi: int, bpf: bool, lacks: bool
) -> None:
    """It may send UDP, since `connect` is not limited, so it has such sockets."""
    made = part(abi, Network(listen=(TCP,)), bpf=bpf)
    assert ("network.listen" in missing(made)) is lacks


def test_without_a_network_ports_need_no_rules() -> None:
    assert part(7, Network(mode="none", listen=(TCP,))) == Part()


@pytest.mark.parametrize("abi", ABIS)
def test_scopes_are_an_addition(abi: int) -> None:
    made = part(abi, level="app")
    assert Domain(made).scopes == (3 if abi >= 6 else 0)
    assert bool(made.last) is (abi >= 2)  # in any domain it traces nobody outside
    assert not made.missing
    ((key, words),) = made.mechanisms
    assert key == "sandbox.level"
    assert ("Linux 6.12" in words) is (abi < 6)


def test_unix_sockets_by_path() -> None:
    listed = Network(unix=("/run",))
    domain = Domain(part(9, listed))
    assert domain.paths == {"/": r.REFER, "/run": r.RESOLVE_UNIX}
    assert set(missing(part(8, listed))) == {"network.unix"}
    assert not part(8, Network(unix=())).missing  # makes none: filters.py


def test_refusals_are_logged_when_learning() -> None:
    for way, flags in (("errno", 0), ("log", 2)):
        entered = part(7, promises=("rpath",), on_violation=way).last[-1]
        assert cast("tuple[str, tuple[Any, ...]]", entered.args[:2])[1][1] == flags


def test_level_base_has_none() -> None:
    assert part(7) == Part()

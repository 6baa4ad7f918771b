"""Landlock in this kernel, with the filter that closes what it leaves open: every right is seen to
be there or to be refused. What a probe does is written down in tests/native/actions.py."""
from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.model.policy import Policy
from supervisor.model.sandbox import Network, PortRule, Sandbox
from tests.keeper.keeperclient import Peer
from tests.kernel.sandbox.boxed import (
    HEAD,
    HERE,
    SOMEBODY,
    context,
    policy,
    probed,
    python,
    run,
)
from tests.native import probe
from tests.native.actions import ACTIONS
from tests.native.probe import NOBODY, World

pytestmark = [
    pytest.mark.skipif(not HERE.root, reason="needs root, to have a user who has nothing"),
    pytest.mark.skipif(HERE.landlock < 3, reason=f"Landlock has ABI {HERE.landlock} here, not 3"),
]
# Refused to a process in any domain, or answered by any filter.
DOMAIN = {"trace-peer", "read-peer-memory", "peer-environ", "pidfd-getfd"}
FILTER = {"io-uring", "int80", "x32"}
REFUSED = {"EACCES", "EPERM", "EXDEV"}  # EXDEV: a link that would have more rights than it had


@pytest.fixture(scope="module")
def free() -> dict[str, str]:
    """What becomes of each action without a sandbox."""
    with World(NOBODY) as world:
        return probe.run(world)


@pytest.fixture
def world() -> Iterator[World]:
    with World(NOBODY) as made:
        yield made


def by_path(name: str, allowed: dict[str, set[str]]) -> bool:
    """Whether these uses of places permit an action."""
    tags = [tag.split(":") for tag in ACTIONS[name].tags if tag.startswith("path:")]
    return all(use not in allowed or place in allowed[use] for _, place, use in tags)


def compare(
    free: dict[str, str], got: dict[str, str], allowed: dict[str, set[str]], others: set[str]
) -> None:
    """What is not allowed by its paths is refused, and nothing else but `others` changes."""
    assert free.keys() == got.keys()
    wrong = {}
    for name, before in free.items():
        if name in others:
            continue
        refused = got[name] in REFUSED
        fine = got[name] == before if by_path(name, allowed) else refused or before != "ok"
        if not fine:
            wrong[name] = f"{before} became {got[name]}"
    assert not wrong


def test_denied_paths_are_those_that_are_not_listed(
    manager: Peer, world: World, free: dict[str, str]
) -> None:
    read, write, run = (str(world.path / name) for name in ("read", "write", "exec"))
    box = Sandbox(view="deny", read=(read,), write=(write,), exec=(run,))
    got = probed(manager, world, policy(box), context(SOMEBODY))
    seen = {"read", "write", "exec"}
    allowed: dict[str, set[str]] = {
        "read": seen, "write": {"write"}, "make": {"write"}, "exec": {"exec"}, "change": set(),
    }  # fmt: skip
    compare(free, got, allowed, DOMAIN | FILTER | {"exec-memory", "memory-file"})
    assert (got["exec-memory"], got["memory-file-noexec"]) == ("ENOSYS", free["memory-file-noexec"])
    assert (got["io-uring"], got["peer-environ"]) == ("ENOSYS", "EACCES")


def test_attributes_may_be_changed_if_that_is_promised(
    manager: Peer, world: World, free: dict[str, str]
) -> None:
    box = Sandbox(view="deny", write=(str(world.path),), promises=("app", "fattr"))
    got = probed(manager, world, policy(box), context(SOMEBODY))
    names = ("chmod", "utime", "setxattr", "write", "create-other")
    assert {name: got[name] for name in names} == {name: free[name] for name in names}
    assert (got["chown"], got["chmod-set-user-id"]) == ("EPERM", "EPERM")


def test_only_listed_programs_are_executed(
    manager: Peer, world: World, free: dict[str, str]
) -> None:
    """In every view, and renaming from one directory to another goes on."""
    confined = replace(policy(Sandbox(exec=(str(world.path / "exec"),))), read=None, write=None)
    got = probed(manager, world, replace(confined, read_only=False), context(SOMEBODY))
    compare(free, got, {"exec": {"exec"}}, DOMAIN | FILTER | {"exec-memory", "memory-file"})
    assert got["exec-memory"] == "ENOSYS"


def test_without_the_promise_only_the_own_program_is_executed(
    manager: Peer, world: World, free: dict[str, str]
) -> None:
    words = ("rpath", "wpath", "cpath", "fattr", "unix", "inet", "proc")
    got = probed(manager, world, policy(Sandbox(promises=words)), context(SOMEBODY))
    assert got["exec"] == free["exec"] == "ok"  # of the same path as the program itself
    assert {got[name] for name in ("exec-other", "exec-write", "exec-written")} == {"EACCES"}


def test_a_script_and_its_interpreters_are_the_own_program(
    manager: Peer, world: World
) -> None:
    script = world.path / "read" / "script"
    code = f"{HEAD}say(tried(os.execv, '/bin/sh', ['sh']))"
    script.write_text(f"#!/usr/bin/env -S python3 -I -S\n{code}")
    script.chmod(0o755)
    confined = policy(Sandbox(promises=("rpath",)))
    ended = run(manager, confined, context(SOMEBODY, str(script)), [str(script)])
    assert ended.text == '"EACCES"'


def test_its_own_program_starts_whatever_is_listed(manager: Peer) -> None:
    confined = replace(policy(Sandbox(exec=("/usr/bin/env",))), read=None, write=None)
    code = "say(tried(os.execv, '/bin/sh', ['sh']))"
    assert python(manager, replace(confined, read_only=False), code) == "EACCES"


def test_homes_are_not_read_at_level_app(manager: Peer) -> None:
    code = """
say([tried(os.listdir, path) for path in ("/root", "/home", "/", "/usr", "/etc")] +
    [tried(open, path, "w") for path in ("/var/tmp/new", "/dev/null")])"""
    box = Sandbox(level="app", view="deny", require="best", tmp="shared")
    answers = python(manager, policy(box), code)
    assert answers == ["EACCES"] * 3 + ["ok"] * 2 + ["EACCES", "ok"]


def test_scopes_keep_strangers_out_of_reach(
    manager: Peer, world: World, free: dict[str, str]
) -> None:
    if HERE.landlock < 6:
        pytest.skip(f"Landlock has ABI {HERE.landlock} here, not 6")
    got = probed(manager, world, replace(policy(), scoped=True), context(SOMEBODY))
    changed = {name for name in free if free[name] != got[name]} - DOMAIN
    assert changed == {"signal-peer", "unix-abstract"}
    assert {got[name] for name in changed} == {"EPERM"}


@pytest.mark.parametrize("abi", [2, 5])
def test_without_scopes_it_reaches_into_no_stranger_of_its_user(
    manager: Peer, world: World, free: dict[str, str], abi: int
) -> None:
    """Even /proc/PID/mem, which no system call filter sees."""
    older = context(SOMEBODY)._replace(facts=HERE._replace(landlock=abi))
    got = probed(manager, world, replace(policy(), scoped=True), older)
    assert {name for name in free if free[name] != got[name]} == DOMAIN
    assert all(free[name] == "ok" for name in DOMAIN), {name: free[name] for name in DOMAIN}


def test_unix_sockets_by_path_need_a_newer_kernel_or_a_view(world: World) -> None:
    from supervisor.kernel.sandbox import landlock

    listed = Network(unix=(str(world.path / "write/socket"),))
    for_all = policy(Sandbox(), listed)
    older = context(SOMEBODY, facts=HERE._replace(landlock=8))
    ((key, why),) = landlock.part(for_all, older).missing
    assert key == "network.unix"
    assert "Landlock ABI 9, Linux 7.1" in why
    view = policy(Sandbox(read=("/usr",)), listed)
    assert not landlock.part(view, older).missing


def test_a_path_that_goes_away_ends_the_launch_by_name(manager: Peer, world: World) -> None:
    box: Policy = policy(Sandbox(view="deny", read=(str(world.path / "gone"),)))
    with pytest.raises(CannotConfine, match=r"sandbox\.read: .*gone"):
        python(manager, box, "say(1)")


LISTED = ("tcp-connect", "tcp6-connect", "tcp-bind")
NOT_LISTED = {
    "tcp-connect-other", "tcp6-connect-other", "tcp-bind-other", "tcp6-bind-other",
    # FAULTS 48: what passes Landlock's rules about TCP
    "mptcp-connect", "mptcp-bind", "fast-open", "fast-open-message", "sctp", "dccp", "udp-lite",
    "udp-send", "udp-send-other", "udp-bind", "udp-bind-other", "ping", "raw", "raw6", "packet",
    "crypto", "vsock", "bluetooth", "xdp", "key",
}  # fmt: skip


needs_ports = pytest.mark.skipif(
    HERE.landlock < 4, reason=f"Landlock has ABI {HERE.landlock} here, not 4"
)


@needs_ports
@pytest.mark.parametrize("promises", [None, ("app",)])
@pytest.mark.parametrize("user", ["nobody", "root"])
def test_only_listed_ports_of_tcp_are_bound_and_reached(
    manager: Peer, user: str, promises: tuple[str, ...] | None
) -> None:
    with World(NOBODY if user == "nobody" else 0) as world:
        free = probe.run(world)
    with World(NOBODY if user == "nobody" else 0) as world:
        rule = PortRule("tcp", int(world.options[world.options.index("--port") + 1]))
        network = Network(listen=(rule,), connect=(rule,))
        confined = policy(Sandbox(promises=promises), network, user)
        who = SOMEBODY if user == "nobody" else context().identity
        got = probed(manager, world, confined, context(who))
    names = [*LISTED, "unix-connect", "unix-pair", "unix-bind"]
    assert {name: got[name] for name in names} == {name: free[name] for name in names}
    assert not {name: got[name] for name in NOT_LISTED if got[name] == "ok"}
    refused = {name for name in NOT_LISTED if free[name] == "ok"}
    assert {"mptcp-connect", "udp-send", "tcp-connect-other"} <= refused  # it was no lack of them
    assert {got[name] for name in refused} <= {
        "EACCES", "EPERM", "EPROTONOSUPPORT", "EAFNOSUPPORT", "EOPNOTSUPP",
    }  # fmt: skip


@needs_ports
@pytest.mark.parametrize("promises", [None, ("app",)])
def test_where_nothing_may_listen_nothing_does(
    manager: Peer, world: World, free: dict[str, str], promises: tuple[str, ...] | None
) -> None:
    rule = PortRule("tcp", int(world.options[world.options.index("--port") + 1]))
    confined = policy(Sandbox(promises=promises), Network(listen=(), connect=(rule,)))
    got = probed(manager, world, confined, context(SOMEBODY))
    assert free["tcp-listen-unbound"] == "ok"
    assert (got["tcp-listen-unbound"], got["tcp-connect"]) == ("EPERM", "ok")
    assert (got["tcp-bind"], got["tcp-bind-other"]) == ("EACCES", "EACCES")


@pytest.mark.parametrize("promises", [None, ("app",)])
def test_neither_listening_nor_connecting_is_having_no_internet(
    manager: Peer, world: World, promises: tuple[str, ...] | None
) -> None:
    confined = policy(Sandbox(promises=promises), Network(listen=(), connect=()))
    got = probed(manager, world, confined, context(SOMEBODY))
    names = (*LISTED, *NOT_LISTED - {"packet", "crypto", "vsock", "bluetooth", "xdp", "key"})
    assert {got[name] for name in names} <= {"EAFNOSUPPORT", "EPROTONOSUPPORT"}
    assert got["unix-pair"] == "ok"

"""The filter of a unit, as the kernel's machine runs it: promises, and what other keys refuse."""
from __future__ import annotations

from typing import Any, cast

import pytest

from supervisor.kernel.calls import Address, Struct
from supervisor.kernel.sandbox import filters
from supervisor.kernel.sandbox.part import Part
from supervisor.model.sandbox import Network, PortRule
from tests.unit.kernel.sandbox.given import FACTS, context, policy
from tests.unit.kernel.seccomp.machine import Machine
from tests.unit.kernel.seccomp.oracle import AUDIT, CALLS

ALLOW, KILL, LOG = 0x7FFF0000, 0x80000000, 0x7FFC0000
EPERM, ENOSYS, EPROTONOSUPPORT, EOPNOTSUPP, EAFNOSUPPORT = (
    0x50000 | number for number in (1, 38, 93, 95, 97)
)
UNIX, INET, INET6, PACKET, VSOCK, ALG = 1, 2, 10, 17, 40, 38
STREAM, DATAGRAM, RAW = 1, 2, 3
TCP, UDP = PortRule("tcp", 8080), PortRule("udp", 53)


def program(made: Part) -> bytes:
    """That which the only step loads."""
    (step,) = made.last
    name, args = cast("tuple[str, tuple[Any, ...]]", step.args[:2])
    assert (name, args[:2]) == ("seccomp", (1, 0))
    head, address = cast(Struct, args[2]).parts
    assert isinstance(address, Address)
    assert isinstance(head, bytes)
    assert int.from_bytes(head[:2], "little") * 8 == len(address.data)
    return address.data


class Filter:
    def __init__(self, arch: str, network: Network | None = None, **keys: Any) -> None:
        facts = FACTS._replace(arch=arch, **keys.pop("facts", {}))
        confined = policy(keys.pop("level", "base"), network=network, **keys)
        self.arch = arch
        self.part = filters.part(confined, context(facts))
        self.machine = Machine(program(self.part))

    def __call__(self, call: str, *arguments: int) -> int:
        return self.machine.run(AUDIT[self.arch], CALLS[self.arch][call], arguments).action


@pytest.fixture(params=sorted(AUDIT))
def arch(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_nothing_to_refuse_is_no_filter() -> None:
    assert filters.part(policy("base"), context()) == Part()
    assert filters.part(policy("base", network=Network("none", (), ())), context()) == Part()


def test_promises_are_allowed_and_nothing_else(arch: str) -> None:
    made = Filter(arch, promises=("rpath", "exec"))
    assert made("openat", 0, 0, 0) == ALLOW
    assert made("openat", 0, 0, 1) == EPERM
    assert made("io_uring_setup") == ENOSYS
    assert made.part.mechanisms[0][0] == "sandbox.promises"


@pytest.mark.parametrize("way, answer", [("errno", EPERM), ("kill", KILL), ("log", LOG)])
def test_a_violation_is_answered_as_the_unit_says(arch: str, way: str, answer: int) -> None:
    assert Filter(arch, promises=("rpath",), on_violation=way)("socket", INET, STREAM, 0) == answer


def test_ports_of_tcp_without_promises_close_what_goes_round_them(arch: str) -> None:
    made = Filter(arch, Network(connect=(TCP,)))
    assert made("socket", INET, STREAM | 0o2004000, 0) == ALLOW
    assert made("socket", INET6, STREAM, 6) == ALLOW
    assert made("socket", UNIX, DATAGRAM, 0) == ALLOW
    assert made("socket", INET, DATAGRAM, 0) == EPERM
    assert made("socket", INET, RAW, 6) == EPERM
    assert made("socket", INET, STREAM, 262) == EPROTONOSUPPORT  # MPTCP
    assert made("socket", INET, 5, 132) == EPROTONOSUPPORT  # SCTP
    assert {made("socket", family, RAW, 0) for family in (PACKET, VSOCK, ALG)} == {EAFNOSUPPORT}
    assert made("sendto", 3, 0, 1, 0x20000000) == EOPNOTSUPP  # MSG_FASTOPEN
    assert made("io_uring_setup") == ENOSYS
    assert made("listen") == made("mount") == made("ptrace") == ALLOW


def test_where_nothing_may_listen_the_call_is_refused(arch: str) -> None:
    for words in (None, ("inet",)):
        assert Filter(arch, Network(listen=(), connect=(TCP,)), promises=words)("listen") == EPERM
        assert Filter(arch, Network(listen=(TCP,)), promises=words)("listen") == ALLOW


def test_udp_is_there_where_a_rule_names_it(arch: str) -> None:
    for net in (Network(connect=(TCP, UDP)), Network(listen=(UDP,), connect=(TCP,)),
                Network(listen=(TCP,))):  # fmt: skip
        assert Filter(arch, net)("socket", INET, DATAGRAM, 17) == ALLOW
    assert Filter(arch, Network(listen=(TCP,), connect=()))("socket", INET, DATAGRAM, 0) == EPERM


def test_without_any_rule_there_is_no_internet(arch: str) -> None:
    made = Filter(arch, Network(listen=(), connect=()))
    assert made("socket", INET, STREAM, 0) == made("socket", INET6, DATAGRAM, 0) == EAFNOSUPPORT
    assert made("socket", UNIX, STREAM, 0) == ALLOW


def test_unix_sockets_are_made_unless_none_may_be_reached(arch: str) -> None:
    nobody = Network(unix=())
    assert Filter(arch, nobody)("socket", UNIX, STREAM, 0) == EAFNOSUPPORT
    assert Filter(arch, nobody, promises=("unix",))("socket", UNIX, STREAM, 0) == ALLOW
    told = context(listens=("/run/unboxed/notify/web",))
    assert filters.part(policy("base", network=nobody), told) == Part()


def test_attributes_are_refused_beside_paths_that_are_only_denied(arch: str) -> None:
    made = Filter(arch, view="deny", write=("/srv",))
    assert {made(call) for call in ("fchmod", "fchmodat", "setxattr", "fchownat")} == {EPERM}
    assert made("truncate") == made("openat", 0, 0, 0o1000) == EPERM  # FACTS: ABI 2
    assert made("openat", 0, 0, 0o1001) == ALLOW  # O_WRONLY: Landlock's to say
    newer = Filter(arch, view="deny", write=("/srv",), facts={"landlock": 3})
    assert newer("truncate") == newer("openat", 0, 0, 0o1000) == ALLOW
    assert filters.part(policy("base", write=("/srv",)), context()) == Part()


def test_promised_attributes_are_not_refused(arch: str) -> None:
    made = Filter(arch, view="deny", write=("/srv",), promises=("app", "chown"))
    assert (made("fchown"), made("fchmod")) == (ALLOW, EPERM)


def test_listed_programs_leave_no_way_through_memory(arch: str) -> None:
    for words in (None, ("app",)):
        made = Filter(arch, promises=words, exec=("/usr/bin",))
        assert (made("memfd_create", 0, 1), made("memfd_create", 0, 9)) == (ENOSYS, ALLOW)


def test_memory_is_protected_by_the_filter_on_older_kernels_only(arch: str) -> None:
    made = Filter(arch, jit=False)  # FACTS: Linux 6.1
    assert made("mmap", 0, 4096, 7, 34) == made("mprotect", 0, 4096, 5) == EPERM
    assert made("mmap", 0, 4096, 5, 2) == made("mprotect", 0, 4096, 3) == ALLOW
    newer = context(FACTS._replace(kernel=(6, 3)))
    assert filters.part(policy("base", jit=False), newer) == Part()


@pytest.mark.parametrize("changes", [{"seccomp": False}, {"arch": "riscv64"}])
def test_a_kernel_without_filters_is_named(changes: dict[str, Any]) -> None:
    facts = FACTS._replace(**changes)
    keys = policy("base", promises=("rpath",), network=Network(listen=()))
    made = filters.part(keys, context(facts))
    assert {key for key, _ in made.missing} >= {"sandbox.promises", "network.listen"}
    assert not made.last


def test_units_of_one_policy_share_their_program() -> None:
    box = policy("base", promises=("rpath", "exec"))
    one, other = (program(filters.part(box, context(key=key))) for key in ("a", "b"))
    assert one is other

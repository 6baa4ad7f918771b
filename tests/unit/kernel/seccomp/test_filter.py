"""Whole filters against the oracle: every number, telling arguments, every word, both machines."""
from __future__ import annotations

import time

import pytest

from supervisor.config.promises import NO_WORDS
from supervisor.kernel.seccomp import filter as seccomp
from supervisor.kernel.seccomp import network
from supervisor.kernel.seccomp import rule as r
from supervisor.kernel.seccomp.words import WORDS
from tests.unit.kernel.seccomp.machine import Machine
from tests.unit.kernel.seccomp.oracle import AUDIT, CALLS, FOREIGN, Oracle, telling

MACHINES = sorted(AUDIT)
USUAL = ("stdio", "rpath", "wpath", "cpath", "flock", "unix", "inet", "dns", "proc", "fattr")
SETS = [(word,) for word in WORDS] + [("rpath", "wpath"), ("rpath", "cpath"), USUAL, tuple(WORDS)]
EXTRAS = {
    "none": (), "listen": network.no_listen(), "udp": network.no_udp(),
    "internet": network.no_internet(),
}
# Beyond both tables, x32's range from end to end, and the negative numbers of tracers.
STRANGE = (472, 511, 512, 547, 4096, 0x3FFFFFFF, 0x40000000, 0x40000001, 0x40000000 + 521,
           0x7FFFFFFF, 0x80000000, 0xC0000000, 0xFFFFFFFE, 0xFFFFFFFF)


def compare(
    arch: str, promises: tuple[str, ...], on_violation: str, extra: seccomp.Extra = (),
) -> None:
    machine = Machine(seccomp.compile(arch, promises, on_violation, extra))
    rules = seccomp.decisions(promises, on_violation, extra)
    oracle = Oracle(arch, rules, on_violation)
    for number in (*range(480), *STRANGE):
        name = oracle.names.get(number, "")
        for arguments in telling(rules.get(name, ())):
            found = machine.run(AUDIT[arch], number, arguments).action
            assert found == oracle.answer(AUDIT[arch], number, arguments), (name, number, arguments)
        for foreign in FOREIGN[arch]:
            assert machine.run(foreign, number).action == r.KILL_PROCESS


@pytest.mark.parametrize("arch", MACHINES)
@pytest.mark.parametrize("promises", SETS, ids=lambda words: words[0] if len(words) == 1 else None)
def test_every_number_is_answered_as_the_rules_say(arch: str, promises: tuple[str, ...]) -> None:
    compare(arch, promises, "errno")


@pytest.mark.parametrize("arch", MACHINES)
@pytest.mark.parametrize("on_violation", sorted(seccomp.ON_VIOLATION))
@pytest.mark.parametrize("promises", [("app",), ("stdio",), USUAL])
def test_every_reaction_to_a_violation(
    arch: str, on_violation: str, promises: tuple[str, ...],
) -> None:
    compare(arch, promises, on_violation)


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("arch", MACHINES)
def test_network_rules_come_before_the_promises(arch: str, extra: str) -> None:
    compare(arch, ("app",), "errno", EXTRAS[extra])
    compare(arch, USUAL, "kill", EXTRAS[extra])


@pytest.mark.parametrize("arch", MACHINES)
def test_filters_are_small_and_shallow(arch: str) -> None:
    """The base list below 400 instructions; a call that is allowed as such after log2 n steps."""
    base = Machine(seccomp.compile(arch, ("app",)))
    assert len(base.code) <= 250
    for promises in SETS:
        machine = Machine(seccomp.compile(arch, promises))
        assert len(machine.code) <= 600
        rules = seccomp.decisions(promises)
        for name, number in CALLS[arch].items():
            if rules.get(name, ())[:1] == (r.Rule((), r.ALLOW),):
                assert machine.run(AUDIT[arch], number).steps <= 13, name


def test_a_filter_is_compiled_in_a_few_milliseconds() -> None:
    """Ten times what it takes, so that only another order of magnitude fails."""
    took = []
    for _ in range(5):
        before = time.thread_time()
        seccomp.compile("x86_64", ("app",))
        took.append(time.thread_time() - before)
    assert min(took) < 0.015


@pytest.mark.parametrize("word", [*NO_WORDS, "stdoi", ""])
def test_a_word_that_is_none_is_refused_by_name(word: str) -> None:
    with pytest.raises(ValueError, match=f'cannot promise "{word}": .*; nothing is compiled'):
        seccomp.compile("x86_64", ["rpath", word])


def test_no_word_is_both_known_and_refused() -> None:
    assert not WORDS.keys() & NO_WORDS.keys()


def test_another_machine_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="for riscv64: only x86_64 and aarch64 have tables"):
        seccomp.compile("riscv64", ["stdio"])


def test_a_rule_for_a_call_that_no_machine_has_is_refused() -> None:
    with pytest.raises(ValueError, match="a rule for opne"):
        seccomp.compile("x86_64", ["stdio"], extra=[("opne", r.Rule((), r.ALLOW))])


def test_an_extra_rule_may_also_allow() -> None:
    machine = Machine(seccomp.compile(
        "x86_64", ["stdio"], extra=[("swapoff", r.Rule((), r.ALLOW))]))
    assert machine.run(AUDIT["x86_64"], CALLS["x86_64"]["swapoff"]).action == r.ALLOW


def test_the_order_of_promises_does_not_matter() -> None:
    one, two = seccomp.decisions(USUAL), seccomp.decisions(tuple(reversed(USUAL)))
    assert {call: set(rules) for call, rules in one.items()} == {
        call: set(rules) for call, rules in two.items()}


def test_a_violated_call_has_its_name() -> None:
    assert seccomp.violated(101, "x86_64") == "ptrace"
    assert seccomp.violated(117, "aarch64") == "ptrace"
    assert seccomp.violated(9999, "x86_64") == "system call 9999"
    assert seccomp.violated(0x40000027, "x86_64") == "x32 system call 39"
    assert seccomp.violated(0x40000027, "aarch64") == "system call 1073741863"


def test_the_words_that_grant_a_call() -> None:
    assert seccomp.granting("ptrace") == ("debug",)
    assert seccomp.granting("read") == ("app", "stdio")
    assert set(seccomp.granting("openat")) == {"app", "rpath", "wpath"}
    assert "inet" in seccomp.granting("socket")
    assert seccomp.granting("reboot") == ()


@pytest.mark.parametrize("word", WORDS)
def test_what_a_word_is_said_to_grant_it_grants(word: str) -> None:
    without, having = seccomp.decisions(()), seccomp.decisions((word,))
    for call in {*WORDS[word].calls, *(name for name, *_ in WORDS[word].rules)}:
        assert word in seccomp.granting(call)
        assert any(rule.action == r.ALLOW for rule in having[call])
    if word not in {"stdio", "cpath"}:
        assert without != having


def test_learning_logs_all_that_a_word_grants_and_still_refuses_what_is_always_refused() -> None:
    """What is answered kindly otherwise (statx, a unix socket) would never be learned."""
    machine = Machine(seccomp.compile("x86_64", ["stdio"], "log"))
    for call, number in CALLS["x86_64"].items():
        if seccomp.granting(call):
            answer = machine.run(AUDIT["x86_64"], number, [1] * 6).action
            assert answer in {r.ALLOW, r.LOG}, call
    for call, arguments, answer in (
        ("clone3", [], r.ENOSYS), ("ioctl", [0, 0x5412], r.EPERM), ("fchmod", [0, 0o4755], r.EPERM),
    ):
        assert machine.run(AUDIT["x86_64"], CALLS["x86_64"][call], arguments).action == answer


def test_a_description_has_a_line_for_each_word_and_for_what_it_cannot_see() -> None:
    lines = seccomp.describe(["inet", "flock", "inet"], "kill")
    assert [line.partition(":")[0] for line in lines[:5]] == [
        "stdio", "stdio", "inet", "inet", "flock"]
    assert "addresses and ports" in lines[3]
    assert lines[-1] == "any other system call kills the process with SIGSYS"

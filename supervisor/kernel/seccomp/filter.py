"""Promises in, a program for seccomp(2) out; and the words that tell what such a program does.

Law: a call is asked after by number, and every number has an answer.
- Another architecture's call (int 0x80, 32-bit Arm) and x32's kill the process, whatever
  on_violation says: their numbers mean other calls, so no rule here is about them.
- A number that no table has, or that the kernel has given up, is answered ENOSYS: a library that
  tries a newer call finds an older kernel and goes on.
- A known call is answered by the first of its rules that fits, else by on_violation.

Since Linux 5.11 the kernel works out at installation which numbers are allowed whatever their
arguments and does not run the filter for those; the others cost the tree's log2 n comparisons.
"""
from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from supervisor.config.promises import NO_WORDS
from supervisor.kernel.seccomp import tables
from supervisor.kernel.seccomp.bpf import ARCH, JEQ, NR, Label, Program, decide, search
from supervisor.kernel.seccomp.general import ABSENT, ALWAYS, INSTEAD, RINGS, opening
from supervisor.kernel.seccomp.rule import (
    ALLOW,
    ENOSYS,
    EPERM,
    KILL_PROCESS,
    LOG,
    VIOLATION,
    Decision,
    Rule,
    Rules,
    check,
)
from supervisor.kernel.seccomp.words import IMPLIED, WORDS


class Arch(NamedTuple):
    audit: int  # AUDIT_ARCH_* of linux/audit.h, as in seccomp_data.arch
    calls: dict[str, int]
    foreign: tuple[tuple[int, int], ...]  # ranges of numbers that are another ABI's: [first, end)


X32 = 0x40000000  # __X32_SYSCALL_BIT
ARCHES = {  # by os.uname().machine
    # Above x32's numbers are the negative ones, such as the -1 of a tracer that skips a call.
    "x86_64": Arch(0xC000003E, tables.X86_64, ((X32, 2 * X32),)),
    "aarch64": Arch(0xC00000B7, tables.ARM64, ()),
}
ON_VIOLATION = {"errno": EPERM, "kill": KILL_PROCESS, "log": LOG}

Extra = Sequence[tuple[str, Rule]]  # (system call, rule), before all others of that call


def compile(  # noqa: A001 - filter.compile reads right
    arch: str, promises: Collection[str], on_violation: str = "errno", extra: Extra = (),
) -> bytes:
    """The filter as an array of struct sock_filter, little-endian.

    `promises`: words of words.WORDS; ("app",) is level app's list. `extra` tightens or widens
    single calls. ValueError for a word, an architecture or a rule that does not exist.
    """
    return _assembled(arch, decisions(promises, on_violation, extra), on_violation, VIOLATION)


def refusing(arch: str, extra: Extra, on_violation: str = "errno") -> bytes:
    """A filter without promises: what `extra` says of single calls, all others are allowed.

    io_uring is missing in it too, because what a ring is asked for passes no filter.
    """
    found: dict[str, list[Rule]] = {call: [Rule((), ENOSYS)] for call in RINGS}
    for call, rule in extra:
        found.setdefault(call, []).append(rule)
    rules = {call: _shortened(call, listed) for call, listed in found.items()}
    return _assembled(arch, rules, on_violation, ALLOW)


def _assembled(arch: str, known: Rules, on_violation: str, otherwise: int) -> bytes:
    """`otherwise`: of known calls, where no rule fits."""
    machine = _arch(arch)
    violation = ON_VIOLATION[on_violation]
    default = violation if otherwise == VIOLATION else otherwise
    program = Program()
    starts: list[tuple[int, Label]] = []
    for first, rules in _ranges(machine, known, otherwise):
        rules = tuple(
            rule._replace(action=violation) if rule.action == VIOLATION else rule
            for rule in rules)
        label = decide(program, rules, program.answer(default))
        if not starts or starts[-1][1] != label:
            starts.append((first, label))
    entry = program.load(NR, search(program, starts))
    program.load(ARCH, program.branch(JEQ, machine.audit, entry, program.answer(KILL_PROCESS)))
    return program.bytes()


def decisions(
    promises: Collection[str], on_violation: str = "errno", extra: Extra = (),
) -> Rules:
    """The rules of every call that has any, in the order in which they are tried.

    Extra ones, then what is refused under every promise, then what the promises allow, then
    answers that are kinder than a violation (when learning, those are violations: what is
    answered so would never be learned). A call that is not in it is a violation.
    """
    words = [*IMPLIED, *promises]
    for word in words:
        if word not in WORDS:
            reason = NO_WORDS.get(word, "there is no such word")
            raise ValueError(f'cannot promise "{word}": {reason}; nothing is compiled')
    allowed: dict[str, list[Rule]] = {}
    for word in words:
        for call in WORDS[word].calls:
            allowed[call] = [Rule((), ALLOW)]
    for word in words:
        for call, *tests in WORDS[word].rules:
            _add(allowed, call, Rule(tuple(tests), ALLOW))
    for call, rule in opening(words):
        _add(allowed, call, rule)
    found: dict[str, list[Rule]] = {}
    for call, rule in extra:
        found.setdefault(call, []).append(rule)
    for call, rule in ALWAYS:
        if rule.action == VIOLATION and on_violation == "log":
            rule = rule._replace(action=EPERM)  # no promise to be learned from it
        found.setdefault(call, []).append(rule)
    for call, rules in allowed.items():
        found.setdefault(call, []).extend(rules)
    if on_violation != "log":
        for call, rule in (*INSTEAD, *((call, Rule((), ENOSYS)) for call in ABSENT)):
            found.setdefault(call, []).append(rule)
    return {call: _shortened(call, rules) for call, rules in found.items()}


def violated(number: int, arch: str) -> str:
    """The name of a call that was refused or logged, for people."""
    machine = _arch(arch)
    if any(first <= number < end for first, end in machine.foreign):
        return f"x32 system call {number - X32}"
    names = (name for name, known in machine.calls.items() if known == number)
    return next(names, f"system call {number}")


def granting(call: str) -> tuple[str, ...]:
    """The words that allow a call, some of them with certain arguments only."""
    found = [word for word, what in WORDS.items()
             if call in what.calls or any(call == name for name, *_ in what.rules)]
    found += {
        "open": ["rpath", "wpath"], "openat": ["rpath", "wpath"], "creat": ["wpath"],
    }.get(call, [])
    return tuple(found)


def describe(promises: Collection[str], on_violation: str = "errno") -> list[str]:
    """What a filter of these promises lets through and what it cannot see, a line each."""
    lines = []
    for word in dict.fromkeys([*IMPLIED, *promises]):
        lines.append(f"{word}: {WORDS[word].allows}")
        if WORDS[word].limits:
            lines.append(f"{word}: not seen: {WORDS[word].limits}")
    then = {
        "errno": "fails with EPERM",
        "kill": "kills the process with SIGSYS",
        "log": "is allowed, and written to the kernel's log",
    }[on_violation]
    return [*lines, *_ALWAYS_LINES, f"any other system call {then}"]


_ALWAYS_LINES = (
    ("always missing (ENOSYS), since a filter cannot read what they are asked for, and programs "
     f"fall back: io_uring, clone3, openat2, and calls newer than Linux {tables.LINUX}"),
    ("always refused: set-user-id and set-group-id bits, input pushed into a terminal, TCP fast "
     "open (EOPNOTSUPP), MPTCP, SCTP and DCCP (EPROTONOSUPPORT)"),
    "always killed: calls of another architecture (32-bit, x32)",
)


def _arch(name: str) -> Arch:
    if name not in ARCHES:
        raise ValueError(
            f"cannot compile a system call filter for {name}: only {' and '.join(ARCHES)} have "
            "tables; nothing is compiled")
    return ARCHES[name]


def _add(allowed: dict[str, list[Rule]], call: str, rule: Rule) -> None:
    rules = allowed.setdefault(call, [])
    if rule not in rules and Rule((), ALLOW) not in rules:
        rules.append(rule)


def _shortened(call: str, rules: list[Rule]) -> Decision:
    """Up to the first rule that always fits: none behind it is ever reached."""
    if all(call not in arch.calls for arch in ARCHES.values()):
        raise ValueError(f"cannot compile a rule for {call}: no architecture has this call")
    for index, rule in enumerate(rules):
        if not rule.tests:
            rules = rules[:index + 1]
            break
    check(tuple(rules))
    return tuple(rules)


def _ranges(machine: Arch, known: Rules, otherwise: int) -> list[tuple[int, Decision]]:
    """Every number there is, as (first of a range, its rules), neighbours alike left together."""
    absent, foreign = (Rule((), ENOSYS),), (Rule((), KILL_PROCESS),)
    points: dict[int, Decision] = {0: absent}
    for name, number in sorted(machine.calls.items(), key=lambda call: call[1]):
        points[number] = known.get(name, (Rule((), otherwise),))
        points[number + 1] = absent
    for first, end in machine.foreign:
        points[first], points[end] = foreign, absent
    return sorted(points.items())

"""What a filter decides: for each system call a list of rules, of which the first that fits counts.

Law: a rule compares an argument in the width in which the kernel reads it. Registers have 64 bits;
where the kernel declares an `int`, the upper half is garbage that it drops. A refusal that compared
all 64 bits would be passed by TIOCSTI | 1 << 32 (CVE-2019-7303 in snapd, CVE-2019-10063 in
flatpak), and a permission that did would fail for callers whose compiler left the garbage there.
"""
from __future__ import annotations

from typing import NamedTuple

# seccomp(2): what a filter returns. An errno goes into the low 16 bits of ERRNO.
KILL_PROCESS = 0x80000000
ERRNO = 0x00050000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000
VIOLATION = -1  # no kernel value: stands for what the unit's on_violation says

EPERM = ERRNO | 1
ENOSYS = ERRNO | 38
EPROTONOSUPPORT = ERRNO | 93
EOPNOTSUPP = ERRNO | 95
EAFNOSUPPORT = ERRNO | 97

INT = 0xFFFFFFFF  # the mask of an int: the low half only
WHOLE = 0xFFFFFFFFFFFFFFFF  # of a pointer, size_t or unsigned long


class Condition(NamedTuple):
    """Whether (argument `arg` & `mask`) is one of `values` (`holds`) or none of them."""

    arg: int  # 0 to 5
    mask: int
    values: tuple[int, ...]
    holds: bool = True


class Rule(NamedTuple):
    """Does `action` where all tests hold; without tests, always."""

    tests: tuple[Condition, ...]
    action: int


Decision = tuple[Rule, ...]
Rules = dict[str, Decision]  # by system call name


def names(text: str) -> frozenset[str]:
    """System calls, written in rows for reading."""
    return frozenset(text.split())


def number(arg: int, *values: int) -> Condition:
    """An int argument is one of these."""
    return Condition(arg, INT, values)


def bits(arg: int, mask: int, *values: int) -> Condition:
    """The bits of `mask` in an argument are exactly one of these; without values, none is set."""
    return Condition(arg, mask, values or (0,))


def null(arg: int) -> Condition:
    """A pointer is null, in all its 64 bits."""
    return Condition(arg, WHOLE, (0,))


def other(test: Condition) -> Condition:
    """The opposite of a test."""
    return test._replace(holds=not test.holds)


def check(rules: Decision) -> None:
    """Raise ValueError for a test that can never be true, or never false: a slip in a table."""
    for test in (test for rule in rules for test in rule.tests):
        if not test.values or any(value & ~test.mask for value in test.values):
            raise ValueError(f"cannot compile {test}: it has a value outside its mask, or none")
        if not 0 <= test.arg <= 5 or not 0 < test.mask <= WHOLE:
            raise ValueError(f"cannot compile {test}: no such argument or mask")

"""What a filter has to answer, worked out from the tables of numbers and the rules, one by one."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

from supervisor.kernel.seccomp import rule as r
from supervisor.kernel.seccomp import tables

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
FOREIGN = {"x86_64": (0x40000003, 0xC00000B7), "aarch64": (0x40000028, 0xC000003E)}
CALLS = {"x86_64": tables.X86_64, "aarch64": tables.ARM64}
VIOLATIONS = {"errno": r.EPERM, "kill": r.KILL_PROCESS, "log": r.LOG}


def holds(test: r.Condition, arguments: Sequence[int]) -> bool:
    return ((arguments[test.arg] & test.mask) in test.values) is test.holds


def answer(rules: r.Decision, arguments: Sequence[int], violation: int) -> int:
    for rule in rules:
        if all(holds(test, arguments) for test in rule.tests):
            return violation if rule.action == r.VIOLATION else rule.action
    return violation


class Oracle:
    def __init__(self, arch: str, rules: r.Rules, on_violation: str) -> None:
        self.names = {number: name for name, number in CALLS[arch].items()}
        self.rules, self.arch, self.violation = rules, arch, VIOLATIONS[on_violation]

    def answer(self, arch: int, number: int, arguments: Sequence[int]) -> int:
        number &= 0xFFFFFFFF
        if arch != AUDIT[self.arch]:
            return r.KILL_PROCESS
        if self.arch == "x86_64" and 0x40000000 <= number < 0x80000000:
            return r.KILL_PROCESS
        if number not in self.names:
            return r.ENOSYS
        return answer(self.rules.get(self.names[number], ()), arguments, self.violation)


def telling(rules: r.Decision) -> Iterator[list[int]]:
    """Arguments that reach into every corner of these rules.

    For each rule: values that fit, then one argument at a time moved off by one, by a bit of the
    mask, by garbage in the upper half.
    """
    yield [0] * 6
    yield [0xFFFFFFFFFFFFFFFF] * 6
    for rule in rules:
        fitting = [0] * 6
        for test in rule.tests:
            if test.holds:
                fitting[test.arg] |= test.values[0]
        yield fitting
        for test in rule.tests:
            lowest = test.mask & -test.mask
            values = {
                near & 0xFFFFFFFFFFFFFFFF
                for value in test.values
                for near in (value, value + 1, value - 1, value | 1 << 32, value | 1 << 63,
                             value ^ lowest, value | 0xFFFFFFFF & ~test.mask)
            }
            for value in sorted(values):
                yield [*fitting[:test.arg], value, *fitting[test.arg + 1:]]

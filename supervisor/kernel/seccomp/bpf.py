"""An assembler for the kernel's classic BPF as seccomp(2) runs it, and the decisions written in it.

Theory: a filter only ever jumps forward. So it is assembled from its end: an instruction is placed
when all that may follow it has a place, and a label is a place counted from the end, which never
moves. Conditional jumps reach 255 instructions; where a target is further away, a stepping stone
is placed right behind the jump: a copy of the target if that is a return, else an unconditional
jump (32 bits). The same instruction with the same successors is placed once, so that calls with
the same rules share their code.
"""
from __future__ import annotations

from _struct import Struct

from supervisor.kernel.seccomp.rule import Condition, Decision

LD, AND, JA, JEQ, JGE, RET = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06  # linux/bpf_common.h, 32-bit words
NR, ARCH, ARGS = 0, 4, 16  # offsets in struct seccomp_data; arguments of 8 bytes, little-endian
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
REACH = 255  # jt and jf are bytes
LINEAR = 3  # so many values are compared one by one, more by halves

INSTRUCTION = Struct("<HBBI")  # struct sock_filter: code, jt, jf, k

Label = int


class Program:
    """A program that grows towards its start."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int]] = []  # last instruction first
        self._placed: dict[tuple[int, ...], Label] = {}
        self._stones: dict[Label, Label] = {}  # the stepping stone last placed for a target

    def __len__(self) -> int:
        return len(self._code)

    def bytes(self) -> bytes:
        """An array of struct sock_filter. ValueError if the kernel would not take so many."""
        if len(self) > MAX_INSTRUCTIONS:
            raise ValueError(
                f"cannot compile the filter: {len(self)} instructions, and the kernel takes "
                f"{MAX_INSTRUCTIONS}")
        return b"".join(INSTRUCTION.pack(*instruction) for instruction in reversed(self._code))

    def answer(self, action: int) -> Label:
        return self._place((RET, action), (RET, 0, 0, action))

    def load(self, offset: int, then: Label) -> Label:
        return self._straight(LD, offset, then)

    def mask(self, mask: int, then: Label) -> Label:
        return self._straight(AND, mask, then)

    def branch(self, code: int, value: int, yes: Label, no: Label) -> Label:
        """JEQ or JGE against `value`."""
        if yes == no:
            return yes
        key = (code, value, yes, no)
        if key in self._placed:
            return self._placed[key]
        yes = self._near(yes, 1)  # the other's stone may still come between
        no = self._near(no, 0)
        return self._place(key, (code, self._distance(yes), self._distance(no), value))

    def _straight(self, code: int, value: int, then: Label) -> Label:
        key = (code, value, then)
        if key in self._placed:
            return self._placed[key]
        if then != len(self._code) - 1:
            self._stone(then)
        return self._place(key, (code, 0, 0, value))

    def _place(self, key: tuple[int, ...], instruction: tuple[int, int, int, int]) -> Label:
        if key not in self._placed:
            self._code.append(instruction)
            self._placed[key] = len(self._code) - 1
        return self._placed[key]

    def _distance(self, label: Label) -> int:
        """How many instructions one placed now would skip to reach it."""
        return len(self._code) - 1 - label

    def _near(self, label: Label, spare: int) -> Label:
        """The label, or a stepping stone for it, within reach though `spare` more come between."""
        for known in (label, self._stones.get(label, label)):
            if self._distance(known) + spare <= REACH:
                return known
        return self._stone(label)

    def _stone(self, label: Label) -> Label:
        target = self._code[label]
        self._code.append(target if target[0] == RET else (JA, 0, 0, self._distance(label)))
        self._stones[label] = len(self._code) - 1
        return self._stones[label]


def member(program: Program, values: list[int], yes: Label, no: Label) -> Label:
    """Where to go with a number that may be one of `values`, sorted."""
    if len(values) > LINEAR:
        half = len(values) // 2
        upper = member(program, values[half:], yes, no)
        lower = member(program, values[:half], yes, no)
        return program.branch(JGE, values[half], upper, lower)
    for value in reversed(values):
        no = program.branch(JEQ, value, yes, no)
    return no


def examine(program: Program, test: Condition, yes: Label, no: Label) -> Label:
    """One test of an argument: its upper half first, if the mask has bits there, then the lower."""
    if not test.holds:
        yes, no = no, yes
    halves: dict[int, list[int]] = {}
    for value in sorted(test.values):
        halves.setdefault(value >> 32, []).append(value & 0xFFFFFFFF)
    offset = ARGS + 8 * test.arg
    lower_mask, upper_mask = test.mask & 0xFFFFFFFF, test.mask >> 32

    def half(where: int, mask: int, then: Label) -> Label:
        return program.load(where, then if mask == 0xFFFFFFFF else program.mask(mask, then))

    entry = no
    for upper, lowers in sorted(halves.items(), reverse=True):
        found = half(offset, lower_mask, member(program, lowers, yes, no)) if lower_mask else yes
        entry = program.branch(JEQ, upper, found, entry) if upper_mask else found
    return half(offset + 4, upper_mask, entry) if upper_mask else entry


def decide(program: Program, rules: Decision, otherwise: Label) -> Label:
    """The rules of one system call: the first whose tests all hold answers."""
    for rule in reversed(rules):
        entry = program.answer(rule.action)
        for test in reversed(rule.tests):
            entry = examine(program, test, entry, otherwise)
        otherwise = entry
    return otherwise


def search(program: Program, starts: list[tuple[int, Label]]) -> Label:
    """A balanced tree over ranges, each (first number, where to go) up to the next one's first.

    Of n ranges, log2 n comparisons; a single number amid a range is one comparison for equality.
    """
    if len(starts) == 1:
        return starts[0][1]
    if len(starts) == 3:
        (_, before), (number, single), (after, behind) = starts
        if before == behind and after == number + 1:
            return program.branch(JEQ, number, single, before)
    half = len(starts) // 2
    upper = search(program, starts[half:])
    lower = search(program, starts[:half])
    return program.branch(JGE, starts[half][0], upper, lower)

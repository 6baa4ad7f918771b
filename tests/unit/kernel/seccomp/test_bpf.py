"""The assembler by itself: far jumps, 64-bit comparisons, and random rules against the oracle."""
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.kernel.seccomp.bpf import ARGS, JEQ, JGE, NR, Program, decide, examine, search
from supervisor.kernel.seccomp.rule import WHOLE, Condition, Decision, Rule, check, number
from tests.unit.kernel.seccomp.machine import Machine
from tests.unit.kernel.seccomp.oracle import answer, telling

ARCH = 7
WORD = 0xFFFFFFFF


def alone(rules: Decision, otherwise: int) -> Machine:
    """A program that asks nothing but these rules."""
    program = Program()
    entry = decide(program, rules, program.answer(otherwise))
    program.load(NR, entry)
    return Machine(program.bytes())


@pytest.mark.parametrize("length", [1, 100, 254, 255, 256, 257, 300, 1000, 2000])
def test_a_jump_reaches_any_distance(length: int) -> None:
    program = Program()
    far = program.answer(1)
    other = program.load(NR, program.branch(JEQ, 5, program.answer(2), far))
    entry = program.answer(3)
    for value in range(length):
        # Each its own instruction, with its two targets ever further behind.
        entry = program.branch(JEQ, 1000 + value, other if value % 2 else far, entry)
    program.load(NR, entry)
    machine = Machine(program.bytes())
    assert machine.run(ARCH, 999).action == 3
    for value in range(length):
        assert machine.run(ARCH, 1000 + value).action == 1
    assert len(machine.code) <= length + length // 100 + 12, "stepping stones are shared"


def test_a_branch_whose_two_targets_are_both_just_out_of_reach() -> None:
    for padding in range(248, 262):
        program = Program()
        one, two = program.load(NR, program.answer(1)), program.load(ARGS, program.answer(2))
        behind = program.answer(3)
        for index in range(padding):  # instructions that only take up room
            behind = program.load(ARGS + 8 * (1 + index % 2), behind)
        entry = program.branch(JGE, 100, one, two)
        program.load(NR, entry)
        machine = Machine(program.bytes())
        assert machine.run(ARCH, 100).action == 1
        assert machine.run(ARCH, 99).action == 2


def test_a_program_that_is_too_long_is_refused() -> None:
    program = Program()
    entry = program.answer(0)
    for value in range(5000):
        entry = program.branch(JEQ, value, program.answer(value % 2), entry)
    with pytest.raises(ValueError, match="the kernel takes 4096"):
        program.bytes()


@pytest.mark.parametrize("test, fits, fails", [
    (number(0, 5), [5, 5 | 1 << 32], [4, 6, 5 << 32]),
    (Condition(0, WHOLE, (5,)), [5], [5 | 1 << 32, 4, 0]),
    (Condition(0, WHOLE, (5 << 32 | 7, 7)), [5 << 32 | 7, 7], [5 << 32, 5 << 32 | 5, 1 << 32 | 7]),
    (Condition(0, 0xF0F0F0F0F, (0x100000001,)), [0x100000001, 0x1F0F0F0F1], [1, 0x100000003]),
    (Condition(0, 0xF00000000, (0x100000000,)), [0x100000000, 0x1FFFFFFFF], [0, 0x300000000]),
    (Condition(0, 0xFF, (1, 2, 3), holds=False), [0, 4, 0x100], [1, 2, 3, 0x101]),
])
def test_an_argument_is_compared_under_its_mask(
    test: Condition, fits: list[int], fails: list[int],
) -> None:
    program = Program()
    program.load(NR, examine(program, test, program.answer(1), program.answer(0)))
    machine = Machine(program.bytes())
    assert [machine.run(ARCH, 0, [value]).action for value in fits] == [1] * len(fits)
    assert [machine.run(ARCH, 0, [value]).action for value in fails] == [0] * len(fails)


@pytest.mark.parametrize("test", [
    Condition(0, 0xF, (0x10,)), Condition(0, 0xF, ()),
    Condition(6, 0xF, (1,)), Condition(0, 0, (0,)),
    Condition(0, 1 << 64, (0,)),
])
def test_a_test_that_makes_no_sense_is_refused(test: Condition) -> None:
    with pytest.raises(ValueError, match="cannot compile"):
        check((Rule((test,), 0),))


@st.composite
def questions(draw: st.DrawFn) -> Condition:
    mask = draw(st.sampled_from(
        [WORD, WHOLE, 0xFF, 0xF000, 0xFF << 30, 1 << 40, 0x8000000000000001]))
    values = draw(st.lists(st.integers(0, WHOLE).map(lambda value: value & mask), min_size=1,
                           max_size=12, unique=True))
    return Condition(draw(st.integers(0, 5)), mask, tuple(values), draw(st.booleans()))


RULES = st.lists(
    st.builds(Rule, st.lists(questions(), max_size=3).map(tuple), st.integers(1, 4)),
    max_size=6).map(tuple)


@settings(deadline=None, max_examples=150)
@given(RULES, st.lists(st.integers(0, WHOLE), min_size=6, max_size=6))
def test_random_rules_are_decided_as_the_oracle_does(rules: Decision, arguments: list[int]) -> None:
    machine = alone(rules, 9)
    for values in (arguments, *telling(rules)):
        assert machine.run(ARCH, 0, values).action == answer(rules, values, 9)


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.integers(1, 600), st.integers(0, 5), min_size=1, max_size=400))
def test_random_ranges_are_searched_in_logarithmic_time(points: dict[int, int]) -> None:
    ranges = sorted({0: 0, **points}.items())
    program = Program()
    program.load(NR, search(program, [(at, program.answer(action)) for at, action in ranges]))
    machine = Machine(program.bytes())
    expected = 0
    for value in range(602):
        expected = points.get(value, expected)
        found = machine.run(ARCH, value)
        assert found.action == expected
        assert found.steps <= 4 + len(ranges).bit_length() * 2

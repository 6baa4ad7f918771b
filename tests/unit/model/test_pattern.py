import re
import time

from hypothesis import given
from hypothesis import strategies as st

from supervisor.model.pattern import is_glob, matches


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_globs_mean_what_the_same_regular_expression_means(pattern: str, name: str) -> None:
    expression = pattern.replace("*", ".*").replace("?", ".")
    assert matches(pattern, name) == (re.fullmatch(expression, name) is not None)


def test_characters_of_regular_expressions_and_shells_are_themselves() -> None:
    assert matches("a.b", "a.b")
    assert not matches("a.b", "axb")
    assert not matches("[ab]", "a")
    assert [is_glob(p) for p in ("web", "web/1", "[ab]", "web*", "we?")] == [False] * 3 + [True] * 2


def test_a_hostile_pattern_costs_next_to_nothing() -> None:
    started = time.process_time()
    assert not matches("*a" * 64, "a" * 63)
    assert not matches("*" * 128 + "b", "a" * 63)
    assert time.process_time() - started < 0.05

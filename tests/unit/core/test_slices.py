"""Slices: the group units whose limits a unit shares, or why it has none."""
from __future__ import annotations

import pytest

from supervisor.core.graph import build
from supervisor.core.slices import NoSlice, broken, chain, shared
from supervisor.model.unit import Agent, Limits, Unit

OUTER, INNER, OWN = Limits(memory_bytes=5), Limits(tasks=9, slice="outer"), Limits(slice="inner")


def units(*found: Unit) -> dict[str, Unit]:
    return {unit.name: unit for unit in found}


def group(name: str, limits: Limits | None) -> Unit:
    return Unit(name, kind="group", limits=limits)


WEB = Unit("web", command=("x",), limits=OWN)


def test_a_unit_is_in_its_slice_and_in_those_above_it() -> None:
    known = units(WEB, group("inner", INNER), group("outer", OUTER))
    assert chain(WEB, known) == (("outer", OUTER), ("inner", INNER))
    assert chain(known["inner"], known) == (("outer", OUTER),)
    assert broken(known) == {}


@pytest.mark.parametrize("limits", [None, Limits(), Limits(tasks=5)])
def test_or_in_none(limits: Limits | None) -> None:
    unit = Unit("web", command=("x",), limits=limits)
    assert chain(unit, units(unit)) == ()
    assert broken(units(unit)) == {}


@pytest.mark.parametrize(
    "others, words",
    [
        ((), "its slice inner has no unit file"),
        ((Unit("inner", command=("x",), limits=OUTER),), "its slice inner is no group"),
        ((group("inner", None),), r"its slice inner has no \[limits\] to share"),
        ((group("inner", INNER),), "its slice outer has no unit file"),
        (
            (group("inner", INNER), group("outer", Limits(slice="inner"))),
            "its slices are a cycle: web -> inner -> outer -> inner",
        ),
    ],
)
def test_a_slice_that_is_none_is_named(others: tuple[Unit, ...], words: str) -> None:
    known = units(WEB, *others)
    with pytest.raises(NoSlice, match=words):
        chain(WEB, known)
    assert set(broken(known)) >= {"web"}


def test_a_unit_without_its_slice_is_broken_in_the_graph() -> None:
    free = Unit("free", command=("x",))
    assert build(units(WEB, free)).broken == {"web": "its slice inner has no unit file"}
    whole = units(WEB, free, group("inner", INNER), group("outer", OUTER))
    assert build(whole).broken == {}


MAIN = Unit("web", command=("x",), limits=Limits(memory_bytes=5, slice="outer"))
AGENT = Unit(
    "agent", command=("x",), attach=("web",), agent=Agent(share=("limits",)), limits=Limits(tasks=9)
)


def test_an_agent_that_shares_the_limits_of_its_main_is_with_it_in_a_slice_of_that() -> None:
    known = units(MAIN, AGENT, group("outer", OUTER), Unit("other", attach=("web",)))
    assert shared(known) == {"web"}
    whole = (("outer", OUTER), ("web", MAIN.limits))
    assert chain(MAIN, known) == chain(AGENT, known) == whole
    assert chain(known["other"], known) == ()
    assert broken(known) == {}


@pytest.mark.parametrize(
    "others, words",
    [
        ((), "it shares the limits of web, which has no unit file"),
        ((Unit("web", command=("x",)),), "it shares the limits of web, which has none"),
        (
            (Unit("web", command=("x",), limits=Limits(), instances=2),),
            "it shares the limits of web, which has several instances",
        ),
    ],
)
def test_what_has_no_one_budget_cannot_be_shared(others: tuple[Unit, ...], words: str) -> None:
    known = units(AGENT, *others)
    assert broken(known) == {"agent": words}
    for unit in others:
        assert chain(unit, known) == ()

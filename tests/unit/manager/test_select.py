"""What a client's words select, and how much work they may make."""

from __future__ import annotations

import pytest

from supervisor.core.world import World
from supervisor.manager.select import MOST_GLOBS, NothingThere, TooMuch, keys
from supervisor.model.unit import Unit


@pytest.fixture
def world() -> World:
    world = World(1, 1)
    names = [f"web-{number}" for number in range(40)]
    world.define({name: Unit(name, command=("run",)) for name in names})
    return world


def test_each_pattern_counts_once_however_often_it_is_said(world: World) -> None:
    assert keys(world, ["web-1"] * 10_000 + ["web-?"] * 10_000) == [
        "web-1", "web-0", *(f"web-{number}" for number in range(2, 10))]


def test_names_may_be_many_and_globs_may_not(world: World) -> None:
    assert len(keys(world, [f"web-{number}" for number in range(40)])) == 40
    globs = [f"web-{number}*" for number in range(MOST_GLOBS + 1)]
    assert keys(world, globs[:-1])
    with pytest.raises(TooMuch, match="cannot select units: over 16 patterns"):
        keys(world, globs)


def test_what_selects_nothing_is_named(world: World) -> None:
    with pytest.raises(NothingThere) as caught:
        keys(world, ["web-1", "db*"])
    assert caught.value.pattern == "db*"

"""Scenes: descriptors that a view opens are closed before any other program could have them."""
from __future__ import annotations

from typing import Any

import pytest

from supervisor.kernel.calls import Out
from supervisor.kernel.plan import Step
from supervisor.kernel.sandbox.compile import confine
from supervisor.kernel.sandbox.mounts import RDONLY, Scene
from supervisor.model.sandbox import Opened
from tests.unit.kernel.sandbox.given import FACTS, context, policy

_OPENS = ("openat", "openat2", "open_tree", "fsopen", "fsmount")
_THERE = {0, 1, 2, 3}  # the standard ones, and the holder's socket
ROOT = FACTS._replace(capabilities=(1 << 41) - 1, devices_v1="", cgroup_bpf=False)


def left(steps: tuple[Step, ...] | list[Step], there: set[int]) -> set[int]:
    """The descriptors that are open after these steps, as the kernel numbers them."""
    numbers: dict[str, int] = {}
    now = set(there)
    for step in steps:
        if step.name != "CALL":
            continue
        args: Any = step.args
        name, values, result, _, _ = args
        for one in values:
            # umask gives a number too, and no descriptor.
            assert not isinstance(one, Out) or one.label == "umask" or numbers[one.label] in now
        if name in _OPENS:
            number = next(free for free in range(1000) if free not in now)
            numbers[result] = number
            now.add(number)
        elif name == "close":
            now.remove(numbers[values[0].label])
        elif name == "close_range":
            now = {one for one in now if not numbers[values[0].label] <= one <= values[1]}
    return now


@pytest.mark.parametrize("level", ["base", "app"])
def test_of_a_view_nothing_is_open_when_ids_change(level: str) -> None:
    made = confine(policy(level, user="root", tmp="private", write=()), context(ROOT)).confinement
    calls = [step.args[0] for step in made.setup if step.name == "CALL"]
    assert calls.count("open_tree") > 1
    assert "close_range" in calls
    assert left(made.setup, _THERE) == _THERE


def test_a_descriptor_that_the_unit_gets_is_not_swept_away() -> None:
    mine = (Opened("/dev/null", 40, "read"),)
    made = confine(policy("base", tmp="private", write=(), open=mine), context(ROOT)).confinement
    assert "close_range" not in [step.args[0] for step in made.setup]
    assert 40 in left(made.setup, _THERE | {40})


def test_what_is_found_once_is_not_looked_for_again() -> None:
    scene = Scene(sweeps=True)
    trees = {scene.take("/dev/null") for _ in range(3)}
    assert len(trees) == 3
    assert [step.args[0] for step in scene.steps].count("openat2") == 1


@pytest.mark.parametrize("sweeps", [True, False])
def test_of_a_long_list_there_are_never_many_open_at_once(sweeps: bool) -> None:
    scene = Scene(sweeps=sweeps)
    most = 0
    for number in range(500):
        scene.change(scene.take(f"/x{number % 400}"), RDONLY)
        scene.put(f"tree{scene._count}", f"/x{number}")
    scene.sweep()
    for end in range(0, len(scene.steps), 50):
        most = max(most, len(left(scene.steps[:end], _THERE)))
    assert most < 150
    assert left(scene.steps, _THERE) == _THERE


def test_the_mount_that_holds_a_path_is_the_nearest_one() -> None:
    scene = Scene()
    scene.covers = {"/": "root", "/dev": "dev"}
    scene._trees = {"/dev/pts"}
    paths = ("/dev/pts/0", "/dev/pts", "/dev", "/devices/x", "/")
    assert [scene.nearest(path) for path in paths] == ["/dev/pts", "/dev", "/", "/", ""]

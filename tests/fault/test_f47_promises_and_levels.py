"""Fault 47: the probe as a unit, under every level, every promise and key after key, against a
table that was written by hand; and what a kernel cannot enforce is refused by the key's name.

The actions themselves are in tests/native/actions.py, what levels and keys make of them in
tests/native/policies.py. The same on kernels with other ABIs: tests/vm/test_probe.py.
"""
from __future__ import annotations

import os
import platform

import pytest

from supervisor.config.promises import PROMISES
from supervisor.kernel.seccomp.filter import ARCHES
from tests.native import boxes, units
from tests.native.actions import ACTIONS
from tests.native.policies import Host

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a unit of another user"),
    pytest.mark.skipif(platform.machine() not in ARCHES, reason="no system call filters here"),
]
_LEVELS = ("off, root", "base", "app", "strict, files")


@pytest.fixture(scope="module")
def known() -> Host:
    return units.host()


@pytest.fixture(scope="module")
def tried(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, units.Seen]:
    """The boxes whose tests were selected, all in one supervisor."""
    chosen = [getattr(item, "callspec", None) for item in request.session.items]
    names = {*(one.params.get("name") for one in chosen if one is not None), *_LEVELS}
    home = tmp_path_factory.mktemp("probe")
    for path in (home, home.parent):
        path.chmod(0o755)  # the unit's user gets to its log
    return units.try_all(home, {name: one for name, one in boxes.BOXES.items() if name in names})


def test_every_promise_is_tried() -> None:
    assert {"stdio", "app", *boxes.WORDS} == set(PROMISES)


@pytest.mark.parametrize("name", boxes.BOXES)
def test_a_unit_may_do_what_its_file_says(
    name: str, tried: dict[str, units.Seen], known: Host
) -> None:
    box, seen = boxes.BOXES[name], tried[name]
    missing = box.missing(known)
    if missing:
        assert not seen.ends
        assert all(key in seen.refused for key in missing), seen.refused
        assert 'require = "best"' in seen.refused
    else:
        assert not seen.refused
        assert not units.differences(box, seen.ends, known)


def test_what_is_refused_is_much_and_what_is_left_is_of_use(
    tried: dict[str, units.Seen], known: Host
) -> None:
    """The table does not say by chance that all is fine: a level is not the one below it."""

    def allowed(name: str) -> int:
        return sum(end == "ok" for end in tried[name].ends.values())

    levels = [allowed(name) for name in _LEVELS]
    if not boxes.BOXES["strict, files"].missing(known):
        assert levels == sorted(levels, reverse=True)
        assert levels[-1] >= 20
    assert len(ACTIONS) > levels[0] > levels[1] + 20 > levels[2] + 40

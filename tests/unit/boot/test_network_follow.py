"""What the units of the network are asked for when a file is applied on a machine that runs."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.boot.net.follow import follow
from supervisor.control.client import ControlError
from tests.unit.cli.fake import FakeSupervisor, Refusal, instance


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSupervisor]:
    supervisor = FakeSupervisor(tmp_path)
    for method in ("Start", "Restart"):
        supervisor.answers[method] = lambda _: {}
    supervisor.listen()
    yield supervisor
    supervisor.close()


def asked(fake: FakeSupervisor, states: dict[str, str], **facts: bool) -> list[tuple[str, Any]]:
    """What changes it asks for."""
    fake.instances = [instance(key, state) for key, state in states.items()]
    fake.asked.clear()
    facts = {"leases": True, "others": False, "done": True, **facts}
    said = follow(str(fake.runtime), **facts)
    found = [(method, what["units"]) for method, what in fake.asked if method != "Status"]
    assert said is not None
    assert len(said) >= len(found)
    return found


def test_what_a_broken_file_kept_from_starting_is_started(fake: FakeSupervisor) -> None:
    boot = {"network": "failed", "dhcp": "skipped", "online": "failed", "web": "failed"}
    assert asked(fake, boot) == [("Start", ["network", "dhcp", "online"])]
    # By the unit itself; and by hand, where something is still missing.
    assert asked(fake, boot, done=False) == [("Start", ["dhcp", "online"])]
    assert asked(fake, boot, leases=False) == [("Start", ["network", "online"])]


def test_units_that_are_as_they_should_be_are_left_alone(fake: FakeSupervisor) -> None:
    assert asked(fake, {"network": "finished", "dhcp": "running", "online": "finished"}) == []
    assert asked(fake, {"web": "running"}, others=True) == []  # another's units
    assert asked(fake, {"online": "stopped", "dhcp": "waiting"}) == []


def test_a_client_that_asks_for_other_leases_is_started_again(fake: FakeSupervisor) -> None:
    assert asked(fake, {"dhcp": "running"}, others=True) == [("Restart", ["dhcp"])]
    assert asked(fake, {"dhcp": "running"}, others=True, leases=False) == [("Restart", ["dhcp"])]
    assert asked(fake, {"dhcp": "failed"}, others=True) == [("Start", ["dhcp"])]


def test_what_somebody_stopped_stays_so_and_the_next_command_is_said(fake: FakeSupervisor) -> None:
    assert asked(fake, {"dhcp": "stopped"}, others=True) == []
    said = follow(str(fake.runtime), leases=True, others=True, done=True)
    assert said == ["dhcp was stopped, and addresses are to be asked for: unboxed start dhcp"]


def test_without_a_supervisor_nobody_is_asked_and_a_refusal_is_told(
    fake: FakeSupervisor, tmp_path: Path
) -> None:
    assert follow(str(tmp_path / "nothing"), leases=True, others=True, done=True) is None

    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise Refusal("Failed", message="cannot start: the supervisor is stopping")

    fake.answers["Start"] = refuse
    with pytest.raises(ControlError, match="the supervisor is stopping"):
        asked(fake, {"dhcp": "failed"})

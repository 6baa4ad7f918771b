"""`make run` where it cannot have all: what it leaves out, and what it says then."""
from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from units.demo import run


def laid_out(tmp_path: Path, ports: dict[str, int]) -> set[str]:
    place = tmp_path / "place"
    place.mkdir()
    run.lay_out(place, ports, {})
    return {path.name for path in (place / "units").glob("*.toml")}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of an environment that nobody but its owner may look into."""
    closed = tmp_path / "closed"
    (closed / "bin").mkdir(parents=True)
    closed.chmod(0o700)
    made = closed / "bin" / "unboxed"
    made.touch(0o755)
    monkeypatch.setattr(run, "BIN", made.parent)
    monkeypatch.setattr(run, "find_spec", lambda _: object())
    return made


def test_the_dashboard_is_left_out_and_said_without_its_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None if name == "uvicorn" else object())
    lacking = run.no_dashboard()
    assert "libraries" in lacking
    ports = {"web": 1, "exporter": 2}
    assert f"there is none: {lacking}" in run.what_to_try(tmp_path, ports, lacking)
    assert laid_out(tmp_path, ports) >= {"web.toml", "logtail.toml"}
    assert not (tmp_path / "place" / "units" / "dashboard.toml").exists()


def test_root_leaves_the_dashboard_out_whose_user_could_not_start_it(
    command: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert f"may not use {command.parents[1]};" in run.no_dashboard()


def test_an_ordinary_user_has_it_wherever_the_environment_is(
    command: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run.no_dashboard() == ""
    assert "dashboard.toml" in laid_out(tmp_path, {"web": 1, "exporter": 2, "dashboard": 3})


def test_two_units_that_evade_a_port_do_not_meet_on_the_next_one() -> None:
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taker.listen(1)
        taken = taker.getsockname()[1]
        first = run.free_port("web", taken, [])
        assert run.free_port("exporter", taken, [first]) not in {taken, first}

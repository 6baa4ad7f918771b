"""A scrape asks in small calls, and gets over units that go and managers that are replaced."""
from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.agents.metrics import ask as asking
from supervisor.agents.metrics import discovery
from supervisor.agents.metrics.ask import runtime_dir
from supervisor.agents.metrics.discovery import Discovery
from supervisor.agents.metrics.http import Request
from supervisor.agents.metrics.main import answer as respond
from supervisor.agents.metrics.targets import Target
from supervisor.control.client import Client, ControlError, Unreachable
from supervisor.model import report
from supervisor.model.request import Call
from tests.control_kit import ANSWERS, SUPERVISOR, Desk, Loop, instance

KEYS = [f"u{number}" for number in range(2 * asking.CHUNK + 3)]


def figures(keys: list[str]) -> report.FiguresReply:
    known = ANSWERS["Figures"]
    return report.FiguresReply(
        tuple(report.InstanceFigures(key, key) for key in keys), known.supervisor, (1,))


class Supervisor(Desk):
    """Has units KEYS; of `gone` it knows no more when it is asked for their states."""

    def __init__(self) -> None:
        super().__init__()
        self.answers["Figures"] = figures(KEYS)
        self.gone: set[str] = set()
        self.asked: list[tuple[str, ...]] = []
        self.scripts["Status"] = self.answer

    def answer(self, call: Call) -> None:
        _, _, what = self.calls[-1]
        self.asked.append(what.units)
        assert what.usage
        missing = [key for key in what.units if key in self.gone]
        if missing:
            call.fail(report.NoSuchUnit(missing[0], f"cannot show status: no {missing[0]}"))
        else:
            call.reply(report.StatusReply(tuple(map(instance, what.units)), SUPERVISOR))


def ask(runtime: str) -> dict[str, str]:
    """State by key."""

    def once(client: Client) -> dict[str, str]:
        told = asking.figures(client)
        return {
            figures["key"]: status["state"]
            for chunk in asking.statuses(client, told) for figures, status in chunk
        }

    return asking.patiently(runtime, once)


@pytest.fixture
def desk() -> Supervisor:
    return Supervisor()


@pytest.fixture
def runtime(tmp_path: Path, desk: Supervisor) -> Iterator[str]:
    loop = Loop(tmp_path, desk)
    with loop.thread():
        yield str(tmp_path)
    loop.close()


def test_units_are_asked_for_a_few_at_a_time_and_none_is_left_out(
    runtime: str, desk: Supervisor
) -> None:
    assert ask(runtime) == dict.fromkeys(KEYS, "running")
    assert [len(units) for units in desk.asked] == [asking.CHUNK, asking.CHUNK, 3]


def test_a_unit_that_goes_meanwhile_takes_no_other_with_it(
    runtime: str, desk: Supervisor
) -> None:
    desk.gone = {"u1", "u2", KEYS[-1]}
    assert set(ask(runtime)) == set(KEYS) - desk.gone


def test_a_supervisor_without_units_is_an_answer_too(runtime: str, desk: Supervisor) -> None:
    desk.answers["Figures"] = figures([])
    assert ask(runtime) == {}
    assert desk.asked == []


def test_another_refusal_is_none_of_a_unit(runtime: str, desk: Supervisor) -> None:
    desk.scripts["Status"] = lambda call: call.fail(report.Failed("cannot show status: so"))
    with pytest.raises(ControlError, match="cannot show status: so"):
        ask(runtime)


def test_a_manager_that_is_replaced_is_asked_again(tmp_path: Path, desk: Supervisor) -> None:
    first = Loop(tmp_path, desk)
    desk.held.add("Figures")
    first.desk.scripts.clear()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask(str(tmp_path))))
    thread.start()
    while not desk.calls:
        first.step(1)
    first.close()
    for name in ("control", "status"):
        (tmp_path / name).unlink()
    second = Loop(tmp_path, Supervisor())
    with second.thread():
        thread.join(20)
    second.close()
    assert sorted(answers[0]) == sorted(KEYS)


def test_no_supervisor_is_told_soon_and_answered(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable):
        ask(str(tmp_path))
    assert time.monotonic() - began < asking.PATIENCE_S - 1
    told = respond(str(tmp_path), nothing(str(tmp_path)), Request("/metrics", {}))
    assert told.status == 200
    assert b"unboxed_up 0.0\n" in told.body


def test_the_status_socket_is_where_the_environment_says(tmp_path: Path) -> None:
    assert runtime_dir({"UNBOXED_STATUS": "/shared/status"}) == "/shared"
    assert runtime_dir({"UNBOXED_RUNTIME_DIR": str(tmp_path)}) == str(tmp_path)


def nothing(runtime: str) -> Discovery:
    return Discovery(runtime, "", [])


def test_the_list_of_targets_is_told_too(runtime: str, desk: Supervisor) -> None:
    """As http_sd_configs of a Prometheus wants it."""
    db = ANSWERS["Describe"].__class__(
        instance("db"), listeners=(report.ListenerStatus("metrics", "tcp:127.0.0.1:9187"),))
    desk.answers["Figures"] = figures(["db"])
    desk.answers["Describe"] = db
    told = respond(
        runtime, Discovery(runtime, "", [Target("*", "metrics", "")]), Request("/targets", {}))
    assert told.headers == (("Content-Type", "application/json"),)
    assert json.loads(told.body) == [{
        "targets": ["127.0.0.1:9187"],
        "labels": {"unit": "db", "replica": "0", "__metrics_path__": "/metrics"},
    }]


def test_targets_that_cannot_be_known_are_no_empty_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "_FIRST_LIST_S", 0.05)
    told = respond(str(tmp_path), nothing(str(tmp_path)), Request("/targets", {}))
    assert (told.status, told.body) == (503, b"")


def test_only_the_one_page_has_metrics(runtime: str) -> None:
    assert respond(runtime, nothing(runtime), Request("/", {})).body.count(b'href="/metrics"') == 1
    assert respond(runtime, nothing(runtime), Request("/etc/passwd", {})).status == 404


@pytest.mark.parametrize("accepted, packed", [
    ("gzip", True), ("deflate, GZIP;q=0.5", True), ("gzip;q=0", False), ("br", False), ("", False),
])  # fmt: skip
def test_it_is_packed_for_whoever_takes_that(runtime: str, accepted: str, packed: bool) -> None:
    told = respond(runtime, nothing(runtime), Request("/metrics", {"accept-encoding": accepted}))
    assert (("Content-Encoding", "gzip") in told.headers) == packed
    body = gzip.decompress(told.body) if packed else told.body
    assert b"unboxed_up 1.0\n" in body

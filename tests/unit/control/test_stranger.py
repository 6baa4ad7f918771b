"""The PyPI package `varlink` knows nothing of us but the interface description that we send it."""
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import varlink

from supervisor.model import report
from supervisor.model.request import Call
from tests.control_kit import INTERFACE, TRANSITION, Loop


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path)
    with loop.thread():
        yield loop
    loop.close()


@pytest.fixture
def stranger(loop: Loop) -> Iterator[Any]:
    with (
        varlink.Client(address=f"unix:{loop.directory}/control") as made,
        made.open(INTERFACE) as connection,
    ):
        yield connection


def test_it_finds_the_interface_by_itself(loop: Loop) -> None:
    with varlink.Client(address=f"unix:{loop.directory}/status") as made:
        assert set(made.get_interfaces()) == {INTERFACE, "org.varlink.service"}


def test_it_reads_every_answer(stranger: Any) -> None:
    status = stranger.Status(["web"])
    assert status["instances"][0]["state"] == "running"
    assert status["supervisor"]["manager_starts"] == 1
    described = stranger.Describe("web")
    assert described["tree"][0]["command"] == "web --password secret"
    assert described["definition"] == {"env": {"PASSWORD": "secret"}}
    assert described["history"][0]["from"] == "launching"
    assert stranger.Why("web")["chain"][0]["cause_id"] == TRANSITION.cause_id
    assert stranger.Explain("web")["steps"] == [{"step": "exec", "detail": "/bin/web"}]
    assert stranger.ReloadUnits() == {"added": ["a"], "changed": [], "removed": ["b"]}
    assert stranger.Upgrade() == {}


def test_it_changes_units(loop: Loop, stranger: Any) -> None:
    result = {"key": "web", "ok": True, "message": "", "code": 0}
    assert stranger.Start(["web"])["results"] == [result]
    assert stranger.Kill(units=["web"], signal=9)["results"] == [result]
    assert stranger.Stop(units=["web"], wait=False)["results"] == [result]
    assert stranger.Try(["/bin/true", "-x"], {"env": {"A": "1"}}) == {"unit": "try-1"}
    asked = [ask for _, _, ask in loop.desk.calls]
    assert (asked[1].signal, asked[2].wait) == (9, False)
    assert (asked[3].command, asked[3].keys) == (("/bin/true", "-x"), {"env": {"A": "1"}})


def test_it_follows_a_stream(loop: Loop, stranger: Any) -> None:
    def tell(call: Call) -> None:
        call.progress(report.EventReply(ready=True))
        call.progress(report.EventReply(event=TRANSITION))

    loop.desk.scripts["Events"] = tell
    stream = stranger.Events(_more=True)
    assert next(stream) == {"ready": True}
    assert next(stream)["event"]["to"] == "starting"


def test_it_understands_a_refusal(stranger: Any) -> None:
    with pytest.raises(varlink.InvalidParameter):
        stranger.Kill(units=["web"], signal=99)
    with pytest.raises(varlink.VarlinkError, match="ExpectedMore"):
        stranger.Events()

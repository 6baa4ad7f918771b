import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.control import client
from supervisor.control.access import Access
from supervisor.control.client import Client, ControlError, Lost, Silent, Unreachable, connect
from supervisor.model import report
from supervisor.model.request import Call
from tests.control_kit import DESCRIPTION, INTERFACE, TRANSITION, WEB, Loop, as_user, instance

ROOT = Path(__file__).parents[3]


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path)
    with loop.thread():
        yield loop
    loop.close()


@pytest.fixture
def dead(tmp_path: Path) -> Iterator[Callable[[bytes], Client]]:
    """A server that accepts, answers with the given bytes whatever it is asked, and hangs up."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control"))
    listener.listen()
    clients = []

    def answering(data: bytes) -> Client:
        clients.append(connect(str(tmp_path)))
        peer, _ = listener.accept()
        peer.sendall(data)
        peer.close()
        return clients[-1]

    yield answering
    for made in clients:
        made.close()
    listener.close()


def test_a_call_gives_the_answers_parameters(loop: Loop) -> None:
    with connect(loop.directory) as control:
        assert control.kind == "control"
        answer = control.call("Status", {"units": ["web"]})
        assert [row["key"] for row in answer["instances"]] == ["web", "db"]
        assert control.call("org.varlink.service.GetInfo")["version"] == "0.1.0"
        assert control.call("Upgrade") == {}
    assert loop.desk.calls[0][2].units == ("web",)


def test_a_stream_gives_each_answer_to_the_last(loop: Loop) -> None:
    def work(call: Call) -> None:
        for state in ("waiting", "starting"):
            progress = report.Progress("web", state, state)
            call.progress(report.Outcome(progress=(progress,)))
        call.reply(report.Outcome(results=(report.Result("web", ok=True),)))

    loop.desk.scripts["Start"] = work
    with connect(loop.directory) as control:
        got = [next(iter(reply)) for reply in control.stream("Start", {"units": ["web"]})]
    assert got == ["progress", "progress", "results"]


def test_large_answers_arrive_whole(loop: Loop) -> None:
    rows = tuple(instance(f"web/{n}", reason="ü" * 200) for n in range(5_000))
    loop.desk.answers["Status"] = report.StatusReply(rows, loop.desk.answers["Status"].supervisor)
    with connect(loop.directory) as control:
        assert len(control.call("Status")["instances"]) == 5_000


def test_the_status_socket_on_request(loop: Loop) -> None:
    with connect(loop.directory, "status") as public:
        assert public.kind == "status"
        assert public.call("Describe", {"unit": "web"})["definition"] is None
        with pytest.raises(ControlError) as caught:
            public.call("Stop", {"units": ["web"]})
    assert caught.value.code == 4
    assert caught.value.name == f"{INTERFACE}.NotPermitted"


@pytest.mark.parametrize("refusal, code", [
    (report.NoSuchUnit("x", "cannot start x: no such unit"), 3),
    (report.NotPermitted("not yours", "cannot start x: not yours"), 4),
    (report.TimedOut("cannot start x: 60 s have passed"), 5),
    (report.Failed("cannot start x: no such program"), 1),
    (report.InvalidUnits((report.Problem("f", 3, "k", "cannot"),), "cannot load"), 1),
])
def test_a_refusal_is_an_error_with_message_name_and_exit_code(
    loop: Loop, refusal: report.Refusal, code: int
) -> None:
    loop.desk.scripts["Start"] = lambda call: call.fail(refusal)
    with connect(loop.directory) as control:
        answers = control.stream("Start", {"units": ["x"]})
        with pytest.raises(ControlError) as caught:
            next(answers)
    assert (caught.value.code, caught.value.message) == (code, refusal.message)
    assert caught.value.name == f"{INTERFACE}.{type(refusal).__name__}"
    assert caught.value.parameters["message"] == refusal.message


def test_an_error_without_a_message_is_put_in_words(loop: Loop) -> None:
    with connect(loop.directory) as control, pytest.raises(ControlError) as caught:
        control.call("Dance")
    assert str(caught.value) == (
        f"cannot do that: the supervisor answers MethodNotFound (method {INTERFACE}.Dance)")
    with connect(loop.directory) as control, pytest.raises(ControlError) as caught:
        control.call("Start", {"units": ["web"], "x": 1})
    assert caught.value.code == 2
    assert caught.value.message == "Object contains unknown field `x`"


def test_nobody_there_is_said_with_the_path_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unreachable) as caught:
        connect(str(tmp_path))
    assert caught.value.code == 3
    assert caught.value.message == (
        f"cannot reach the supervisor at {tmp_path}/control: no such file; is it running?"
        " start one with `unboxed run`, or pick another with --runtime-dir")


def test_a_socket_that_nobody_serves_is_said_to_be_that(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "control"))
    left.close()
    with pytest.raises(Unreachable, match="nobody listens there any more") as caught:
        connect(str(tmp_path))
    assert caught.value.code == 3


@pytest.fixture
def fallback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The runtime directory of a user without a session: that of a uid which nobody has."""
    uid = 3_000_000_000 + os.getpid()
    path = Path(f"/tmp/unboxed-{uid}")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    yield path
    monkeypatch.undo()
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        path.rmdir()


def test_who_made_the_directory_in_tmp_first_is_not_asked(fallback: Path, loop: Loop) -> None:
    fallback.symlink_to(loop.directory)
    with pytest.raises(Unreachable, match="it is not a directory of your own") as caught:
        connect(str(fallback))
    assert caught.value.code == 4
    fallback.unlink()
    fallback.mkdir()  # by another uid than that
    with pytest.raises(Unreachable, match=f"was made by uid {os.getuid()}; set XDG_RUNTIME_DIR"):
        connect(str(fallback))
    assert loop.desk.calls == []


def test_a_directory_in_tmp_of_ones_own_is_asked(
    fallback: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unreachable, match="no such file"):
        connect(str(fallback))
    fallback.mkdir()
    facts = list(os.lstat(fallback))
    facts[4] = os.geteuid()
    monkeypatch.setattr(os, "lstat", lambda _path: os.stat_result(facts))
    with pytest.raises(Unreachable, match="no such file"):
        connect(str(fallback))


def test_a_path_too_long_for_a_socket_is_said_to_be_that(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="107 bytes") as caught:
        connect(f"{tmp_path}/{'x' * 120}")
    assert caught.value.code == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to be refused as somebody else")
def test_who_may_not_open_control_gets_status_and_is_told_whom_it_is_for(loop: Loop) -> None:
    os.chmod(f"{loop.directory}/control", 0o660)
    told = as_user(1234, [], loop.directory, _meet)
    assert told["kind"] == "status"
    assert told["instances"] == ["web", "db"]
    assert told["code"] == 4
    denied = ("permission denied, only root may; use sudo, or make a group unboxed and restart the"
              " supervisor: its members may then")
    assert told["message"] == f"cannot stop: {denied}"
    assert told["strict"] == 4
    assert told["strictly"] == f"cannot reach the supervisor at ./control: {denied}"


def _meet() -> dict[str, Any]:
    """What a user without any right meets."""
    with connect(".") as some:
        instances = [row["key"] for row in some.call("Status")["instances"]]
        with pytest.raises(ControlError) as refused:
            some.call("Stop", {"units": ["web"]})
    with pytest.raises(Unreachable) as closed:
        Client(".", "control")
    return {
        "kind": some.kind, "instances": instances,
        "code": refused.value.code, "message": refused.value.message,
        "strict": closed.value.code, "strictly": closed.value.message,
    }


def test_a_connection_that_ends_before_the_answer_is_lost(
    dead: Callable[[bytes], Client]
) -> None:
    for data in (b"", b'{"parameters":{}}'):
        with pytest.raises(Lost, match="it may be replacing its manager, ask again") as caught:
            dead(data).call("Status")
        assert caught.value.code == 1


def test_what_was_said_before_the_hang_up_is_still_heard(dead: Callable[[bytes], Client]) -> None:
    data = b'{"error":"%s.TooManyClients","parameters":{"message":"cannot serve you"}}\0'
    made = dead(data % INTERFACE.encode())
    with pytest.raises(ControlError, match="cannot serve you"):
        made.call("Status", {"units": ["x"] * 10_000})  # more than the socket takes: it is broken


@pytest.mark.parametrize("data", [b"HTTP/1.1 400\r\n\r\n\0", b"[]\0", b"\0"])
def test_what_is_no_varlink_is_said_to_be_that(
    dead: Callable[[bytes], Client], data: bytes
) -> None:
    with pytest.raises(Lost, match="no Varlink message"):
        dead(data).call("Status")


def test_a_silent_manager_has_its_keeper_nudged_once_and_is_waited_for(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "NUDGE_S", 0.05)
    keeper = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    keeper.bind(f"{loop.directory}/nudge")

    def answer_late(call: Call) -> None:
        answer = report.Causes((TRANSITION,), WEB)
        threading.Timer(0.3, lambda: loop.post(lambda: call.reply(answer))).start()

    loop.desk.scripts["Why"] = answer_late
    with connect(loop.directory) as control:
        assert control.call("Why", {"unit": "web"})["chain"][0]["from"] == "launching"
    keeper.setblocking(False)
    assert len(keeper.recv(10)) == 1
    with pytest.raises(BlockingIOError):
        keeper.recv(10)
    keeper.close()


def test_patience_ends(loop: Loop) -> None:
    loop.desk.held = {"Why"}
    started = time.monotonic()
    with connect(loop.directory) as control, pytest.raises(Silent) as caught:
        control.call("Why", {"unit": "web"}, timeout_s=0.2)
    assert 0.2 <= time.monotonic() - started < 10
    assert caught.value.code == 5


def test_a_nudge_without_a_keeper_is_no_error(tmp_path: Path) -> None:
    assert client.nudge_keeper(str(tmp_path)) is False


def test_a_full_queue_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control"))
    listener.listen(0)
    filling = socket.socket(socket.AF_UNIX)
    filling.connect(str(tmp_path / "control"))
    monkeypatch.setattr(client, "ANSWER_S", 0.3)
    with pytest.raises(Unreachable, match="taken no connection") as caught:
        connect(str(tmp_path))
    assert caught.value.code == 5
    threading.Timer(0.1, lambda: listener.accept()[0].close()).start()  # noqa: PLW0108 - later
    connect(str(tmp_path)).close()
    filling.close()
    listener.close()


def test_the_client_imports_little_and_json_only_to_speak() -> None:
    code = (
        "import os, sys, __future__; before = set(sys.modules); sys.path.insert(0, sys.argv[1])\n"
        "import supervisor.control.client\n"
        "print(' '.join(set(sys.modules) - before))"
    )
    out = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)], check=True, capture_output=True,
        text=True,
    ).stdout.split()
    assert set(out) - {"errno", "_socket", "time"} == {
        "supervisor", "supervisor.control", "supervisor.control.client"}


def test_the_description_can_be_asked_for_by_anybody(loop: Loop) -> None:
    loop.server.access = Access(4321)
    with connect(loop.directory, "status") as public:
        text = public.call(
            "org.varlink.service.GetInterfaceDescription", {"interface": INTERFACE}
        )["description"]
    assert "method Status" in text
    assert DESCRIPTION.cgroup not in text

import contextlib
import os
import resource
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.control import server as limits
from supervisor.control.access import NONE, OPERATE, Access, Rights, Rule
from supervisor.control.access import Peer as Who
from supervisor.control.wire import write_reply
from supervisor.model import report
from supervisor.model.request import Call
from tests.control_kit import DESCRIPTION, STATUS, Loop, Peer, as_user, instance, message

STREAM = report.EventReply(event=report.Transition(1, "web", 1, "up", "stopping", "x" * 5000))


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path)
    yield loop
    loop.close()


def ask(loop: Loop, peer: Peer, method: str, parameters: Any = None, **flags: Any) -> list[Any]:
    peer.send(method, parameters, **flags)
    loop.settle()
    return peer.replies()


def error(reply: dict[str, Any]) -> str:
    return str(reply.get("error")).rpartition(".")[2]


def test_a_call_is_answered_and_the_connection_stays(loop: Loop) -> None:
    peer = loop.peer()
    for _ in range(3):
        (reply,) = ask(loop, peer, "Status")
        assert [row["key"] for row in reply["parameters"]["instances"]] == ["web", "db"]
    assert not peer.is_closed()


def test_calls_sent_at_once_are_answered_in_order_and_one_a_turn(loop: Loop) -> None:
    peer = loop.peer()
    methods = ["Status", "Why", "Explain", "Describe", "Upgrade"]
    peer.sock.sendall(b"".join(message(m, {"unit": "web"} if m in {"Why", "Explain", "Describe"}
                                       else None) for m in methods))
    for count in range(1, len(methods) + 1):
        loop.step()
        assert [name for name, _, _ in loop.desk.calls] == methods[:count]
    loop.settle()
    keys = [next(iter(reply["parameters"]), "") for reply in peer.replies()]
    assert keys == ["instances", "chain", "steps", "status", ""]


def test_an_answer_may_come_later_and_the_next_call_waits_for_it(loop: Loop) -> None:
    loop.desk.held = {"Start"}
    peer, other = loop.peer(), loop.peer()
    peer.sock.sendall(message("Start", {"units": ["web"]}) + message("Status"))
    loop.settle()
    assert peer.replies() == []
    assert len(ask(loop, other, "Status")) == 1
    loop.desk.calls[0][1].reply(report.Outcome(results=()))
    loop.settle()
    assert [list(reply["parameters"]) for reply in peer.replies()] == [
        ["results"], ["instances", "supervisor"]]


def test_nothing_is_watched_for_without_need(loop: Loop) -> None:
    """No wake-up while a call is open, however much its client sends meanwhile."""
    loop.desk.held = {"Start"}
    peer = loop.peer()
    ask(loop, peer, "Start", {"units": ["web"]})
    peer.sock.sendall(b"more and more")
    assert loop.step() == 0
    assert loop.server.next_deadline_ns() is None


def test_progress_is_sent_as_it_comes(loop: Loop) -> None:
    loop.desk.held = {"Start"}
    peer = loop.peer()
    ask(loop, peer, "Start", {"units": ["web"]}, more=True)
    call = loop.desk.calls[0][1]
    call.progress(report.Outcome(progress=(report.Progress("web", "starting", "starting"),)))
    (reply,) = peer.replies()
    assert reply["continues"]
    assert reply["parameters"]["progress"][0]["key"] == "web"


@pytest.mark.parametrize("hang_up", ["close", "reset"])
def test_who_answers_is_told_when_the_client_leaves(loop: Loop, hang_up: str) -> None:
    loop.desk.held = {"Start"}
    peer = loop.peer()
    ask(loop, peer, "Start", {"units": ["web"]}, more=True)
    call, left = loop.desk.calls[0][1], []
    call.closed = lambda: left.append(True)
    if hang_up == "reset":
        call.progress(report.Outcome(progress=()))  # unread by the peer when it closes
    peer.close()
    loop.settle()
    assert left == [True]
    call.progress(report.Outcome(progress=()))
    call.reply(report.Outcome(results=()))
    assert loop.step() == 0


def test_leaving_is_told_between_events_and_not_inside_of_an_answer(loop: Loop) -> None:
    loop.desk.held = {"Events"}
    peer = loop.peer()
    ask(loop, peer, "Events", more=True)
    call, left = loop.desk.calls[0][1], []
    call.closed = lambda: left.append(True)
    peer.close()
    call.progress(STREAM)  # finds that nobody is there
    assert left == []
    deadline = loop.server.next_deadline_ns()
    assert deadline is not None
    assert deadline <= loop.clock()
    loop.server.expire(loop.clock())
    assert left == [True]


def test_an_answered_call_hears_nothing_of_its_clients_leaving(loop: Loop) -> None:
    loop.desk.held = {"Start"}
    peer = loop.peer()
    ask(loop, peer, "Start", {"units": ["web"]})
    call, left = loop.desk.calls[0][1], []
    call.closed = lambda: left.append(True)
    call.reply(report.Outcome(results=()))
    peer.close()
    loop.settle()
    assert left == []


def test_a_client_that_ends_its_sending_side_still_gets_its_answer(loop: Loop) -> None:
    loop.desk.held = {"Start"}
    peer = loop.peer()
    peer.send("Start", {"units": ["web"]})
    peer.sock.shutdown(socket.SHUT_WR)
    loop.settle()
    assert loop.step() == 0
    loop.desk.calls[0][1].reply(report.Outcome(results=()))
    loop.settle()
    assert peer.replies() == [{"parameters": {"results": []}}]
    assert peer.is_closed()


def test_a_oneway_call_counts_even_if_its_client_is_gone_at_once(loop: Loop) -> None:
    peer = loop.peer()
    peer.send("Stop", {"units": ["web"]}, oneway=True)
    peer.close()
    loop.settle()
    assert [name for name, _, _ in loop.desk.calls] == ["Stop"]
    assert loop.server._clients == {}


@pytest.mark.parametrize("data, words", [
    (b"\0", "cannot read the message"), (b"{]\0", "malformed"), (b"GET / HTTP/1.1\r\n\r\n\0", ""),
    (b'{"parameters":{}}\0', "method"), (b"x" * 65537, "more than 65536 bytes"),
])
def test_what_is_no_call_is_told_and_cut_off(loop: Loop, data: bytes, words: str) -> None:
    peer = loop.peer()
    peer.sock.sendall(data)
    loop.settle()
    (reply,) = peer.replies()
    assert error(reply) == "BadMessage"
    assert words in reply["parameters"]["message"]
    assert peer.is_closed()
    assert loop.server._clients == {}


@pytest.fixture(scope="module")
def sturdy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    loop = Loop(tmp_path_factory.mktemp("sturdy"))
    yield loop
    loop.close()


_WHOLE = st.sampled_from([
    message("Status"), message("Stop", {"units": ["web"]}, oneway=True), message("Nonsense"),
    message("Events", more=True), message("org.varlink.service.GetInfo"), b"{}\0", b"\0",
])
_BYTES = st.binary(max_size=60) | st.builds(
    lambda data, at, byte: data[:at] + byte + data[at + 1 :],
    _WHOLE, st.integers(0, 80), st.binary(max_size=2),
)


@given(st.lists(_WHOLE | _BYTES, max_size=6))
def test_whatever_is_sent_the_server_stands_and_serves_the_next(
    sturdy: Loop, chunks: list[bytes]
) -> None:
    peer = sturdy.peer()
    with contextlib.suppress(BrokenPipeError):
        for chunk in chunks:
            peer.sock.send(chunk)
            sturdy.step()
    sturdy.settle()
    peer.close()
    sturdy.settle()
    assert sturdy.server._clients == {}
    assert (sturdy.server._unread_bytes, sturdy.server._count) == (0, {})
    assert sturdy.server.next_deadline_ns() is None
    last = sturdy.peer()
    assert len(ask(sturdy, last, "Status")) == 1
    last.close()
    sturdy.settle()


def test_an_error_in_a_call_leaves_the_connection_open(loop: Loop) -> None:
    peer = loop.peer()
    assert error(ask(loop, peer, "Nonsense")[0]) == "MethodNotFound"
    assert error(ask(loop, peer, "Start")[0]) == "InvalidParameter"
    assert "parameters" in ask(loop, peer, "Status")[0]


def test_a_handler_that_raises_leaves_the_server_in_order(loop: Loop) -> None:
    loop.desk.answers.pop("Upgrade")
    peer = loop.peer()
    peer.sock.sendall(message("Upgrade") + message("Status"))
    with pytest.raises(KeyError):
        loop.step()
    loop.settle()
    first, second = peer.replies()
    assert error(first) == "Failed"
    assert "instances" in second["parameters"]


def test_five_seconds_for_a_message_from_its_first_byte(loop: Loop) -> None:
    loop.now_ns = 10**15
    slow, idle = loop.peer(), loop.peer()
    assert loop.server.next_deadline_ns() is None
    for byte in message("Status")[:4]:
        slow.sock.send(bytes([byte]))
        loop.settle()
        assert loop.server.next_deadline_ns() == 10**15 + limits.MESSAGE_NS
        loop.now_ns += 1_000_000_000
    loop.now_ns = 10**15 + limits.MESSAGE_NS
    loop.step()
    assert error(slow.replies()[0]) == "TooSlow"
    assert slow.is_closed()
    assert not idle.is_closed()
    assert loop.server.next_deadline_ns() is None


def test_a_message_that_comes_in_time_has_no_deadline_any_more(loop: Loop) -> None:
    loop.now_ns = 10**15
    peer = loop.peer()
    whole = message("Status")
    peer.sock.sendall(whole[:9])
    loop.settle()
    loop.now_ns += limits.MESSAGE_NS - 1
    peer.sock.sendall(whole[9:] + whole[:9])
    loop.settle()
    assert len(peer.replies()) == 1
    assert loop.server.next_deadline_ns() == loop.now_ns + limits.MESSAGE_NS
    peer.sock.sendall(whole[9:])
    loop.settle()
    assert loop.server.next_deadline_ns() is None


def test_a_stream_that_nobody_reads_is_cut_off_and_told_so(loop: Loop) -> None:
    loop.desk.held = {"Events"}
    peer = loop.peer()
    ask(loop, peer, "Events", more=True)
    call, left = loop.desk.calls[0][1], []
    call.closed = lambda: left.append(True)
    sent = 0
    while not left:
        call.progress(STREAM)
        loop.step()
        sent += 1
        assert sent < 1000
    assert loop.server._unread_bytes <= limits.STREAM_BYTES + 1000
    got: list[dict[str, Any]] = []
    while not peer.is_closed():
        got += peer.replies()
        loop.step()
    assert error(got[-1]) == "TooSlow"
    assert len(got) == sent
    assert all(reply["continues"] for reply in got[:-1])
    assert loop.server._unread_bytes == 0


def test_one_answer_may_be_large(loop: Loop) -> None:
    rows = tuple(instance(f"web/{n}", reason="x" * 200) for n in range(10_000))
    loop.desk.answers["Status"] = report.StatusReply(rows, STATUS.supervisor)
    peer = loop.peer()
    peer.send("Status")
    got: list[Any] = []
    while not got:
        loop.step(1)
        got = peer.replies()
    assert len(got[0]["parameters"]["instances"]) == 10_000
    assert loop.server._unread_bytes == 0


def test_no_further_call_is_taken_from_who_does_not_read(loop: Loop) -> None:
    rows = tuple(instance(f"web/{n}", reason="x" * 200) for n in range(2_000))
    loop.desk.answers["Status"] = report.StatusReply(rows, STATUS.supervisor)
    peer = loop.peer()
    peer.sock.sendall(message("Status") * 50)
    loop.settle()
    assert len(loop.desk.calls) == 1


def test_unread_answers_have_a_bound_together_and_the_oldest_pays(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tuple(instance(f"web/{n}", reason="x" * 200) for n in range(5_000))
    loop.desk.answers["Status"] = report.StatusReply(rows, STATUS.supervisor)
    bound = 3 * len(write_reply(loop.desk.answers["Status"]))
    monkeypatch.setattr(limits, "UNREAD_BYTES", bound)
    peers = [loop.peer() for _ in range(6)]
    for peer in peers:
        peer.send("Status")
        loop.settle()
        assert loop.server._unread_bytes <= bound
    assert [client.fd for client in loop.server._unread] == list(loop.server._clients)
    assert 3 <= len(loop.server._clients) < 6
    last: list[Any] = []
    while not last:
        loop.step(1)
        last = peers[-1].replies()
    assert len(last[0]["parameters"]["instances"]) == 5_000


def test_calls_of_one_uid_take_their_share_of_time_and_no_more(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.now_ns = 10**15

    def take_time(call: Call) -> None:
        assert loop.now_ns is not None
        loop.now_ns += limits.SHARE_NS * 3 // 4
        call.reply(loop.desk.answers["Status"])

    loop.desk.scripts["Status"] = take_time
    monkeypatch.setattr(Access, "is_privileged", lambda _self, uid: uid == 0)
    greedy, second, other, root = (loop.peer() for _ in range(4))
    for client, uid in zip(loop.server._clients.values(), (1000, 1000, 1001, 0), strict=True):
        client.peer = Who(uid, frozenset(), "status")
        loop.server._count[uid] = loop.server._count.get(uid, 0) + 1
    greedy.sock.sendall(message("Status") * 3)
    loop.settle()
    assert len(greedy.replies()) == 2
    assert [len(ask(loop, peer, "Status")) for peer in (second, other, root, root, root)] == [
        0, 1, 1, 1, 1]
    window_ends = loop.server.next_deadline_ns()
    assert window_ends == 10**15 + limits.WINDOW_NS
    loop.now_ns = window_ends
    loop.step()
    loop.settle()
    first = (len(greedy.replies()), len(second.replies()))
    assert sum(first) == 1, "half a share was owed"
    loop.now_ns += limits.WINDOW_NS
    loop.step()
    loop.settle()
    assert (len(greedy.replies()), len(second.replies())) == first[::-1]
    assert loop.server.next_deadline_ns() is None
    loop.now_ns += limits.WINDOW_NS
    greedy.sock.sendall(message("Status") * 3)
    loop.settle()
    greedy.close()  # parked as it is
    loop.settle()
    assert loop.server.next_deadline_ns() is None


def test_a_long_call_is_paid_for_with_the_windows_after_it(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.now_ns = 10**15

    def take_time(call: Call) -> None:
        assert loop.now_ns is not None
        loop.now_ns += 10 * limits.SHARE_NS
        call.reply(loop.desk.answers["Status"])

    loop.desk.scripts["Status"] = take_time
    monkeypatch.setattr(Access, "is_privileged", lambda _self, _uid: False)
    peer = loop.peer()
    peer.sock.sendall(message("Status") * 2)
    loop.settle()
    assert len(peer.replies()) == 1
    begin = loop.now_ns
    while not peer.replies():
        due = loop.server.next_deadline_ns()
        assert due is not None
        loop.now_ns = max(loop.now_ns, due)
        loop.step()
        loop.settle()
    took = loop.now_ns - begin - 10 * limits.SHARE_NS
    assert 7 * limits.WINDOW_NS <= took <= 10 * limits.WINDOW_NS


def test_a_collector_of_figures_gets_what_it_asks_for_at_once_and_pays_for_it_after(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.now_ns = 10**15
    each = limits.SHARE_NS

    def take_time(call: Call) -> None:
        assert loop.now_ns is not None
        loop.now_ns += each
        call.reply(loop.desk.answers["Status"])

    loop.desk.scripts["Status"] = take_time
    monkeypatch.setattr(Access, "is_privileged", lambda _self, _uid: False)
    loop.server._collects = lambda uid: uid == 1000
    collector, other = loop.peer(), loop.peer()
    for client, uid in zip(loop.server._clients.values(), (1000, 1001), strict=True):
        client.peer = Who(uid, frozenset(), "status")
        loop.server._count[uid] = 1
    calls = 2 * limits.BURST_NS // each  # some is paid back while they are answered
    begin = loop.now_ns
    collector.sock.sendall(message("Status") * calls)
    other.sock.sendall(message("Status") * 2)
    loop.settle()
    at_once = len(collector.replies())
    assert limits.BURST_NS // each <= at_once < calls
    while at_once < calls:
        due = loop.server.next_deadline_ns()
        assert due is not None
        loop.now_ns = max(loop.now_ns, due)
        loop.step()
        loop.settle()
        at_once += len(collector.replies())
    assert loop.now_ns - begin >= calls * each
    assert len(other.replies()) == 2


def test_idle_clients_of_a_uid_make_room_for_its_next_one(loop: Loop) -> None:
    peers = [loop.peer() for _ in range(limits.PER_UID)]
    assert len(ask(loop, peers[0], "Status")) == 1  # so the second is idle for longest
    newest = loop.peer()
    assert len(loop.server._clients) == limits.PER_UID
    assert [peer.is_closed() for peer in peers[:3]] == [False, True, False]
    assert len(ask(loop, newest, "Status")) == 1


def test_clients_that_are_at_work_are_not_evicted_and_one_too_many_is_told(loop: Loop) -> None:
    loop.desk.held = {"Events"}
    peers = [loop.peer() for _ in range(limits.PER_UID)]
    for peer in peers:
        ask(loop, peer, "Events", more=True)
    newest = loop.peer()
    (reply,) = newest.replies()
    assert error(reply) == "TooManyClients"
    assert newest.is_closed()
    assert not any(peer.is_closed() for peer in peers)
    peers[0].close()
    loop.settle()
    assert len(ask(loop, loop.peer(), "Status")) == 1


def test_the_total_has_a_bound_and_room_for_root(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "IN_ALL", 6)
    monkeypatch.setattr(limits, "RESERVED", 2)
    loop.desk.held = {"Events"}
    monkeypatch.setattr(Access, "is_privileged", lambda _self, _uid: False)
    monkeypatch.setattr(Access, "rights", lambda _self, _peer: Rights(NONE))
    for _ in range(4):
        ask(loop, loop.peer(), "Events", more=True)
    assert error(loop.peer().replies()[0]) == "TooManyClients"
    monkeypatch.setattr(Access, "is_privileged", lambda _self, _uid: True)
    assert len(ask(loop, loop.peer(), "Status")) == 1


def test_a_stale_hang_up_of_a_reused_descriptor_hurts_nobody(loop: Loop) -> None:
    peer = loop.peer()
    (fd,) = loop.server._clients
    loop.server.on_event(fd, select.EPOLLHUP)
    loop.server.on_event(99, select.EPOLLHUP)
    assert len(ask(loop, peer, "Status")) == 1


def test_without_a_descriptor_left_clients_are_still_served_one_by_one(loop: Loop) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    loop.desk.held = {"Events"}
    busy = loop.peer()
    ask(loop, busy, "Events", more=True)
    first, second = Peer(), Peer()
    fill: list[int] = []
    try:
        top = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        fill.append(top)
        resource.setrlimit(resource.RLIMIT_NOFILE, (top + 1, hard))
        with contextlib.suppress(OSError):  # EMFILE, sooner or later
            while True:
                fill.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        for peer in (first, second):
            peer.sock.connect(f"{loop.directory}/control")
        loop.settle()
        assert len(ask(loop, first, "Events", more=True)) == 0
        assert loop.server.next_deadline_ns() is not None  # the second waits ...
        assert loop.step() == 0  # ... and its being there does not spin the loop
        first.close()
        loop.settle()
        assert len(ask(loop, second, "Status")) == 1
        second.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fill:
            os.close(fd)
    assert not busy.is_closed()


def test_without_a_descriptor_idle_clients_make_room_for_one_who_asks(loop: Loop) -> None:
    """Each has a moment to speak, so a queue of them costs no more than that many moments."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    loop.now_ns = began_ns = 10**15
    peers = [Peer() for _ in range(10)]
    fill = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (fill[0] + 1, hard))
        with contextlib.suppress(OSError):  # EMFILE, sooner or later
            while True:
                fill.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        for peer in peers:
            peer.sock.connect(f"{loop.directory}/control")
        peers[-1].send("Status")
        loop.settle()
        while not (replies := peers[-1].replies()):
            loop.now_ns = loop.server.next_deadline_ns()
            assert loop.now_ns is not None
            assert loop.now_ns - began_ns < len(peers) * 50_000_000
            loop.step()
            loop.settle()
        assert len(replies) == 1
        assert peers[0].is_closed()
        assert not peers[-1].is_closed()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fill:
            os.close(fd)
        for peer in peers:
            peer.close()


def test_accepting_is_tried_again_after_a_while(loop: Loop) -> None:
    loop.now_ns = 10**15
    loop.server._spare, spare = -1, loop.server._spare
    os.close(spare)
    assert not loop.server._find_descriptor()
    peer = Peer(f"{loop.directory}/control")
    peer.send("Status")
    loop.settle()
    assert peer.replies() == []
    loop.now_ns = loop.server.next_deadline_ns()
    loop.step()
    loop.settle()
    assert len(peer.replies()) == 1
    peer.close()


def test_closing_ends_all_connections_and_leaves_the_listeners_to_their_owner(loop: Loop) -> None:
    loop.desk.held = {"Events"}
    peer, left = loop.peer(), []
    ask(loop, peer, "Events", more=True)
    loop.desk.calls[0][1].closed = lambda: left.append(True)
    loop.server.close()
    assert peer.is_closed()
    assert left == [True]
    assert loop.watched == {}
    assert all(sock.getsockname() for sock in loop.listeners)


def test_no_descriptor_is_left_behind(loop: Loop) -> None:
    ask(loop, loop.peer(), "Status")
    loop.settle()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        peer = loop.peer()
        ask(loop, peer, "Status")
        peer.close()
    bad = loop.peer()
    bad.sock.sendall(b"\0")
    loop.settle()
    bad.close()
    loop.settle()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_sockets_tell_status_from_control(loop: Loop) -> None:
    public = loop.peer("status")
    described = ask(loop, public, "Describe", {"unit": "web"})[0]["parameters"]
    assert described["definition"] is None
    assert error(ask(loop, public, "Stop", {"units": ["web"]})[0]) == "NotPermitted"
    private = ask(loop, loop.peer(), "Describe", {"unit": "web"})[0]["parameters"]
    assert private["definition"] == DESCRIPTION.definition


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to be somebody else")
def test_a_peer_is_who_it_was_when_it_connected(loop: Loop) -> None:
    loop.server.access = Access(0, None, (Rule(None, 4321, OPERATE, ("web",)),))
    peer = Peer()
    as_user(1234, [4321, 77], loop.directory, lambda: peer.sock.connect("control"))
    loop.settle()
    (client,) = loop.server._clients.values()
    assert client.peer.uid == 1234
    assert client.peer.groups == {1234, 4321, 77}
    peer.send("Stop", {"units": ["web"]})  # by root now, but what counts is who connected
    loop.settle()
    call = loop.desk.calls[0][1]
    assert call.who == "uid 1234"
    assert [call.permits(unit) for unit in ("web", "db")] == [True, False]
    peer.close()

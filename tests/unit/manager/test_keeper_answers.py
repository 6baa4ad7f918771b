"""What the keeper answers is believed, and nothing before: refusals, adoptions, tags."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from supervisor.kernel.keeper import LAUNCHES
from supervisor.kernel.plan import CODES, NAMES
from supervisor.manager.journal import Journal, load
from supervisor.manager.observer import failure_words
from supervisor.model.unit import Limits, Listen, Ready, Restart, Start, Unit
from tests.unit.manager.kit import Bench, Sent, speaker

CHILD = 4242
EAGER = Unit("web", command=("/bin/true",), restart=Restart(when="always", delay_ns=0))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    never = Restart(when="never")
    bench = Bench(
        tmp_path, speaker(),
        Unit("fd", command=("/bin/true",), start=Start(ready=Ready("fd", 5)), restart=never),
        Unit("port", command=("/bin/true",), restart=never,
             listen=(Listen("http", family="tcp", host="127.0.0.1"),)),
    )  # fmt: skip
    bench.tracker.owners[os.getpid()] = "web"
    yield bench
    bench.close()


def only(frames: list[Sent], op: str) -> Sent:
    (found,) = [frame for frame in frames if frame[0] == op]
    return found


def say(bench: Bench, text: str, key: str = "web") -> None:
    path = f"{bench.sup.paths.runtime}/notify/{key}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(text.encode(), path)
    bench.sup.hear(key)
    bench.sup.turn()


def started(bench: Bench, key: str = "web", pid: int = 1000) -> list[Sent]:
    bench.start(key)
    frames = bench.sent()
    for tag in list(bench.sup.keeper.puts):
        bench.result(tag, 0)
    bench.execed(key, pid)
    return frames


# --- what is not stored -------------------------------------------------------------------------


def test_what_the_keeper_stored_counts_as_stored(bench: Bench) -> None:
    started(bench)
    assert "notify:web" in bench.sup.stored
    assert not bench.sup.keeper.puts
    assert bench.reports == []


def test_a_refused_notify_socket_fails_the_start_and_is_forgotten(bench: Bench) -> None:
    bench.start("web")
    tag = only(bench.sent(), "PUT")[1]
    bench.execed("web", 1000)
    launch = bench["web"].launch
    bench.result(tag, errno.ENOSPC)
    assert "notify:web" not in bench.sup.stored
    assert "notify:web: No space left on device" in bench.reports[0]
    assert only(bench.sent(), "SIGNAL")[1:] == (launch, bytes((9, 0, 0, 0, 0, 0, 0, 0)))
    bench.exited("web", launch, 1000, 9, 2)
    assert bench["web"].phase == "backoff"
    assert "cannot have the keeper store notify:web" in bench["web"].cause
    bench.sup.world.start_key("web", "again", bench.sup.now())
    bench.sup.turn()
    assert only(bench.sent(), "PUT")[2] == b"notify:web\0", "a new socket is made and stored"


def test_a_refused_readiness_pipe_fails_the_start(bench: Bench) -> None:
    bench.start("fd")
    frames = bench.sent()
    launch = bench["fd"].launch
    bench.result(only(frames, "PUT")[1], errno.EMFILE)
    bench.exited("fd", launch, 1000, 9, 2)
    assert bench["fd"].phase == "failed"
    assert "store ready:fd: Too many open files" in bench["fd"].cause


def test_a_refused_listener_is_why_its_launch_was_refused(bench: Bench) -> None:
    bench.start("port")
    frames = bench.sent()
    stored = only(frames, "PUT")
    launch = bench["port"].launch
    bench.result(stored[1], errno.ENOSPC)
    bench.tell("REFUSED", launch, errno.ENOENT.to_bytes(4, "little"))
    assert bench["port"].phase == "failed"
    assert "store listen:port:http" in bench["port"].cause
    assert not [name for name in bench.sup.stored if name.startswith("listen:")]


def test_a_parked_descriptor_that_is_refused_costs_the_service_nothing_else(bench: Bench) -> None:
    started(bench)
    reader, writer = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(f"{bench.sup.paths.runtime}/notify/web")
        socket.send_fds(sock, [b"FDSTORE=1\nREADY=1"], [reader])
    os.close(reader)
    bench.sup.hear("web")
    bench.sup.turn()
    tag = only(bench.sent(), "PUT")[1]
    assert len(bench.notices._polled) == 1
    bench.result(tag, errno.ENOSPC)
    assert bench.notices._polled == {}
    assert not [name for name in bench.sup.stored if name.startswith("fdstore:")]
    assert "the service's descriptor is closed" in bench.reports[0]
    assert bench["web"].phase == "up"
    os.close(writer)


def test_a_datagram_whose_descriptor_the_keeper_could_not_take_is_a_refusal(bench: Bench) -> None:
    bench.start("web")
    bench.sent()
    bench.result(0, errno.EMFILE)  # of the datagram as a whole: no tag tells what it held
    assert "notify:web" in bench.sup.stored, "that is not known yet"
    bench.result(only(bench.sent(), "DROP")[1], errno.ENOENT)
    assert "notify:web" not in bench.sup.stored
    assert "store notify:web: Too many open files" in bench.reports[-1]


def test_the_journal_is_stored_again_until_that_works(bench: Bench) -> None:
    bench.sup.rewrite()
    bench.result(only(bench.sent(), "PUT")[1], errno.EMFILE)
    assert "state: Too many open files" in bench.reports[0]
    assert 0 < bench.sup.deadline() <= bench.sup.put_state_ns
    bench.sup.put_state_ns = 1
    bench.sup.turn()
    name = only(bench.sent(), "PUT")
    assert name[2] == b"state\0"
    bench.result(name[1], 0)
    assert bench.sup.put_state_ns == 0
    assert "state" in bench.sup.stored


def test_a_refused_stream_is_told_to_who_asked(bench: Bench) -> None:
    got: list[int] = []
    bench.sup.ask_descriptor("STREAM", "unboxed\0", got.append)
    bench.result(only(bench.sent(), "STREAM")[1], errno.ENOSPC)
    assert got == [-errno.ENOSPC]


# --- MAINPID ------------------------------------------------------------------------------------


def adopting(bench: Bench, text: str = "READY=1") -> tuple[int, int]:
    """The launch, and the tag of what is asked behind the ADOPT."""
    started(bench)
    bench.tracker.owners[CHILD] = "web"
    say(bench, f"MAINPID={CHILD}\n{text}")
    frames = bench.sent()
    adopt = only(frames, "ADOPT")
    assert adopt[1:] == (bench["web"].launch, CHILD.to_bytes(4, "little"))
    return adopt[1], frames[frames.index(adopt) + 1][1]


def test_a_main_process_counts_once_the_keeper_has_taken_it(bench: Bench) -> None:
    launch, tag = adopting(bench)
    assert (bench["web"].pid, bench["web"].phase) == (1000, "starting")
    bench.result(launch, 0)
    assert (bench["web"].pid, bench["web"].phase) == (CHILD, "up")
    assert bench.sup.pids == {CHILD: "web"}
    bench.result(tag, errno.ENOENT)
    assert bench.reports == []
    say(bench, "STATUS=later words")
    assert bench["web"].status_text == "later words"


def test_a_main_process_that_the_keeper_does_not_take_changes_nothing(bench: Bench) -> None:
    launch, tag = adopting(bench)
    bench.result(launch, errno.ESRCH)
    assert bench["web"].phase == "starting", "a signal's failure has the same number"
    bench.result(tag, errno.ENOENT)
    assert (bench["web"].pid, bench["web"].phase) == (1000, "up")
    assert bench.reports == [
        f"cannot make pid {CHILD} the main process of web: No such process; it stays 1000"
    ]


def test_a_signal_that_failed_is_not_taken_for_the_answer(bench: Bench) -> None:
    launch, tag = adopting(bench)
    bench.result(launch, errno.ESRCH)
    bench.result(launch, 0)
    assert bench["web"].pid == CHILD
    bench.result(tag, errno.ENOENT)
    assert bench.reports == []


def test_an_exit_before_the_answer_is_the_old_main_process(bench: Bench) -> None:
    """A daemon says who its main process is and ends at once: told in whatever order."""
    launch, tag = adopting(bench)
    bench.exited("web", launch, 1000)
    assert bench["web"].phase == "starting"
    bench.result(launch, 0)
    bench.result(tag, errno.ENOENT)
    assert (bench["web"].pid, bench["web"].phase) == (CHILD, "up")
    assert "ACK" not in [op for op, _, _ in bench.sent()], "the keeper has forgotten that exit"
    bench.exited("web", launch, CHILD, 3)
    assert bench["web"].last_exit == "exit 3"


def test_an_exit_that_was_held_is_told_if_nobody_takes_over(bench: Bench) -> None:
    launch, tag = adopting(bench, "STATUS=bye")
    bench.exited("web", launch, 1000, 7)
    bench.result(launch, errno.ECHILD)
    bench.result(tag, errno.ENOENT)
    assert "exit 7" in bench["web"].last_exit
    assert ("ACK", launch, b"") in bench.sent()


def test_the_message_stays_for_the_next_manager_until_it_is_answered(bench: Bench) -> None:
    launch, _ = adopting(bench)
    with socket.socket(fileno=os.dup(bench.notices._sockets["web"])) as sock:
        assert b"MAINPID" in sock.recv(4096, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        bench.result(launch, 0)
        with pytest.raises(BlockingIOError):
            sock.recv(4096, socket.MSG_PEEK | socket.MSG_DONTWAIT)


def test_what_the_last_manager_had_adopted_is_believed(bench: Bench) -> None:
    """It died between the keeper's yes and its journal; the keeper's facts have the new pid."""
    started(bench)
    bench.sup.pids[CHILD] = "web"
    say(bench, f"MAINPID={CHILD}\nREADY=1")
    assert (bench["web"].pid, bench["web"].phase) == (CHILD, "up")
    assert "ADOPT" not in [op for op, _, _ in bench.sent()]


def test_a_service_may_name_itself_before_we_know_its_number(bench: Bench) -> None:
    bench.start("web")
    bench.sent()
    for tag in list(bench.sup.keeper.puts):
        bench.result(tag, 0)
    bench.tracker.owners[1000] = "web"
    say(bench, "MAINPID=1000\nREADY=1")
    frames = bench.sent()
    launch = only(frames, "ADOPT")[1]
    bench.execed("web", 1000)
    bench.result(launch, errno.EBUSY)
    bench.result(frames[-1][1], errno.ENOENT)
    assert (bench["web"].pid, bench["web"].phase) == (1000, "up")
    assert bench.reports == []


# --- readiness by descriptor --------------------------------------------------------------------


def ready_byte(bench: Bench) -> int:
    """A copy of the read end, with a byte in it; the manager has noticed."""
    started(bench, "fd")
    reader = os.dup(bench.performer.ready_pipes["fd"])
    with open(f"/proc/self/fd/{reader}", "wb", buffering=0) as pipe:
        pipe.write(b"\n")
    bench.performer._on_ready("fd", 1)
    return reader


def test_readiness_by_descriptor_is_not_read_but_dropped_when_written_down(bench: Bench) -> None:
    reader = ready_byte(bench)
    assert bench["fd"].phase == "up"
    assert os.read(reader, 8) == b"\n", "it was for a manager that might have come next"
    os.close(reader)
    bench.sup.flush()
    assert ("DROP", 0, b"ready:fd\0") in bench.sent()


def test_readiness_that_cannot_be_written_down_stays_with_the_keeper(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    started(bench, "fd")
    monkeypatch.setattr(bench.sup, "_write", full)
    bench.performer._on_ready("fd", 1)
    assert "DROP" not in [op for op, _, _ in bench.sent()]
    assert "ready:fd" in bench.sup.stored
    monkeypatch.undo()
    bench.sup.turn()
    assert bench["fd"].phase == "up"


# --- tags ---------------------------------------------------------------------------------------


def test_no_two_requests_share_a_tag_and_none_has_a_launch_number(bench: Bench) -> None:
    def ignore(_answer: int) -> None:
        """Whatever it is."""

    tags: list[int] = []
    for number in range(50):
        bench.sup.ask_keeper("DROP", "x", ignore)
        bench.sup.ask_descriptor("GET", "y", ignore)
        bench.sup.keeper.put("z", 0)
        frames = bench.sent()
        tags += [tag for _, tag, _ in frames]
        for tag in [tag for _, tag, _ in frames][number % 3 :]:
            bench.result(tag, 0)
    assert len(set(tags)) == len(tags) == 150
    assert min(tags) > LAUNCHES


# --- what never came to be ------------------------------------------------------------------------


def failed(bench: Bench, launch: int, err: int) -> None:
    (code,) = [code for code, name in NAMES.items() if name == "EXEC"]
    bench.tell("LAUNCH_FAILED", launch, struct.pack("<iIIi", 1000, 3, code, err))


def test_what_was_killed_before_it_was_executed_has_ended_like_what_is_killed_after(
    bench: Bench,
) -> None:
    """Its unit is none that cannot begin, for which a restart would have to wait."""
    bench.sup.world.define({"web": EAGER})
    bench.start("web")
    launch = bench["web"].launch
    failed(bench, launch, errno.EINTR)
    assert bench["web"].phase == "launching", "its exit record says by what"
    bench.exited("web", launch, 1000, 9, 2)
    assert (bench["web"].phase, bench["web"].last_exit) == ("launching", "killed by SIGKILL")
    assert bench["web"].restarts == 1


def test_what_could_not_be_executed_says_why_and_is_not_tried_again_at_once(bench: Bench) -> None:
    bench.sup.world.define({"web": EAGER})
    bench.start("web")
    launch = bench["web"].launch
    failed(bench, launch, errno.ENOENT)
    bench.exited("web", launch, 1000, 127)
    assert bench["web"].phase == "backoff"
    assert bench["web"].cause.startswith("cannot execute it: No such file or directory")


@pytest.mark.parametrize(
    "name, words", [("RLIMIT", "set a limit"), ("NICE", "set its priority")]
)
def test_a_step_made_of_a_call_is_told_by_its_name(bench: Bench, name: str, words: str) -> None:
    """The keeper says only which step it was, and that it was a system call."""
    bench.sup.world.define({"web": replace(EAGER, limits=Limits(nice=-5, files=(10, 20)))})
    bench.start("web")
    launch, number = bench["web"].launch, 0
    while bench.sup.launcher.step_name(launch, number) != name:
        number += 1
    payload = struct.pack("<iIIi", 1000, number, CODES["CALL"], errno.EPERM)
    bench.tell("LAUNCH_FAILED", launch, payload)
    bench.exited("web", launch, 1000, 127)
    expected = f"cannot {words}: Operation not permitted (step {name}, errno 1)"
    assert bench["web"].cause.startswith(expected)
    assert bench.sup.launcher.step_name(launch, number) == ""  # nobody will ask again


def test_a_call_is_told_by_its_words_while_they_are_known() -> None:
    expected = "cannot make / read-only: Operation not permitted (step CALL, errno 1)"
    assert failure_words(CODES["CALL"], errno.EPERM, "make / read-only") == expected
    assert failure_words(CODES["CALL"], errno.EPERM).startswith("cannot make a system call: ")


def test_a_manager_killed_amid_a_reload_leaves_what_the_run_began_with(bench: Bench) -> None:
    """The whole journal is written anew after a reload, but by then the new file is in the old."""
    started(bench)
    began = bench.sup.launched["web"]
    changed = replace(began, description="new")
    bench.sup.world.define({**bench.sup.world.graph.units, "web": changed})
    bench.sup.defined = [changed]
    bench.sup.commit()
    snapshot, _ = load(bench.sup.journal.fd)
    assert snapshot is not None
    assert snapshot.units["web"] == changed
    assert snapshot.launched == {"web": began}


def test_a_journal_that_cannot_be_written_anew_is_not_kept_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again with each change, while the memory lasts."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(Journal, "append", full)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="Cannot allocate"):
        bench.sup.rewrite()
    assert os.listdir("/proc/self/fd") == before

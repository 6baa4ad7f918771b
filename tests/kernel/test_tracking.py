"""Tracking without cgroups: below a subreaper, by ancestry, mark and session, on real processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from pathlib import Path

import pytest

from supervisor.kernel.tracking import (
    MARK,
    Figures,
    SessionTracker,
    group_of,
    send,
    statm_bytes,
)
from tests.kernel.kit import PATIENCE_S, Reaper, until
from tests.stack import alive, children

SLEEP = "exec sleep 1000"
# It ends, and leaves a process that is the subreaper's child and in a session of its own.
DAEMON = "setsid sh -c 'echo $$ > {pid}; exec sleep 1000' & until [ -s {pid} ]; do :; done"


@pytest.fixture
def tracker(reaper: Reaper) -> SessionTracker:
    return SessionTracker(reaper.pid, lambda: reaper.live)


def start(
    tracker: SessionTracker, reaper: Reaper, key: str, script: str = SLEEP, *, mark: bool = True
) -> int:
    """As the manager does it: the keeper starts it, then the tracker is told."""
    pid = reaper.start(key, script, {MARK: key} if mark else {})
    tracker.started(key, pid)
    return pid


def daemon(
    tracker: SessionTracker, reaper: Reaper, path: Path, key: str, script: str = DAEMON,
    *, mark: bool = True,
) -> int:  # fmt: skip
    """The pid of what a double fork left behind, its parent dead and reaped."""
    pid = start(tracker, reaper, key, script.format(pid=path), mark=mark)
    reaper.ended(pid)
    left = int(path.read_text())
    until(lambda: left in children(reaper.pid), "the reaper to inherit it")
    return left


# --- whose a process is ---


def test_a_service_and_all_below_it_belong_together(
    tracker: SessionTracker, reaper: Reaper
) -> None:
    one = start(tracker, reaper, "web", "sleep 1000 & setsid sleep 1000 & wait")
    other = start(tracker, reaper, "db", "sleep 1000 & wait")
    until(lambda: len(children(one)) == 2, "both children")
    until(lambda: len(children(other)) == 1, "its child")
    assert set(tracker.pids("web")) == {one, *children(one)}
    assert set(tracker.pids("db")) == {other, *children(other)}
    assert {tracker.owner(pid) for pid in tracker.pids("web")} == {"web"}
    assert not tracker.empty("web")
    assert tracker.empty("cache")
    assert tracker.pids("cache") == []


def test_a_double_fork_does_not_escape(
    tracker: SessionTracker, reaper: Reaper, tmp_path: Path
) -> None:
    left = daemon(tracker, reaper, tmp_path / "pid", "web")
    assert tracker.pids("web") == [left]
    assert tracker.owner(left) == "web"
    assert not tracker.empty("web")
    assert not tracker.remove("web")
    tracker.kill("web")
    reaper.ended(left)
    assert tracker.empty("web")
    assert tracker.remove("web")


def test_one_that_lost_its_mark_is_known_by_its_session(
    tracker: SessionTracker, reaper: Reaper, tmp_path: Path
) -> None:
    script = "env -i sh -c 'echo $$ > {pid}; exec /bin/sleep 1000' & until [ -s {pid} ]; do :; done"
    left = daemon(tracker, reaper, tmp_path / "pid", "web", script)
    assert tracker.owner(left) == "web"
    assert tracker.pids("web") == [left]


def test_one_that_changed_both_is_nobodys_and_nobody_waits_for_it(
    tracker: SessionTracker, reaper: Reaper, tmp_path: Path
) -> None:
    left = daemon(tracker, reaper, tmp_path / "pid", "web", mark=False)
    assert tracker.owner(left) is None
    assert tracker.empty("web")
    tracker.kill("web")
    assert alive(left)


def test_the_mark_of_an_instance_is_not_that_of_its_neighbour(
    tracker: SessionTracker, reaper: Reaper, tmp_path: Path
) -> None:
    left = daemon(tracker, reaper, tmp_path / "pid", "web/1")
    start(tracker, reaper, "web/11")
    assert tracker.owner(left) == "web/1"
    assert tracker.pids("web/1") == [left]
    assert left not in tracker.pids("web/11")


def test_strangers_and_the_dead_belong_to_nobody(tracker: SessionTracker, reaper: Reaper) -> None:
    assert tracker.owner(os.getpid()) is None
    assert tracker.owner(reaper.pid) is None
    assert tracker.owner(1) is None
    ended = start(tracker, reaper, "web", ":")
    reaper.ended(ended)
    assert tracker.owner(ended) is None
    assert tracker.empty("web")


def test_a_stray_is_found_behind_more_children_than_one_read_tells(
    tracker: SessionTracker, reaper: Reaper, tmp_path: Path
) -> None:
    reaper.start_many("db", 1000)
    left = daemon(tracker, reaper, tmp_path / "pid", "web")
    assert not tracker.empty("web")
    assert tracker.pids("web") == [left]


# --- what is done to them ---


def test_a_signal_reaches_all_but_one(tracker: SessionTracker, reaper: Reaper) -> None:
    script = f"sleep 1000 & setsid sleep 1000 & wait; {SLEEP}"
    main = start(tracker, reaper, "web", script)
    other = start(tracker, reaper, "db")
    until(lambda: len(children(main)) == 2, "its children")
    below = children(main)
    tracker.signal("web", signal.SIGTERM, main)
    for pid in below:
        until(lambda pid=pid: not alive(pid), "it to end")  # type: ignore[misc]
    assert alive(main)
    assert alive(other)


def test_a_signal_may_spare_a_whole_process_group(
    tracker: SessionTracker, reaper: Reaper
) -> None:
    main = start(tracker, reaper, "web", "sleep 1000 & setsid sleep 1000 & wait")
    until(lambda: len({group_of(p) for p in children(main)}) == 2, "two groups")
    far = next(p for p in children(main) if group_of(p) != main)
    near = next(p for p in children(main) if group_of(p) == main)
    tracker.signal("web", signal.SIGTERM, main, group=True)
    until(lambda: not alive(far), "the one that left to end")
    assert alive(near)
    assert alive(main)


def test_kill_ends_what_forks_meanwhile(tracker: SessionTracker, reaper: Reaper) -> None:
    main = start(tracker, reaper, "web", "trap '' TERM; while :; do sleep 0.01 & done")
    other = start(tracker, reaper, "db")
    until(lambda: len(children(main)) > 3, "it to fork")

    def killed() -> bool:  # as the manager does: again, until nobody is left
        tracker.kill("web")
        reaper.live.pop(main, None)
        return tracker.empty("web")

    until(killed, "all to be dead")
    assert not alive(main)
    assert alive(other)


def test_a_watch_tells_of_each_end(tracker: SessionTracker, reaper: Reaper) -> None:
    main = start(tracker, reaper, "web", "sleep 1000 & wait")
    until(lambda: len(children(main)) == 1, "its child")
    fds = tracker.watch("web")
    try:
        assert len(fds) == 2
        assert not select.select(fds, [], [], 0)[0]
        tracker.kill("web")
        for fd in fds:
            assert select.select([fd], [], [], PATIENCE_S)[0]
    finally:
        for fd in fds:
            os.close(fd)


def test_freeze_stops_and_thaw_continues(tracker: SessionTracker, reaper: Reaper) -> None:
    main = start(tracker, reaper, "web", "sleep 1000 & wait")
    until(lambda: len(children(main)) == 1, "its child")
    every = tracker.pids("web")

    def states() -> set[str]:
        stats = [Path(f"/proc/{pid}/stat").read_text() for pid in every]
        return {text.rpartition(")")[2].split()[0] for text in stats}

    tracker.freeze("web", frozen=True)
    until(lambda: states() == {"T"}, "both to stand still")
    tracker.freeze("web", frozen=False)
    until(lambda: "T" not in states(), "both to go on")


# --- the rest ---


def test_figures_are_those_of_the_main_process(tracker: SessionTracker, reaper: Reaper) -> None:
    main = start(tracker, reaper, "web", "while :; do :; done")
    until(lambda: (tracker.figures("web", main).cpu_ns or 0) > 0, "it to use some time")
    assert (tracker.figures("web", main).memory_bytes or 0) > 0
    assert tracker.figures("web", 0) == Figures(None, None, None)


def test_it_says_that_it_is_no_cgroup(tracker: SessionTracker) -> None:
    assert tracker.name == "session"
    assert tracker.group("web/1") == ""
    assert tracker.leftovers() == []


def test_a_pid_is_looked_at_again_before_it_is_signalled(reaper: Reaper) -> None:
    pid = reaper.start("web", SLEEP)
    assert not send(pid, signal.SIGKILL, lambda: False)
    assert alive(pid)
    assert send(pid, signal.SIGKILL, lambda: True)
    reaper.ended(pid)
    assert send(pid, signal.SIGKILL, lambda: False), "there is nobody to be wrong about"


def test_the_dead_have_no_group_and_no_memory() -> None:
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    assert group_of(ended.pid) == 0
    assert statm_bytes(ended.pid) == 0
    assert group_of(os.getpid()) == os.getpgid(0)
    assert statm_bytes(os.getpid()) > 1 << 20

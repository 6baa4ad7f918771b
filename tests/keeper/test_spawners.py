"""What brings services into the world hangs, dies or is replaced: nobody else's launch is lost."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from supervisor.kernel.wire import CHILD_STATES
from tests.keeper.keeperclient import (
    SOURCES,
    Child,
    Keeper,
    Peer,
    build,
    execute,
    frame,
    log_step,
    plan,
    step,
    text,
    wait_until,
)

EAGAIN, EBUSY, EINTR, ENOENT, ENOSYS, EPERM = 11, 16, 4, 2, 38, 1
LOW, SPAWNERS, ORDERS = 256, 32, 64  # at most, in keeper.h


def spawners(keeper: Keeper) -> list[int]:
    """Their pids, and those of children that have not executed yet."""
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and is_spawner(entry, keeper.pid)
    ]


def is_spawner(entry: Path, parent: int) -> bool:
    try:
        name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return False
    return name == "unboxed-spawner" and int(rest.split()[1]) == parent and rest.split()[0] != "Z"


def hang(manager: Peer, fifo: str, first: int, count: int) -> None:
    """Launches that wait in a step: for a FIFO that nobody writes."""
    steps = step("OPEN", "iI", 3, os.O_RDONLY, texts=[fifo])
    for launch in range(first, first + count):
        manager.spawn(launch, f"hung{launch}", plan("/bin/true", steps=steps))


def test_launches_that_hang_hold_up_nobody() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo, hung = keeper.manager(), f"{directory}/fifo", 20
        os.mkfifo(fifo)
        hang(manager, fifo, 1, hung)
        begun = time.monotonic()
        manager.run(100, "other", plan("/bin/true"))
        assert time.monotonic() - begun < 5  # a spawner more every 20 ms, on a slow machine too
        manager.exited(100)
        assert {child.state for child in manager.hello()[0]} == {CHILD_STATES["LAUNCHING"]}
        for launch in range(1, hung + 1):
            manager.signal(launch, signal.SIGKILL)
            failure = manager.expect("LAUNCH_FAILED", tag=launch)
            assert failure.ints("iIIi")[3] == EINTR
            assert Child.of(manager.expect("EXITED", tag=launch)).status == signal.SIGKILL
        wait_until(lambda: len(spawners(keeper)) <= (os.cpu_count() or 1) + 1)


def test_more_hanging_launches_than_there_is_room_for_are_refused() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        hang(manager, fifo, 1, ORDERS)
        manager.spawn(100, "other", plan("/bin/true"))
        assert manager.expect("REFUSED", tag=100).ints("i") == (EAGAIN,)
        assert len(spawners(keeper)) <= 2 * SPAWNERS
        for launch in range(1, ORDERS + 1):
            manager.signal(launch, signal.SIGKILL)
        for launch in range(1, ORDERS + 1):
            manager.expect("EXITED", tag=launch)
        manager.run(101, "other", plan("/bin/true"))
        manager.exited(101)


def test_a_stop_reaches_what_is_not_born_yet() -> None:
    """All spawners hang, so the order waits; its signal is for the process that is to come."""
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        hang(manager, fifo, 1, SPAWNERS)
        wait_until(lambda: len(spawners(keeper)) == 2 * SPAWNERS)
        manager.spawn(100, "late", plan("/bin/sleep", "1000"))
        manager.signal(100, signal.SIGKILL)
        for launch in range(1, SPAWNERS + 1):
            manager.signal(launch, signal.SIGKILL)
        assert Child.of(manager.expect("EXITED", tag=100)).status == signal.SIGKILL


def test_a_killed_spawner_costs_the_launch_that_it_was_at_only() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        manager.run(1, "first", plan("/bin/true"))
        manager.exited(1)
        hang(manager, fifo, 2, 1)
        wait_until(lambda: any(child.pid for child in manager.hello()[0] if child.launch == 2))
        for pid in spawners(keeper):
            with contextlib.suppress(ProcessLookupError):  # the child, which the keeper kills too
                os.kill(pid, signal.SIGKILL)
        for launch in range(10, 20):
            manager.run(launch, f"unit{launch}", plan("/bin/true"))
            manager.exited(launch)
        assert manager.expect("LAUNCH_FAILED", tag=2).ints("iIIi")[3] == EINTR
        assert Child.of(manager.expect("EXITED", tag=2)).status == signal.SIGKILL


def test_a_launch_under_way_survives_the_next_keeper() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        hang(manager, fifo, 1, 1)
        wait_until(lambda: any(child.pid for child in manager.hello()[0]))
        own = os.readlink(f"/proc/{keeper.pid}/exe")
        manager.send(frame("REEXEC", 7, text(own)))
        assert manager.expect("RESULT", tag=7).ints("i") == (0,)
        manager.run(2, "other", plan("/bin/true"))
        manager.exited(2)
        with open(fifo, "wb"):
            assert manager.expect("EXECED", tag=1)
        assert Child.of(manager.expect("EXITED", tag=1)).status == 0


def test_the_next_keeper_takes_nothing_from_a_launch_under_way() -> None:
    """Its spawner has what it needs open, under the numbers in the order; and as before, nothing
    of the keeper's own is left open for a service by an exec."""
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        ours, theirs = os.pipe()
        stored, wrong = os.pipe()
        assert manager.put("stored", wrong) == 0
        steps = step("OPEN", "iI", 3, os.O_RDONLY, texts=[fifo])
        steps += step("FD", "i", 4, texts=["stored"]) + step("SENT_FD", "iI", 5, 0) + log_step("it")
        body = step("SIGNALS", "Q", 0) + steps + execute("/bin/sh", "-c", "echo sent >&5; echo log")
        manager.spawn(1, "unit", body, [theirs])
        wait_until(lambda: any(child.pid for child in manager.hello()[0]))
        own = os.readlink(f"/proc/{keeper.pid}/exe")
        manager.send(frame("REEXEC", 7, text(own)))
        assert manager.expect("RESULT", tag=7).ints("i") == (0,)
        for pid in spawners(keeper):
            assert [fd for fd in high_fds(pid) if not closes_at_exec(pid, fd)] == []
        with open(fifo, "wb"):
            answer = manager.started(1)
        assert answer.op == "EXECED", answer.ints("iIIi")
        manager.exited(1)
        assert os.read(ours, 100) == b"sent\n"
        log = manager.get("log:it")
        assert os.read(log, 100) == b"log\n"
        for fd in (ours, theirs, stored, wrong, log):
            os.close(fd)


def high_fds(pid: int) -> list[int]:
    return [fd for fd in map(int, os.listdir(f"/proc/{pid}/fd")) if fd >= LOW]


def closes_at_exec(pid: int, fd: int) -> bool:
    words = Path(f"/proc/{pid}/fdinfo/{fd}").read_text().split()
    return bool(int(words[words.index("flags:") + 1], 8) & os.O_CLOEXEC)


def test_what_waits_when_the_end_comes_is_not_started_any_more() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo, trace = keeper.manager(), f"{directory}/fifo", Path(directory, "trace")
        os.mkfifo(fifo)
        hang(manager, fifo, 1, SPAWNERS)
        wait_until(lambda: len(spawners(keeper)) == 2 * SPAWNERS)
        for launch in range(100, 110):
            manager.spawn(launch, f"late{launch}", plan("/bin/mkdir", str(trace)))
        manager.hello()
        assert keeper.end(manager) == 0
        assert not trace.exists()


def test_a_spawner_is_no_service() -> None:
    """Whoever names one as its main process would have the keeper take its end for another's."""
    with Keeper() as keeper:
        manager = keeper.manager()
        manager.run(1, "first", plan("/bin/sleep", "1000"))
        (pid, *_) = spawners(keeper)
        adopt = frame("ADOPT", 1, struct.pack("<i", pid))
        assert manager.result(adopt, tag=1) == EBUSY


def test_a_stored_descriptor_can_be_standard_input() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        ours, theirs = os.pipe()
        back, answer = os.pipe()
        assert manager.put("input", ours) == 0
        steps = step("FD", "i", 0, texts=["input"]) + step("SENT_FD", "iI", 1, 0)
        manager.run(1, "cat", plan("/bin/head", "-n1", steps=steps), [answer])
        os.write(theirs, b"line\n")
        assert os.read(back, 100) == b"line\n"
        manager.exited(1)
        for fd in (ours, theirs, back, answer):
            os.close(fd)


def test_a_keeper_that_could_not_become_another_starts_services_as_before() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fake = keeper.manager(), Path(directory, "fake")
        fake.write_text("#!/nowhere\nunboxed-init can take over from another\n")
        fake.chmod(0o755)
        assert manager.result(frame("REEXEC", 7, text(str(fake))), tag=7) == ENOENT
        for launch in range(1, 11):
            manager.spawn(launch, f"unit{launch}", plan("/bin/true"))
        for launch in range(1, 11):
            assert manager.started(launch).op == "EXECED"
            manager.exited(launch)


@pytest.mark.parametrize("error", [ENOSYS, EPERM])
def test_services_start_where_clone3_is_refused(error: int) -> None:
    """By Linux before 5.3, or a container's filter."""
    with tempfile.TemporaryDirectory(prefix="keeper-build-") as path:
        own = Path(__file__).with_name("refuse.c")
        refuse = build(Path(path), sources=[own], name="refuse")
        with Keeper(prefix=[refuse, str(error)]) as keeper:
            manager = keeper.manager()
            manager.run(1, "plain", plan("/bin/true"))
            manager.exited(1)
            group = Path(path, "group")  # no cgroup, but the file in it is all that is written
            (group / "unit").mkdir(parents=True)
            (group / "unit/cgroup.procs").touch()
            fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
            assert manager.put("cgroup", fd) == 0
            os.close(fd)
            manager.run(2, "grouped", step("CGROUP", texts=["unit"]) + plan("/bin/true"))
            manager.exited(2)
            assert (group / "unit/cgroup.procs").read_text() == "0"


def test_a_spawner_that_is_slow_between_two_looks_spoils_no_queue() -> None:
    """One of three is held up where others take orders meanwhile: afterwards all wait, quietly."""
    with tempfile.TemporaryDirectory(prefix="keeper-build-") as path:
        for source in SOURCES.glob("*.[ch]"):
            words = source.read_text()
            if source.name == "spawn.c":
                look = re.compile(r"= __atomic_load_n\(&kept\.(first|end), __ATOMIC_ACQUIRE\);")
                words = look.sub(r"\g<0> if (me == 1) usleep(2500);", words)
                assert words.count("usleep(2500)") == 2
            Path(path, source.name).write_text(words)
        slow = build(Path(path), "-O2", "-static", "-I", path, sources=[*Path(path).glob("*.c")])
        with Keeper(slow) as keeper:
            manager = keeper.manager()
            for first in range(1, 200, 4):
                for launch in range(first, first + 4):
                    manager.spawn(launch, f"unit{launch}", plan("/bin/true"))
                for launch in range(first, first + 4):
                    assert manager.started(launch).op == "EXECED"
                    manager.exited(launch)
            wait_until(lambda: all(state(pid) == "S" for pid in spawners(keeper)))
            time.sleep(0.1)
            assert {state(pid) for pid in spawners(keeper)} == {"S"}


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_refusal_is_told_though_the_launch_was_still_to_be_told_of() -> None:
    """Else its row, and with it its key, would be taken for ever."""
    with tempfile.TemporaryDirectory(prefix="keeper-build-") as path:
        parts = [SOURCES / "tables.c", SOURCES / "system.c"]
        own = Path(__file__).with_name("owing.c")
        program = build(Path(path), sources=[own, *parts], name="owing")
        assert subprocess.run([program], check=False).returncode == 0


def test_no_spawner_outlives_its_keeper() -> None:
    with Keeper() as keeper:
        manager, _ = keeper.manager(), keeper.logger()
        manager.run(1, "first", plan("/bin/true"))
        (pid, *_) = spawners(keeper)
        os.kill(keeper.pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}/exe").exists())
        keeper.finish()

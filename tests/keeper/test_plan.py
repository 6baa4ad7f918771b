"""What a launch plan does, step by step, as the launched process itself sees it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import struct
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from tests.keeper.keeperclient import (
    Keeper,
    Peer,
    calls,
    execute,
    frame,
    log_step,
    open_fds,
    plan,
    step,
    text,
    wait_until,
)

PYTHON = os.path.realpath(sys.executable)
ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="needs root: becomes another user")


def is_empty(group: Path) -> bool:
    return not (group / "cgroup.procs").read_text()


def seen_by_child(
    manager: Peer, launch: int, steps: bytes, code: str, fds: tuple[int, ...] = ()
) -> object:
    """What a Python expression is worth in a launch, by way of JSON on descriptor 9."""
    reader, writer = os.pipe()
    tell = f"import json, os\nr = {code}\nos.write(9, json.dumps(r).encode())"
    whole = b"".join(
        [
            step("SIGNALS", "Q", 0),
            step("SESSION"),
            steps,
            step("SENT_FD", "iI", 9, len(fds)),
            step("CLOSE_FROM", "I", 10),
            execute(PYTHON, "-I", "-S", "-c", tell),
        ]
    )
    manager.spawn(launch, f"child{launch}", whole, (*fds, writer))
    os.close(writer)
    assert manager.started(launch).op == "EXECED"
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    assert manager.exited(launch)[4:6] == (os.CLD_EXITED, 0)
    return json.loads(data)


def test_each_step_has_its_effect() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager = keeper.manager()
        where = os.path.realpath(directory)
        number = iter(range(1, 100))

        def see(steps: bytes, code: str) -> object:
            return seen_by_child(manager, next(number), steps, code)

        assert see(step("UMASK", "I", 0o027), "os.umask(0)") == 0o027
        nice = calls(("setpriority", (os.PRIO_PROCESS, 0, 7)))
        assert see(nice, "os.getpriority(os.PRIO_PROCESS, 0)") == 7
        score = step("WRITE", texts=["/proc/self/oom_score_adj", "321"])
        assert see(score, "int(open('/proc/self/oom_score_adj').read())") == 321
        affinity = calls(("sched_setaffinity", (0, 8, (1).to_bytes(8, "little"))))
        assert see(affinity, "sorted(os.sched_getaffinity(0))") == [0]
        assert see(step("DIRECTORY", texts=[where]), "os.getcwd()") == where
        assert see(b"", "[os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()]") == [
            True,
            True,
        ]
        limit = calls(
            ("prlimit64", (0, resource.RLIMIT_CORE, struct.pack("<QQ", 4096, 8192))),
            ("prlimit64", (0, resource.RLIMIT_NOFILE, struct.pack("<QQ", 300, 400))),
        )
        found = see(limit, "open('/proc/self/limits').read()")
        assert isinstance(found, str)
        limits = {line[:26].strip(): line[26:].split()[:2] for line in found.splitlines()}
        assert limits["Max core file size"] == ["4096", "8192"]
        assert limits["Max open files"] == ["300", "400"]
        status = "[l.split()[1] for l in open('/proc/self/status') if l.startswith('NoNewPrivs')]"
        assert see(step("NO_NEW_PRIVS"), status) == ["1"]
        assert see(b"", status) == ["0"]


def test_environment_is_exactly_what_the_plan_says() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        steps = step("ENV", "I", 2, texts=["A=1", "B=two words"])
        steps += step("ENV_PID", texts=["LISTEN_PID"]) + step("ENV_PID", texts=["OTHER"])
        found = seen_by_child(manager, 1, steps, "[dict(os.environ), os.getpid()]")
        assert isinstance(found, list)
        pid = str(found[1])
        found[0].pop("LC_CTYPE", None)  # Python's own doing, in the C locale
        assert found[0] == {"A": "1", "B": "two words", "LISTEN_PID": pid, "OTHER": pid}
        found = seen_by_child(manager, 2, b"", "list(os.environ)")
        assert isinstance(found, list)
        assert set(found) <= {"LC_CTYPE"}


def test_output_waits_when_the_log_is_behind() -> None:
    with Keeper() as keeper:
        code = "import os; print(os.get_blocking(1), os.get_blocking(2), end='.', flush=True)"
        manager = keeper.manager()
        manager.run(1, "a", plan(PYTHON, "-I", "-S", "-c", code, steps=log_step("a")))
        manager.exited(1)
        assert os.read(keeper.logger().expect("STREAM_OPEN").fds[0], 100) == b"True True."


def test_standard_error_may_have_a_stream_of_its_own() -> None:
    with Keeper() as keeper:
        code = "import os; os.write(1, b'out'); os.write(2, b'err')"
        manager, logger = keeper.manager(), keeper.logger()
        before = len(open_fds(keeper.pid))
        steps = log_step("a") + log_step("a!err", "keep=1")
        manager.run(1, "a", plan(PYTHON, "-I", "-S", "-c", code, steps=steps))
        manager.exited(1)
        pipes = [logger.expect("STREAM_OPEN") for _ in range(2)]
        said = {pipe.payload: os.read(pipe.fds[0], 100) for pipe in pipes}
        assert said == {b"a\0\0": b"out", b"a!err\0keep=1\0": b"err"}
        wait_until(lambda: len(open_fds(keeper.pid)) == before + 2)  # all else is closed
        for pipe in pipes:
            os.close(pipe.fds[0])


def test_both_streams_stay_clear_of_targets() -> None:
    """With descriptors to place, no target overwrites a stream that is still to be used."""
    with Keeper() as keeper:
        code = "import os; os.write(1, b'out'); os.write(2, b'err')"
        manager, logger = keeper.manager(), keeper.logger()
        opens = b"".join(step("OPEN", "iI", fd, 0, texts=["/dev/null"]) for fd in range(3, 40))
        steps = opens + log_step("a") + log_step("b")
        manager.run(1, "a", plan(PYTHON, "-I", "-S", "-c", code, steps=steps))
        manager.exited(1)
        pipes = [logger.expect("STREAM_OPEN").fds[0] for _ in range(2)]
        assert {os.read(pipe, 100) for pipe in pipes} == {b"out", b"err"}
        for pipe in pipes:
            os.close(pipe)


@pytest.mark.parametrize("names", [["a", "a"], ["a", "b", "c"], ["a", ""], ["a", "x" * 116]])
def test_a_plan_with_other_log_steps_is_refused(names: list[str]) -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        steps = b"".join(log_step(name) for name in names)
        manager.spawn(1, "a", plan("/bin/true", steps=steps))
        refused = manager.expect("REFUSED")
        assert struct.unpack("<i", refused.payload) == (errno.EINVAL,)
        assert not [name for name in manager.hello()[1] if name.startswith("log:")]


def test_signals_are_default_and_unblocked_but_for_the_ignored_ones() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        manager.spawn(
            1,
            "probe",
            b"".join(
                [
                    step("SIGNALS", "Q", 1 << (signal.SIGHUP - 1) | 1 << 39),
                    log_step("probe"),
                    execute("/bin/grep", "Sig[BI]", "/proc/self/status"),
                ]
            ),
        )
        assert manager.started(1).op == "EXECED"
        assert manager.exited(1)[4:6] == (os.CLD_EXITED, 0)
        pipe = keeper.logger().expect("STREAM_OPEN").fds[0]
        lines = dict(line.split(":\t") for line in os.read(pipe, 4096).decode().splitlines())
        os.close(pipe)
        assert {name: int(value, 16) for name, value in lines.items()} == {
            "SigBlk": 0,
            "SigIgn": 1 << (signal.SIGHUP - 1) | 1 << 39,
        }


@needs_root
def test_ids_and_groups_are_taken_for_good() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        steps = calls(("setgroups", (2, struct.pack("<II", 12, 34))))
        steps += step("GID", "I", 5678) + step("UID", "I", 1234)
        code = "[os.getresuid(), os.getresgid(), os.getgroups()]"
        assert seen_by_child(manager, 1, steps, code) == [[1234] * 3, [5678] * 3, [12, 34]]


@needs_root
def test_service_may_reopen_its_standard_error() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        steps = (
            log_step("web", uid=1234, gid=5678) + step("GID", "I", 5678) + step("UID", "I", 1234)
        )
        manager.run(1, "web", plan("/bin/sh", "-c", "echo again > /dev/stderr", steps=steps))
        assert manager.exited(1)[4:6] == (os.CLD_EXITED, 0)
        pipe = keeper.logger().expect("STREAM_OPEN").fds[0]
        assert os.read(pipe, 100) == b"again\n"
        os.close(pipe)


def test_magic_link_is_no_working_directory() -> None:
    """CVE-2024-21626: a working directory by way of /proc/self/fd leads out of what was meant."""
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager = keeper.manager()
        outside = os.open("/", os.O_RDONLY)
        manager.send(frame("PUT", 0, text("outside"), 1), fds=[outside])
        assert manager.expect("RESULT").ints("i") == (0,)
        os.close(outside)
        link = Path(directory) / "link"
        link.symlink_to("/proc/self/fd/5")
        for launch, path in enumerate(("/proc/self/fd/5", str(link)), 1):
            steps = step("FD", "i", 5, texts=["outside"]) + step("DIRECTORY", texts=[path])
            manager.spawn(launch, f"unit{launch}", plan("/bin/true", steps=steps))
            failure = manager.started(launch)
            assert failure.op == "LAUNCH_FAILED"
            assert failure.ints("iIIi")[1:] == (3, 13, 40)  # ELOOP
            manager.exited(launch)


def test_open_and_sent_descriptors_reach_their_targets() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager = keeper.manager()
        target = Path(directory) / "out"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        reader, writer = os.pipe()
        steps = step("OPEN", "iI", 8, flags, texts=[str(target)]) + step("SENT_FD", "iI", 4, 0)
        code = "[os.write(8, b'opened'), os.write(4, b'sent')]"
        assert seen_by_child(manager, 1, steps, code, (writer,)) == [6, 4]
        assert (target.read_text(), os.read(reader, 10)) == ("opened", b"sent")
        os.close(reader)
        os.close(writer)


def test_failing_step_names_itself() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        wrong = [
            (step("DIRECTORY", texts=["/nonexistent"]), 13, 2),
            (step("OPEN", "iI", 3, os.O_RDONLY, texts=["/nonexistent"]), 16, 2),
            (step("OPEN", "iI", 3, os.O_NOFOLLOW, texts=["/proc/self/status"]), 16, 40),
            (step("WRITE", texts=["/proc/self/oom_score_adj", "5000"]), 22, 22),
            (calls(("prlimit64", (0, 99, bytes(16)))), 23, 22),
            (calls(("sched_setaffinity", (0, 128, bytes(127) + b"\x80"))), 23, 22),
        ]
        for launch, (steps, code, error) in enumerate(wrong, 1):
            index = 3 if code == 23 else 2  # DATA stands before it
            manager.spawn(launch, "unit", plan("/bin/true", steps=steps))
            failure = manager.started(launch)
            assert (failure.op, *failure.ints("iIIi")[1:]) == ("LAUNCH_FAILED", index, code, error)
            record = manager.exited(launch)
            assert (record.code, record.status, record.step, record.error) == (
                os.CLD_EXITED,
                127,
                code,
                error,
            )


def test_malformed_plans_are_refused_whole() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        good, end = step("UMASK", "I", 0o22), execute("/bin/true")
        long_code = struct.pack("<HHI", 99, 0, 0)
        bad = [
            b"",
            good,
            end + good,
            end + end,
            good + good + end,
            good[:-1] + end,
            long_code + end,
            step("UMASK", "II", 1, 2) + end,
            step("EXEC", "I", 0, texts=["/bin/true"]),
            step("EXEC", "I", 5, texts=["/bin/true", "x"]),
            step("ENV", "I", 2, texts=["A=1"]) + end,
            step("FD", "i", 256, texts=["x"]) + end,
            step("OPEN", "iI", -1, 0, texts=["/"]) + end,
            step("SENT_FD", "iI", 3, 0) + end,
            step("CGROUP", texts=["a/../b"]) + end,
            step("CGROUP", texts=["/a"]) + end,
            step("CGROUP", texts=["a//b"]) + end,
            step("CGROUP", texts=["a/"]) + end,
            step("CGROUP", texts=[""]) + end,
            log_step("x" * 116) + end,
            log_step("x", "o" * 120) + end,
            step("ENV_PID", texts=["A=B"]) + end,
            step("ENV_PID", texts=["A"]) * 9 + end,
            step("EXEC", "I", 40000, texts=["/bin/true", *["x"] * 40000]),
        ]
        for launch, steps in enumerate(bad, 1):
            manager.spawn(launch, "unit", steps)
            refused = manager.expect("REFUSED", "EXECED", "LAUNCH_FAILED", tag=launch)
            assert (refused.op, refused.ints("i")) == ("REFUSED", (22,)), (launch, steps)
        for key, error in (("", 22), ("k" * 96, 22)):
            manager.spawn(50, key, end)
            assert manager.expect("REFUSED", tag=50).ints("i") == (error,)
        manager.spawn(51, "k" * 95, step("FD", "i", 5, texts=["nothing"]) + end)
        assert manager.expect("REFUSED", tag=51).ints("i") == (2,)  # ENOENT
        manager.spawn(52, "unit", step("CGROUP", texts=["a"]) + end)
        assert manager.expect("REFUSED", tag=52).ints("i") == (2,)  # no `cgroup` is stored
        assert manager.hello()[0] == []


CGROUP2 = next(
    (
        line.split()[1]
        for line in Path("/proc/mounts").read_text().splitlines()
        if line.split()[2] == "cgroup2"
    ),
    "",
)


@pytest.mark.skipif(
    not (CGROUP2 and os.access(CGROUP2, os.W_OK)), reason="needs a writable cgroup v2"
)
def test_child_is_born_in_its_cgroup() -> None:
    own = Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip()
    base = Path(f"{CGROUP2}{own}/keeper-test-{os.getpid()}")
    base.mkdir()
    try:
        with Keeper() as keeper:
            manager = keeper.manager()
            fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
            assert manager.put("cgroup", fd) == 0
            os.close(fd)
            for launch in (1, 2):  # made, then found
                pid = manager.run(
                    launch,
                    "web/0",
                    plan("/bin/sleep", "1000", steps=step("CGROUP", texts=["units/web/0"])),
                )
                assert (base / "units/web/0/cgroup.procs").read_text().split() == [str(pid)]
                manager.signal(launch, signal.SIGKILL)
                manager.exited(launch)
            manager.spawn(
                3, "bad", plan("/bin/true", steps=step("CGROUP", texts=["cgroup.procs/x"]))
            )
            assert manager.expect("REFUSED", tag=3).ints("i") == (20,)  # ENOTDIR
    finally:
        for path in ("units/web/0", "units/web", "units", "."):
            with contextlib.suppress(FileNotFoundError):
                wait_until(partial(is_empty, base / path))
                (base / path).rmdir()

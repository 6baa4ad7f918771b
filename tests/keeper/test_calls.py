"""Steps made of system calls, namespaces with a holder, and what is left of them afterwards."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import struct
import tempfile
import time
from pathlib import Path

import pytest

from supervisor.kernel import calls as made
from supervisor.kernel import plan as plans
from supervisor.kernel.plan import Step
from tests.keeper.keeperclient import (
    Child,
    Keeper,
    Peer,
    calls,
    data_step,
    execute,
    frame,
    plan,
    step,
    text,
    wait_for_end,
    wait_until,
)

NEWNS, NEWUTS, NEWUSER, NEWPID = 0x00020000, 0x04000000, 0x10000000, 0x20000000
SET_SECCOMP, GET_MDWE, SET_MDWE = 22, 66, 65
BY_SIGNAL = os.CLD_KILLED
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a pid namespace")


def plan_of(*middle: Step, command: tuple[str, ...]) -> bytes:
    """The bytes of a usual plan with these steps after SESSION."""
    steps = [Step("SIGNALS", (0,)), Step("SESSION"), *middle]
    steps += (Step("ENV", ("PATH=/usr/bin:/bin",)), Step("EXEC", (command[0], *command)))
    return plans.encode(steps)


def in_namespace(*command: str, before: tuple[Step, ...] = ()) -> bytes:
    return plan_of(made.hold(NEWPID), *before, made.fork(), command=command)


def holders(keeper: Keeper) -> list[int]:
    """Pids of those children of the keeper that keep namespaces (or are about to)."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if words[1:2] == [b"--hold"] and parent == keeper.pid:
                found.append(int(entry.name))
    return found


def ids_in_namespaces(pid: int) -> list[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next([int(n) for n in line.split()[1:]] for line in lines if line.startswith("NSpid"))


def gone(keeper: Keeper) -> None:
    wait_until(lambda: not holders(keeper))


# --- calls ---


def outcome(manager: Peer, launch: int, steps: bytes) -> tuple[str, tuple[int, ...]]:
    """How it went: its exit status, or the failed step's index, code and errno."""
    manager.spawn(launch, f"unit{launch}", steps)
    answer = manager.started(launch)
    if answer.op == "REFUSED":
        return answer.op, answer.ints("i")
    record = manager.exited(launch)
    if answer.op == "LAUNCH_FAILED":
        return answer.op, answer.ints("iIIi")[1:]
    return answer.op, (record.code, record.status)


def test_results_go_where_later_calls_find_them() -> None:
    """A descriptor as an argument, and within a structure; the result of one call in two others."""
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager = keeper.manager()
        flags = os.O_WRONLY | os.O_CREAT
        path = f"{directory}/made"
        steps = plan_of(
            made.call("openat", -100, path, flags, 0o600, result="file", words="make it"),
            made.call("dup3", made.Out("file"), 9, 0, words="number it"),
            made.call("fchmod", made.Out("file"), 0o640, words="open it"),
            command=("/bin/sh", "-c", "echo words >&9"),
        )
        assert outcome(manager, 1, steps) == ("EXECED", (os.CLD_EXITED, 0))
        assert Path(path).read_text() == "words\n"
        assert os.stat(path).st_mode & 0o777 == 0o640


def test_addresses_in_structures_reach_what_they_are_of() -> None:
    """seccomp wants a structure that holds the address of its program."""
    with Keeper() as keeper:
        manager = keeper.manager()
        # uname(2) fails with EXDEV, which it never does of itself; all else is allowed.
        number = {"x86_64": 63, "aarch64": 160}[os.uname().machine]
        program = b"".join((
            struct.pack("<HBBI", 0x20, 0, 0, 0),
            struct.pack("<HBBI", 0x15, 0, 1, number),
            struct.pack("<HBBI", 0x06, 0, 0, 0x00050000 | errno.EXDEV),
            struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000),
        ))  # fmt: skip
        filtering = made.Struct((struct.pack("<HHI", 4, 0, 0), made.Address(program)))
        steps = plan_of(
            Step("NO_NEW_PRIVS"),
            made.call("prctl", SET_SECCOMP, 2, filtering, words="filter"),
            command=("/bin/sh", "-c", "uname 2>/dev/null || exit 42"),
        )
        assert outcome(manager, 1, steps) == ("EXECED", (os.CLD_EXITED, 42))


def test_a_tolerated_errno_is_no_failure_and_any_other_is() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        missing = ("openat", (-100, b"/nonexistent\0", os.O_RDONLY))
        good = calls(missing, tolerate=errno.ENOENT)
        assert outcome(manager, 1, plan("/bin/true", steps=good)) == ("EXECED", (1, 0))
        bad = calls(missing, tolerate=errno.EACCES)
        failed = ("LAUNCH_FAILED", (3, 23, errno.ENOENT))
        assert outcome(manager, 2, plan("/bin/true", steps=bad)) == failed


def test_calls_that_could_reach_beyond_their_data_are_refused() -> None:
    def one(row: int, result: int = 0, kinds: int = 0, value: int = 0) -> bytes:
        return step("CALL", "IIIIQQQQQ", row, 0, result, kinds, value, 0, 0, 0, 0)

    close, room = 19, 8  # CALLS[19]; what has to be left behind an offset
    with Keeper() as keeper:
        manager = keeper.manager()
        data = data_step(bytes(64))
        bad = [
            one(close),  # without data
            data + one(1000),
            data + one(close, result=64 - room + 1),
            data + one(close, kinds=1, value=64 - room + 1),
            data + one(close, kinds=1, value=1 << 63),
            data + one(close, kinds=2, value=64),
            data + one(close, kinds=3, value=64),
            data + one(close, kinds=1 << 10),
            data + step("ADDRESS", "II", 64 - room + 1, 0),
            data + step("ADDRESS", "II", 0, 64 - room + 1),
            step("ADDRESS", "II", 0, 0),
            data_step(bytes(7)) + one(close),
            one(close) + data,
            data + data,
            step("HOLD", "I", 0x100, texts=["", "", ""]),  # CLONE_VM
            step("HOLD", "I", NEWPID, texts=["", ""]),
            step("FORK") + step("FORK"),
        ]
        for launch, steps in enumerate(bad, 1):
            answer = outcome(manager, launch, steps + execute("/bin/true"))
            assert answer == ("REFUSED", (errno.EINVAL,)), (launch, steps)
        last = data + one(close, kinds=2, value=64 - room, result=64 - room) + execute("/bin/true")
        assert outcome(manager, 100, last)[0] == "EXECED"  # it closes descriptor 0


@needs_root
def test_the_bounding_set_keeps_what_is_named() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        keep = 1 << 10 | 1 << 6
        read = "test $(grep CapBnd /proc/self/status | cut -f2) = "
        for launch, mask in enumerate((keep, 0), 1):
            command = ("/bin/sh", "-c", f"{read}{mask:016x}")
            steps = plan_of(Step("BOUND", (mask,)), command=command)
            assert outcome(manager, launch, steps) == ("EXECED", (os.CLD_EXITED, 0))


@needs_root
def test_what_has_no_capability_gets_none_back_by_execution() -> None:
    """Not even root, whose bounding set is still whole: no_new_privs sees to that."""
    shell = "test $(grep CapEff /proc/self/status | cut -f2) = 0000000000000000"
    with Keeper() as keeper:
        manager = keeper.manager()
        steps = (Step("NO_NEW_PRIVS"), Step("CAPSET", (0,)))
        for launch, before, status in ((1, steps, 0), (2, (), 1)):
            answer = outcome(manager, launch, plan_of(*before, command=("/bin/sh", "-c", shell)))
            assert answer == ("EXECED", (os.CLD_EXITED, status))


def mdwe_of(manager: Peer, launch: int, *before: Step) -> tuple[str, tuple[int, ...]]:
    """How a process ends whose status is what prctl(PR_GET_MDWE) says."""
    ask = f"import ctypes, os; os._exit(ctypes.CDLL(None).prctl({GET_MDWE}, 0, 0, 0, 0) & 255)"
    python = os.path.realpath("/usr/bin/python3")
    return outcome(manager, launch, plan_of(*before, command=(python, "-c", ask)))


def test_a_memory_of_its_own_is_what_mdwe_is_for() -> None:
    """In the spawner's it would be every later service's: that is refused."""
    mdwe = made.call("prctl", SET_MDWE, 1, 0, 0, 0, words="MDWE")
    with Keeper() as keeper:
        manager = keeper.manager()
        found = mdwe_of(manager, 1)
        if found != ("EXECED", (os.CLD_EXITED, 0)):
            pytest.skip(f"no PR_GET_MDWE here: {found}")
        assert mdwe_of(manager, 2, mdwe) == ("LAUNCH_FAILED", (3, 23, errno.EPERM))
        assert mdwe_of(manager, 3, made.fork(), mdwe) == ("EXECED", (os.CLD_EXITED, 1))
        for launch in range(4, 10):  # by each spawner at least once
            assert mdwe_of(manager, launch) == ("EXECED", (os.CLD_EXITED, 0))


# --- a second birth ---


def test_the_second_child_is_the_launch_and_leads_its_session() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        steps = plan_of(made.fork(), command=("/bin/sleep", "1000"))
        pid = manager.run(1, "unit", steps)
        assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid)
        assert [child.pid for child in manager.hello()[0]] == [pid]
        manager.signal(1, signal.SIGTERM, 1)
        record = manager.exited(1)
        assert (record.pid, record.code, record.status) == (pid, BY_SIGNAL, signal.SIGTERM)


def test_a_step_after_the_birth_is_counted_on() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        steps = plan_of(made.fork(), Step("DIRECTORY", ("/nonexistent",)), command=("/bin/true",))
        assert outcome(manager, 1, steps) == ("LAUNCH_FAILED", (3, 13, errno.ENOENT))


@pytest.mark.parametrize("born", [False, True])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stop_reaches_whichever_child_it_is(born: bool, number: int) -> None:
    """It hangs before or after its second birth, in a FIFO that nobody writes."""
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        hang = Step("OPEN", (5, os.O_RDONLY, fifo))
        steps = [made.fork(), hang] if born else [hang, made.fork()]
        manager.spawn(1, "unit", plan_of(*steps, command=("/bin/true",)))
        wait_until(lambda: is_waiting(keeper, 1 + born))
        manager.signal(1, number)
        assert manager.expect("LAUNCH_FAILED", tag=1).ints("iIIi")[3] == errno.EINTR
        record = manager.exited(1)
        assert (record.code, record.status) == (BY_SIGNAL, number)
        with pytest.raises(OSError, match="No such device"):  # nobody waits to read it any more
            os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)


def is_waiting(keeper: Keeper, births: int = 1) -> bool:
    """Whether the launch has come to its open(2) of the FIFO. Who waits for a child is in D."""
    pids = launching(keeper)
    return len(pids) == births and any(state_of(pid) == "S" for pid in pids)


def test_when_the_first_child_is_killed_the_second_goes_too() -> None:
    """Who waited for it is gone, and with it whoever would tell that it executed."""
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        hang = Step("OPEN", (5, os.O_RDONLY, fifo))
        manager.spawn(1, "unit", plan_of(made.fork(), hang, command=("/bin/true",)))
        wait_until(lambda: is_waiting(keeper, 2))
        (second,) = [child.pid for child in manager.hello()[0]]
        (first,) = set(launching(keeper)) - {second}
        os.kill(first, signal.SIGKILL)
        assert manager.expect("LAUNCH_FAILED", tag=1).ints("iIIi")[3] == errno.EINTR
        record = manager.exited(1)
        assert record.pid == second
        assert (record.code, record.status) == (BY_SIGNAL, signal.SIGKILL)
        manager.run(2, "other", plan("/bin/true"))
        assert manager.exited(2).status == 0


def launching(keeper: Keeper) -> list[int]:
    """Children of the keeper that have not executed, which lead a session: spawners do not."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            state, parent, _, session = rest.split()[:4]
            if name == "unboxed-spawner" and int(parent) == keeper.pid and state != "Z":
                found += [int(entry.name)] * (session == entry.name)
    return found


# --- a pid namespace ---


@needs_root
def test_in_a_pid_namespace_status_and_signals_are_exact() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        steps = in_namespace("/bin/sh", "-c", "test $$ = 2 && exit 42")
        assert outcome(manager, 1, steps) == ("EXECED", (os.CLD_EXITED, 42))
        gone(keeper)
        pid = manager.run(2, "unit", in_namespace("/bin/sleep", "1000"))
        assert ids_in_namespaces(pid) == [pid, 2]
        (holder,) = holders(keeper)
        assert ids_in_namespaces(holder) == [holder, 1]
        manager.signal(2, signal.SIGUSR1)
        record = manager.exited(2)
        assert (record.pid, record.code, record.status) == (pid, BY_SIGNAL, signal.SIGUSR1)
        gone(keeper)


@needs_root
def test_what_a_service_leaves_behind_lives_on_and_is_reaped() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        orphan = f"(true & exec sh -c 'true & read line < {fifo}') & sleep 0.05; exit 7"
        assert outcome(manager, 1, in_namespace("/bin/sh", "-c", orphan)) == ("EXECED", (1, 7))
        (holder,) = holders(keeper)
        of_it = [pid for pid in children_of(holder) if state_of(pid) != "Z"]
        assert len(of_it) == 1, "the orphan is the holder's, and nothing dead is"
        assert children_of(holder) == of_it
        with open(fifo, "w") as stream:
            stream.write("end\n")
        gone(keeper)


def children_of(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@needs_root
def test_a_holder_sleeps_has_nothing_and_holds_nothing_open() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        pid = manager.run(1, "unit", in_namespace("/bin/sh", "-c", "sleep 0.2 & exec sleep 1000"))
        (holder,) = holders(keeper)
        wait_until(lambda: waits_for_the_service(holder))
        before = switches(holder)
        time.sleep(0.6)  # a child of the service ends meanwhile
        assert switches(holder) == before
        status = Path(f"/proc/{holder}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert "CapPrm:\t0000000000000000" in status
        assert os.readlink(f"/proc/{holder}/cwd") == "/"
        links = {os.readlink(f"/proc/{holder}/fd/{fd}") for fd in os.listdir(f"/proc/{holder}/fd")}
        assert {link.partition(":")[0] for link in links} == {"socket", "anon_inode"}
        manager.signal(1, signal.SIGKILL)
        assert manager.exited(1).pid == pid
        gone(keeper)


def waits_for_the_service(holder: int) -> bool:
    fds = os.listdir(f"/proc/{holder}/fd")
    return len(fds) == 2 and state_of(holder) == "S"


def switches(pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [line for line in lines if "ctxt_switches" in line]


@needs_root
def test_without_its_holder_a_service_is_killed_by_the_kernel() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        manager.run(1, "unit", in_namespace("/bin/sleep", "1000"))
        (holder,) = holders(keeper)
        os.kill(holder, signal.SIGKILL)
        record = manager.exited(1)
        assert (record.code, record.status) == (BY_SIGNAL, signal.SIGKILL)
        gone(keeper)


@needs_root
def test_services_that_end_or_are_killed_at_once_leave_no_holder() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        for launch in range(1, 31):
            manager.spawn(launch, f"unit{launch}", in_namespace("/bin/true"))
            if launch % 2:
                manager.signal(launch, signal.SIGKILL)
        for launch in range(1, 31):
            record = manager.exited(launch)
            killed = (record.code, record.status) == (BY_SIGNAL, signal.SIGKILL)
            assert killed or (record.code, record.status) == (os.CLD_EXITED, 0)
            assert not killed or launch % 2
        gone(keeper)


@needs_root
@pytest.mark.parametrize("born", [False, True])
def test_a_launch_that_fails_leaves_no_holder(born: bool) -> None:
    wrong = Step("WRITE", ("/nonexistent", "0"))
    with Keeper() as keeper:
        manager = keeper.manager()
        body = [made.hold(NEWPID), made.fork()]
        body.insert(2 if born else 1, wrong)
        steps = plan_of(*body, command=("/bin/true",))
        failed = ("LAUNCH_FAILED", (4 if born else 3, 22, errno.ENOENT))
        assert outcome(manager, 1, steps) == failed
        gone(keeper)


@needs_root
@pytest.mark.parametrize("born", [False, True])
def test_a_launch_that_hangs_and_is_killed_leaves_no_holder(born: bool) -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        body = [made.hold(NEWPID), made.fork()]
        body.insert(2 if born else 1, Step("OPEN", (5, os.O_RDONLY, fifo)))
        manager.spawn(1, "unit", plan_of(*body, command=("/bin/true",)))
        wait_until(lambda: holders(keeper) and is_waiting(keeper, 1 + born))
        manager.signal(1, signal.SIGKILL)
        assert manager.expect("LAUNCH_FAILED", tag=1).ints("iIIi")[3] == errno.EINTR
        assert manager.exited(1).status == signal.SIGKILL
        gone(keeper)


@needs_root
def test_the_next_keeper_has_a_launch_that_is_between_its_births() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        body = (made.hold(NEWPID), Step("OPEN", (5, os.O_RDONLY, fifo)), made.fork())
        manager.spawn(1, "unit", plan_of(*body, command=("/bin/sh", "-c", "exit 9")))
        wait_until(lambda: holders(keeper) and is_waiting(keeper))
        own = os.readlink(f"/proc/{keeper.pid}/exe")
        manager.send(frame("REEXEC", 7, text(own)))
        assert manager.expect("RESULT", tag=7).ints("i") == (0,)
        (first,) = [child.pid for child in manager.hello()[0]]
        with open(fifo, "wb"):
            execed = manager.expect("EXECED", tag=1)
        assert execed.ints("i")[0] != first
        assert Child.of(manager.expect("EXITED", tag=1)).status == 9
        gone(keeper)


@needs_root
def test_a_kill_of_the_whole_group_leaves_nothing() -> None:
    """As cgroup.kill does: service, its children and the holder at once, in any order."""
    with Keeper() as keeper:
        manager = keeper.manager()
        for launch in range(1, 6):
            pid = manager.run(launch, "unit", in_namespace("/bin/sh", "-c", "sleep 1000; :"))
            victims = [pid, *holders(keeper)]
            for victim in victims if launch % 2 else reversed(victims):
                os.kill(victim, signal.SIGKILL)
            assert manager.exited(launch).status == signal.SIGKILL
            gone(keeper)


# --- a user namespace ---


def test_maps_of_a_user_namespace_are_written_from_outside() -> None:
    uid, gid = os.geteuid(), os.getegid()
    with Keeper() as keeper:
        manager = keeper.manager()
        held = made.hold(NEWUSER, "deny", f"7 {uid} 1", f"8 {gid} 1")
        seen = "test $(id -u) = 7 -a $(id -g) = 8 && grep -q deny /proc/self/setgroups"
        steps = plan_of(held, made.fork(), command=("/bin/sh", "-c", seen))
        found = outcome(manager, 1, steps)
        if found[0] == "LAUNCH_FAILED" and found[1][2] in (errno.EPERM, errno.ENOSPC):
            pytest.skip("no user namespaces here")
        assert found == ("EXECED", (os.CLD_EXITED, 0))
        gone(keeper)


def test_a_map_that_the_kernel_refuses_fails_the_launch() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        held = made.hold(NEWUSER, "", "not a map", "")
        op, (index, code, error) = outcome(
            manager, 1, plan_of(held, made.fork(), command=("/bin/true",))
        )
        assert (op, index, code) == ("LAUNCH_FAILED", 2, 25)
        assert error in (errno.EINVAL, errno.EPERM)
        gone(keeper)


@needs_root
def test_no_holder_outlives_its_keeper_for_long() -> None:
    """With the keeper its services are whoever's; the namespace ends with its service."""
    with Keeper() as keeper:
        manager, _ = keeper.manager(), keeper.logger()
        pid = manager.run(1, "unit", in_namespace("/bin/sleep", "1000"))
        (holder,) = holders(keeper)
        assert keeper.end(manager) == 0
        wait_for_end(pid)
        wait_for_end(holder)

"""Directories that are files, in use, stale, forbidden, read-only or full."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from supervisor.kernel.log_figures import NAME as FIGURES
from tests.fault.witness import abandon
from tests.scenario.bad_input.kit import (
    AS_NOBODY,
    MESSAGE,
    NOBODY,
    SLEEP,
    heard,
    open_to_all,
    refused,
    said,
    tree,
    unboxed,
)
from tests.stack import PATIENCE, ROOT, Stack, alive, library_paths

TALKER = 'command = ["/bin/sh", "-c", "echo I am $$; exec sleep 1000"]\n'
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting and other users need root")


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path, {"good": SLEEP})


def stored(stack: Stack) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((stack.log / "good").glob("*.log")))


def works(stack: Stack) -> None:
    """A whole life of that supervisor."""
    with stack:
        stack.wait("good", "running")


# --- a directory that is something else ---


@pytest.mark.parametrize(
    "made, reason",
    [
        (["rt"], "rt: Not a directory"),
        (["rt/notify"], "rt/notify: Not a directory"),
        (["rt/units"], "rt/units: Not a directory"),
        (["rt/lock/"], "rt/lock: Is a directory"),
        (["rt/control/"], "rt/control: Is a directory"),
        (["rt/status/", "rt/status/x"], "rt/status: Is a directory"),
        (["rt/nudge/"], "rt/nudge: Is a directory"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_runtime_directory_that_is_none_is_refused_and_nothing_in_it_lost(
    stack: Stack, made: list[str], reason: str
) -> None:
    for name in made:
        path = stack.home / name
        path.parent.mkdir(exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_text("precious")
    message = refused(stack)
    assert message == (
        f"cannot use {stack.runtime} as runtime directory: {stack.home}/{reason};"
        " nothing was started"
    )
    left = tree(stack.home)
    assert all(name.rstrip("/") in left for name in made)
    assert all(left[name] == b"precious" for name in made if not name.endswith("/"))


def test_a_link_in_the_place_of_the_lock_is_not_followed(stack: Stack) -> None:
    victim = stack.home / "victim"
    victim.write_text("precious")
    stack.runtime.mkdir()
    (stack.runtime / "lock").symlink_to(victim)
    assert "/rt/lock: it is a symbolic link; " in refused(stack)
    assert victim.read_text() == "precious"


def test_a_runtime_directory_that_anybody_may_change_is_refused(stack: Stack) -> None:
    stack.runtime.mkdir()
    stack.runtime.chmod(0o777)
    assert "with mode 777, so others could change it; " in refused(stack)
    assert tree(stack.runtime) == {}


def test_unit_directories_that_are_files_are_named(stack: Stack) -> None:
    other = stack.home / "other"
    other.write_text("precious")
    ran = unboxed("run", "--plain", "--units", str(other), home=stack.home)
    assert ran.returncode == 2
    message = ran.stderr.removesuffix("\n").removeprefix("unboxed: ")
    assert message == (
        f"cannot read units from {other}: it is a file, and --units takes the directory it is in;"
        " nothing was started"
    )
    assert not stack.runtime.exists()
    assert other.read_text() == "precious"


def test_a_unit_directory_that_became_a_file_leaves_a_supervisor_without_units(
    stack: Stack
) -> None:
    """It may have been replaced since the command line was checked."""
    (stack.units / "good.toml").unlink()
    stack.units.rmdir()
    stack.units.write_text("precious")
    with stack:
        assert stack.rows() == {}
        line = heard(stack, f"{stack.units}:")
        assert ": cannot read this unit directory: it is not a directory; " in line
        assert line.endswith("; the directory is left out")
    assert stack.units.read_text() == "precious"


def test_a_transient_unit_directory_that_is_a_file_after_the_start_does_no_harm(
    stack: Stack
) -> None:
    with stack:
        pid = stack.wait("good", "running")["pid"]
        (stack.runtime / "units").rmdir()
        (stack.runtime / "units").write_text("precious")
        tried = unboxed("try", "--", "/bin/true", home=stack.home)
        assert tried.returncode != 0
        assert "cannot try /bin/true: " in tried.stderr
        assert "nothing ran" in tried.stderr
        assert stack.row("good")["pid"] == pid
        (stack.runtime / "units").unlink()


def test_a_log_directory_that_is_a_file_is_moved_aside_and_said(stack: Stack) -> None:
    stack.log.write_text("precious")
    works(stack)
    [aside] = list(stack.home.glob(".log.moved-*"))
    assert aside.read_text() == "precious"
    assert stack.log.is_dir()
    assert heard(stack, "is no directory (links are not followed); moved to")


# --- somebody else's, and what is left of somebody ---


def test_a_second_supervisor_is_refused_and_the_first_goes_on(stack: Stack) -> None:
    with stack:
        pid = stack.wait("good", "running")["pid"]

        def found() -> dict[str, bytes]:
            """What the first goes on counting is its own."""
            return {path: data for path, data in tree(stack.runtime).items() if path != FIGURES}

        before = found()
        ran = subprocess.run(
            stack.argv(), capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert ran.returncode == 1
        assert ran.stderr == (
            f"cannot run in {stack.runtime}: another supervisor is running there"
            f" (keeper pid {stack.keeper}); nothing was started\n"
        )
        told = unboxed("run", "--plain", "--units", str(stack.units), home=stack.home)
        assert told.returncode == 1
        assert f"cannot use {stack.runtime} as runtime directory: another" in told.stderr
        assert found() == before
        assert stack.row("good")["pid"] == pid


def test_two_supervisors_with_one_log_directory_lose_nothing(tmp_path: Path) -> None:
    """The first has it locked; what the other's units say waits until it is free."""
    stacks = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        stacks.append(Stack(tmp_path / name, {"good": TALKER}))
    first, second = stacks
    second.log = first.log
    try:
        first.begin()
        mine = f"I am {first.wait('good', 'running')['pid']}\n".encode()
        first.until(lambda: stored(first) == mine, "its first word")
        with second:
            other = second.wait("good", "running")["pid"]
            line = heard(second, "another supervisor logs there")
            assert "cannot write" in line
            assert "; give one of them its own --log-dir; units wait when their pipes" in line
            assert stored(first) == mine
            first.end()
            heard(second, "can write")
            both = mine + f"I am {other}\n".encode()
            second.until(lambda: stored(first) == both, "the other's first word")
    finally:
        abandon(first)


def test_a_state_directory_that_is_a_file_is_named_and_kept(stack: Stack) -> None:
    state = stack.home / "state"
    state.write_text("precious")
    stack.log = state / "log"
    with stack:
        stack.wait("good", "running")
        line = heard(stack, "cannot write")
        assert f"cannot write {state}/log/" in line
        assert ": Not a directory; units wait when their pipes are full" in line
        assert state.read_text() == "precious"
        state.unlink()
        heard(stack, "can write")


def test_what_a_power_cut_left_is_no_hindrance(stack: Stack) -> None:
    stack.runtime.mkdir()
    for name in ("lock", "control", "status", "nudge", "log"):
        (stack.runtime / name).write_bytes(b"\0garbage\xff" * 100)
    (stack.runtime / "notify").mkdir()
    (stack.runtime / "notify" / "good").write_bytes(b"garbage")
    (stack.runtime / "units").mkdir()
    (stack.runtime / "units" / "try-1.toml").write_bytes(b"\0\0\0")
    with stack:
        stack.wait("good", "running")
        assert set(stack.rows()) == {"good"}, "what an earlier supervisor tried is forgotten"
    assert set(tree(stack.runtime)) == {"notify", "notify/good"}, "what is not ours"


def test_after_a_power_cut_in_the_midst_of_it_all_starts_anew(stack: Stack) -> None:
    stack.begin()
    first = stack.wait("good", "running")["pid"]
    assert stack.process is not None
    stack.process.kill()  # the keeper, and with it manager and logger
    stack.process.wait()
    with stack:
        row = stack.wait("good", "running")
        assert row["pid"] != first
        if row["tracking"] == "cgroup":
            stack.until(lambda: not alive(first), "what was left to be killed")
    if alive(first):
        os.kill(first, signal.SIGKILL)


# --- no permission ---


def readable_to_all() -> bool:
    """Whether an ordinary user can run the code that is tested."""
    words = [*AS_NOBODY, "test", "-r", str(ROOT / "supervisor/manager/main.py")]
    libraries = [[*AS_NOBODY, "test", "-x", path] for path in library_paths().split(":")]
    return all(not subprocess.run(w, check=False).returncode for w in [words, *libraries])


@pytest.fixture
def users(tmp_path: Path) -> Stack:
    """A stack of an ordinary user, in a directory of that user."""
    stack = Stack(tmp_path, {"good": SLEEP}, prefix=AS_NOBODY, env={"HOME": str(tmp_path)})
    if os.geteuid() == 0 and not readable_to_all():
        pytest.skip("an ordinary user cannot read the code that is tested")
    open_to_all(stack.home)
    os.chown(stack.home, NOBODY, NOBODY)
    os.chown(stack.units, NOBODY, NOBODY)
    for path in stack.units.iterdir():
        os.chown(path, NOBODY, NOBODY)
    return stack


@needs_root
def test_a_runtime_directory_that_may_not_be_written_is_refused(users: Stack) -> None:
    closed = users.home / "closed"
    closed.mkdir(mode=0o755)
    users.runtime = closed / "rt"
    message = refused(users)
    assert f": {closed}/rt: Permission denied; " in message
    assert tree(closed) == {}
    users.runtime = closed
    message = refused(users)
    assert f": {closed}/lock: Permission denied; " in message
    assert tree(closed) == {}


@needs_root
def test_a_log_directory_that_may_not_be_written_makes_units_wait(users: Stack) -> None:
    users.write("good", TALKER)
    os.chown(users.units / "good.toml", NOBODY, NOBODY)
    users.log.mkdir(mode=0o755)
    with users:
        pid = users.wait("good", "running")["pid"]
        line = heard(users, "cannot write")
        assert ": Permission denied; units wait when their pipes are full" in line
        os.chown(users.log, NOBODY, NOBODY)
        assert "nothing was lost" in heard(users, "can write")
        users.until(lambda: stored(users) == f"I am {pid}\n".encode(), "its word")


@needs_root
@pytest.mark.parametrize("what", ["file", "directory"])
def test_units_that_may_not_be_read_are_named(users: Stack, what: str) -> None:
    for name in ("secret", "good"):
        users.write(name, SLEEP)
        os.chown(users.units / f"{name}.toml", 0, 0)
    closed = users.units / "secret.toml" if what == "file" else users.units
    os.chown(closed, 0, 0)
    closed.chmod(0o600 if what == "file" else 0o700)
    with users:
        if what == "file":
            users.wait("good", "running")
        assert set(users.rows()) == ({"good"} if what == "file" else set())
        line = heard(users, f"{closed}:")
        assert MESSAGE.search(line), line
        assert ": permission denied; " in line


@needs_root
def test_an_ordinary_users_supervisor_cannot_become_another_user(users: Stack) -> None:
    users.write("bad", f'{SLEEP}user = "daemon"\n[restart]\nwhen = "never"\n')
    os.chown(users.units / "bad.toml", NOBODY, NOBODY)
    with users:
        row = users.wait("bad", "failed")
        assert row["reason"] == "only a supervisor that runs as root can run it as daemon"
        assert row["pid"] == 0
        users.wait("good", "running")


# --- read-only, and full ---


def mounted(folder: Path, options: str, then: str = ":") -> list[str]:
    """Words before a command that give it a tmpfs of its own at `folder`."""
    script = f'mount -t tmpfs -o mode=755,{options} none {folder} && {{ {then}; }} && exec "$@"'
    return ["unshare", "-m", "sh", "-c", script, "sh"]


@needs_root
def test_a_read_only_runtime_directory_is_refused(stack: Stack) -> None:
    stack.runtime.mkdir()
    message = refused(stack, mounted(stack.runtime, "ro"))
    assert f": {stack.runtime}/lock: Read-only file system; " in message


@needs_root
@pytest.mark.parametrize("inodes", range(1, 8))
def test_a_runtime_directory_without_room_for_all_is_refused_whole(
    stack: Stack, inodes: int
) -> None:
    """It takes eight inodes: whichever is the one too many, nobody is left running."""
    stack.runtime.mkdir()
    message = refused(stack, mounted(stack.runtime, f"nr_inodes={inodes}"))
    assert ": No space left on device; nothing was started" in message


@needs_root
def test_a_full_runtime_directory_is_refused(stack: Stack) -> None:
    stack.runtime.mkdir()
    fill = f"head -c 4096 /dev/zero > {stack.runtime}/fill"
    assert "No space left on device" in refused(stack, mounted(stack.runtime, "size=4k", fill))


def inside(stack: Stack, *words: str) -> str:
    """What a command says in the mount namespace of that supervisor."""
    assert stack.process is not None
    enter = ["nsenter", "--mount", f"--target={stack.process.pid}"]
    return subprocess.run([*enter, *words], capture_output=True, text=True, check=True).stdout


@needs_root
@pytest.mark.parametrize(
    "options, reason", [("ro", "Read-only file system"), ("size=4k", "No space left on device")]
)
@pytest.mark.parametrize("folder", ["log", "state"])
def test_without_room_for_logs_services_run_and_nothing_of_them_is_lost(
    tmp_path: Path, folder: str, options: str, reason: str
) -> None:
    """In its state directory a supervisor has its logs, unless they are elsewhere, and no more."""
    place = tmp_path / folder
    place.mkdir()
    fill = ":" if options == "ro" else f"head -c 4096 /dev/zero > {place}/fill"
    stack = Stack(tmp_path, {"good": TALKER}, prefix=mounted(place, options, fill))
    stack.log = place / "log"
    with stack:
        first = stack.wait("good", "running")["pid"]
        line = heard(stack, "cannot write")
        assert f": {reason}; units wait when their pipes are full" in line
        stack.call("Restart", units=["good"])
        second = stack.row("good")["pid"]
        assert second != first
        assert len(said(stack, "cannot write")) == 1
        inside(stack, "mount", "-o", "remount,rw,size=1m", str(place))
        assert "nothing was lost" in heard(stack, "can write")
        told = inside(stack, "sh", "-c", f"cat {stack.log}/good/*.log")
        assert told == f"I am {first}\nI am {second}\n"

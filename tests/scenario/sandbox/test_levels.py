"""What a level leaves a service, as /proc tells of the running process."""
from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.places import let_in
from tests.scenario.sandbox.kit import written
from tests.stack import Stack

SLEEP = 'command = ["/bin/sleep", "1000"]\n'
ALL = (1 << (int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1)) - 1
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def facts(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def capabilities(pid: int) -> dict[str, int]:
    known = facts(pid)
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    return {name: int(known[name], 16) for name in names}


def uid(pid: int) -> int:
    return int(facts(pid)["Uid"].split()[0])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where others than root get to."""
    let_in(tmp_path)
    return tmp_path


@needs_root
def test_level_base_leaves_roots_services_no_capability(home: Path) -> None:
    units = {
        "plain": SLEEP, "written": SLEEP + '[sandbox]\nlevel = "base"\n',
        "named": 'user = "nobody"\n' + SLEEP,
    }  # fmt: skip
    with Stack(home, units) as stack:
        for name in units:
            pid = stack.wait(name, "running")["pid"]
            held = capabilities(pid)
            del held["CapBnd"]  # gives none under no_new_privs: see tests/keeper/test_calls.py
            assert held == dict.fromkeys(held, 0), name
            assert facts(pid)["NoNewPrivs"] == "1"


@needs_root
def test_root_has_to_be_asked_for_and_level_off_takes_nothing(home: Path) -> None:
    units = {"asked": 'user = "root"\n' + SLEEP, "off": SLEEP + '[sandbox]\nlevel = "off"\n'}
    with Stack(home, units) as stack:
        own = capabilities(os.getpid())["CapBnd"]
        for name, forbidden in (("asked", "1"), ("off", "0")):
            pid = stack.wait(name, "running")["pid"]
            assert capabilities(pid)["CapBnd"] == own
            assert facts(pid)["NoNewPrivs"] == forbidden


def test_who_has_no_rights_to_give_gives_none(home: Path) -> None:
    units = {"plain": SLEEP, "off": SLEEP + '[sandbox]\nlevel = "off"\n'}
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if os.geteuid():
        prefix = []
    else:
        os.chown(home, 65534, 65534)
    with Stack(home, units, prefix=prefix) as stack:
        for name, forbidden in (("plain", "1"), ("off", "0")):
            pid = stack.wait(name, "running")["pid"]
            assert capabilities(pid)["CapEff"] == 0
            assert facts(pid)["NoNewPrivs"] == forbidden


@needs_root
def test_a_dynamic_user_is_nobody_elses_and_stays_over_restarts_and_managers(home: Path) -> None:
    text = 'user = "dynamic"\n' + SLEEP
    with Stack(home, {"one": text, "two": text + '[restart]\nwhen = "always"\n'}) as stack:
        first = uid(stack.wait("one", "running")["pid"])
        second = uid(stack.wait("two", "running")["pid"])
        assert len({first, second, 0, os.getuid()}) == 3
        row = stack.row("two")
        os.kill(row["pid"], signal.SIGKILL)
        row = stack.wait("two", "running", test=lambda now: now["pid"] != row["pid"])
        assert uid(row["pid"]) == second
        old = stack.manager
        os.kill(old, signal.SIGKILL)
        stack.until(lambda: stack.manager not in {0, old} and stack.answers(), "another manager")
        stack.call("Restart", units=["one"], wait=True)
        assert uid(stack.row("one")["pid"]) == first


@needs_root
def test_only_a_runtime_directory_that_was_made_for_it_goes_with_a_unit(home: Path) -> None:
    made, found = (Path(f"/run/unboxed-test-{os.getpid()}-{word}") for word in ("made", "found"))
    text = f'user = "nobody"\n{SLEEP}[restart]\nwhen = "never"\n'
    units = {
        "made": f'{text}[sandbox]\nruntime = ["{made.name}"]\n',
        "found": f'{text}[sandbox]\nruntime = ["{found.name}"]\n',
    }
    found.mkdir(mode=0o700)
    try:
        with Stack(home, units) as stack:
            stack.wait("made", "running")
            assert made.owner() == "nobody"
            stack.call("Stop", units=["made"], wait=True)
            assert not made.exists()
            assert stack.wait("found", "failed")["reason"].endswith(
                f"cannot use {found}: it is there already and belongs to root; choose another name"
            )
            stack.call("ResetFailed", units=["found"])
        assert found.is_dir()
        assert not stack.runtime.exists()
    finally:
        found.rmdir()


@needs_root
def test_a_dynamic_users_id_is_given_back_when_nothing_of_the_unit_runs(home: Path) -> None:
    with Stack(home, {"web": 'user = "dynamic"\ninstances = 2\n' + SLEEP}) as stack:
        number = uid(stack.wait("web/0", "running")["pid"])
        assert uid(stack.wait("web/1", "running")["pid"]) == number
        record = Path(f"/run/unboxed-ids/1/{number}")
        stack.call("Stop", units=["web/0"], wait=True)
        assert record.exists()
        stack.call("Stop", units=["web/1"], wait=True)
        assert not record.exists()


def test_descriptors_that_are_named_are_open_and_no_others(home: Path) -> None:
    key, out = home / "key", home / "out"
    key.write_text("secret")
    code = (
        "import os; os.write(5, os.read(4, 99));"
        " print(sorted(map(int, os.listdir('/proc/self/fd'))))"
    )
    text = (
        f'kind = "task"\ncommand = ["/usr/bin/python3", "-I", "-S", "-c", "{code}"]\n'
        f'[sandbox]\nopen = [{{ path = "{key}", fd = 4 }},'
        f' {{ path = "{out}", fd = 5, mode = "write" }}]\n'
    )
    with Stack(home, {"job": text}) as stack:
        stack.wait("job", "finished")
        assert out.read_text() == "secret"
        assert out.stat().st_mode & 0o777 == 0o600  # its own umask
        assert written(stack, "job", "[0, 1, 2, 3, 4, 5]")  # 3 is the directory that it lists


def test_a_descriptor_that_cannot_be_opened_refuses_the_start_by_name(home: Path) -> None:
    fifo, link = home / "fifo", home / "link"
    os.mkfifo(fifo)
    link.symlink_to(home / "elsewhere")
    units = {
        "gone": f'{SLEEP}[sandbox]\nopen = [{{ path = "{home}/none", fd = 4 }}]\n',
        "fifo": f'{SLEEP}[sandbox]\nopen = [{{ path = "{fifo}", fd = 4 }}]\n',
        "link": f'{SLEEP}[sandbox]\nopen = [{{ path = "{link}", fd = 4, mode = "write" }}]\n',
    }
    units = {name: text + '[restart]\nwhen = "never"\n' for name, text in units.items()}
    with Stack(home, units) as stack:
        reasons = {name: stack.wait(name, "failed")["reason"] for name in units}
        assert "No such file" in reasons["gone"]
        assert f"{fifo} is a FIFO" in reasons["fifo"]
        assert "symbolic links" in reasons["link"]
        assert not (home / "elsewhere").exists()


def test_a_limit_on_open_files_is_not_in_the_way_of_the_sandbox(tmp_path: Path) -> None:
    text = (
        'command = ["/bin/sh", "-c", "echo may open $(ulimit -n); exec /bin/sleep 1000"]\n'
        '[limits]\nfiles = 16\n[sandbox]\nlevel = "app"\nrequire = "best"\n'
    )
    with Stack(tmp_path, {"web": text}) as stack:
        stack.wait("web", "running")
        assert "may open 16" in written(stack, "web", "may open")

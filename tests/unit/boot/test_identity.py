"""Step identity on a machine made of files."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from supervisor.boot import _clock, _machine_id, _places, _seed, _utmp, identity
from supervisor.boot._tools import Ended
from tests.unit.boot.machine_kit import NOW_S, Made

ID = "0123456789abcdef0123456789abcdef"


# --- machine id ---


def test_a_machine_id_is_made_once(machine: Made) -> None:
    _machine_id.ensure(machine)
    path = Path(machine.path("/etc/machine-id"))
    made = path.read_text()
    assert len(made) == 33
    assert made[12] == "4", "a random UUID"
    assert made[16] in "89ab"
    assert path.stat().st_mode & 0o777 == 0o444
    assert Path(machine.path("/run/unboxed/first-boot")).exists()
    _machine_id.ensure(machine)
    assert path.read_text() == made


@pytest.mark.parametrize(
    "text", ["", "uninitialized\n", "0" * 32, ID.upper(), ID[:-1], ID + "\n\n"])
def test_what_is_no_id_is_replaced(machine: Made, text: str) -> None:
    machine.write("/etc/machine-id", text)
    _machine_id.ensure(machine)
    assert _machine_id.valid(machine.read("/etc/machine-id"))


def test_an_id_that_is_there_stays_and_this_is_no_first_boot(machine: Made) -> None:
    machine.write("/etc/machine-id", f"{ID}\n")
    _machine_id.ensure(machine)
    assert machine.read("/etc/machine-id") == f"{ID}\n"
    assert not machine.exists("/run/unboxed/first-boot")


def test_the_command_line_gives_an_id_before_dbus_does(machine: Made) -> None:
    machine.write("/var/lib/dbus/machine-id", "f" * 32 + "\n")
    machine.write("/proc/cmdline", "systemd.machine_id=01234567-89ab-cdef-0123-456789abcdef\n")
    _machine_id.ensure(machine)
    assert machine.read("/etc/machine-id") == f"{ID}\n"


def test_dbus_gives_its_own_and_keeps_it(machine: Made) -> None:
    machine.write("/var/lib/dbus/machine-id", f"{ID}\n")
    _machine_id.ensure(machine)
    assert machine.read("/etc/machine-id") == machine.read("/var/lib/dbus/machine-id")


def unwritable(monkeypatch: pytest.MonkeyPatch, machine: Made) -> None:
    """As root would find it: /etc is on a read-only file system."""
    write = _machine_id._write

    def refuse(path: str, made: str) -> None:
        if path.startswith(machine.path("/etc")):
            raise OSError(30, "Read-only file system", path)
        write(path, made)

    monkeypatch.setattr(_machine_id, "_write", refuse)


def test_where_etc_cannot_be_written_one_for_this_boot_is_mounted_over_it(
    machine: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwritable(monkeypatch, machine)
    machine.write("/etc/machine-id", "")
    _machine_id.ensure(machine)
    made, place = machine.path("/run/machine-id"), machine.path("/etc/machine-id")
    assert machine.noted.calls == [("mount", "--bind", made, place)]
    assert _machine_id.valid(machine.read("/run/machine-id"))


def test_without_a_file_to_mount_over_that_is_told(
    machine: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwritable(monkeypatch, machine)
    _machine_id.ensure(machine)
    assert machine.noted.calls == []
    assert "there is no such file to mount one over" in machine.said()


# --- random seed ---


@pytest.fixture
def seeded(machine: Made) -> Made:
    """A machine with an id whose shutdown has saved a seed."""
    machine.write("/etc/machine-id", f"{ID}\n")
    _seed.save(machine, marked=True)
    try:
        os.getxattr(machine.path(_seed.PATH), _seed.MARK)
    except OSError:
        pytest.skip("this directory's file system has no extended attributes of users")
    return machine


def seed(machine: Made) -> bytes:
    return Path(machine.path(_seed.PATH)).read_bytes()


def test_a_saved_seed_counts_once_and_is_replaced(seeded: Made) -> None:
    old = seed(seeded)
    assert len(old) == _seed.BYTES
    assert _seed.load(seeded) == f"random seed: {_seed.BYTES} bytes"
    fed = Path(seeded.path("/dev/urandom")).read_bytes()
    assert fed[: len(old)] == old
    assert seed(seeded) != old
    again = _seed.load(seeded)
    assert "do not count" in again, "a power failure later, nobody had saved it"
    assert Path(seeded.path(_seed.PATH)).stat().st_mode & 0o777 == 0o600


def test_a_seed_of_another_machine_does_not_count(seeded: Made) -> None:
    seeded.write("/etc/machine-id", "f" * 32)
    assert "do not count" in _seed.load(seeded)


def test_a_copied_seed_does_not_count(seeded: Made) -> None:
    path = Path(seeded.path(_seed.PATH))
    copied = path.read_bytes()
    path.unlink()
    path.write_bytes(copied)
    assert "do not count" in _seed.load(seeded)


def test_a_first_seed_is_made(machine: Made) -> None:
    assert _seed.load(machine) == "random seed: there was none; one is made"
    assert len(seed(machine)) == _seed.BYTES


def test_a_seed_that_is_no_file_is_not_opened(machine: Made) -> None:
    secret = machine.write("/etc/shadow", "secret")
    Path(machine.path("/var/lib/unboxed")).mkdir(parents=True)
    Path(machine.path(_seed.PATH)).symlink_to(secret)
    assert "cannot read" in _seed.load(machine)
    assert secret.read_text() == "secret"


def test_a_new_seed_is_made_of_the_old_one_too(seeded: Made) -> None:
    other = Made(Path(seeded.root) / "other")
    other.write(_seed.PATH, "another")
    for each in (seeded, other):
        each.write("/dev/urandom", "the same" * 80)
        _seed.save(each, marked=False)
    assert seed(seeded) != seed(other)


# --- clock ---


def test_a_clock_before_our_release_is_set_to_it(machine: Made) -> None:
    machine.clock_s = 12.0
    _clock.forward(machine)
    assert machine.clock_s == _clock.RELEASED_S
    assert "it was 1970-01-01 00:00:12 UTC" in machine.said()


def test_a_clock_before_the_last_run_is_set_to_its_end(machine: Made) -> None:
    _clock.stamp(machine)
    machine.clock_s = NOW_S - 1000
    _clock.forward(machine)
    assert machine.clock_s == NOW_S


def test_a_clock_after_all_that_is_known_goes_on(machine: Made) -> None:
    _clock.stamp(machine)
    machine.clock_s = NOW_S + 1000
    _clock.forward(machine)
    assert machine.clock_s == NOW_S + 1000
    assert machine.told == []


@pytest.mark.parametrize("text, calls", [
    ("0.0 0 0.0\n0\nLOCAL\n", [("hwclock", "--systz")]), ("0.0 0 0.0\n0\nUTC\n", []), ("", []),
])
def test_the_kernel_is_told_once_of_a_hardware_clock_that_keeps_local_time(
    machine: Made, text: str, calls: list[tuple[str, ...]]
) -> None:
    machine.write("/etc/adjtime", text)
    _clock.early(machine)
    _clock.early(machine)
    assert machine.noted.calls == calls


# --- records ---


def records(path: str) -> list[tuple[int, str, str]]:
    size = _utmp.record().size
    data = Path(path).read_bytes()
    assert len(data) % size == 0
    fields = [_utmp.record().unpack_from(data, at) for at in range(0, len(data), size)]
    return [(row[0], row[4].rstrip(b"\0").decode(), row[2].rstrip(b"\0").decode())
            for row in fields]


def test_a_boot_and_a_shutdown_are_recorded(machine: Made) -> None:
    machine.write("/proc/stat", "cpu 1 2\nbtime 1800000000\n")
    machine.write("/var/log/wtmp", "")
    _utmp.booted(machine)
    _utmp.shut_down(machine)
    boot = [(2, "reboot", "~"), (1, "runlevel", "~")]
    assert records(machine.path("/run/utmp")) == boot
    assert records(machine.path("/var/log/wtmp")) == [*boot, (1, "shutdown", "~")]


def test_no_wtmp_is_made_where_there_is_none(machine: Made) -> None:
    _utmp.booted(machine)
    assert not machine.exists("/var/log/wtmp")
    assert machine.exists("/run/utmp")


def test_who_reads_when_the_machine_was_booted(machine: Made) -> None:
    machine.write("/proc/stat", "btime 1800000000\n")
    _utmp.booted(machine)
    said = subprocess.run(
        ["who", "-b", "-r", machine.path("/run/utmp")], capture_output=True, text=True,
        check=True, env={"TZ": "UTC", "LC_ALL": "C", "PATH": os.environ["PATH"]}).stdout
    assert "system boot  Jan 15 08:00" in said
    assert "run-level 3" in said


# --- directories ---


def test_directories_are_there_with_their_permissions(machine: Made) -> None:
    machine.write("/etc/passwd", f"postgres:x:{os.getuid()}:{os.getgid()}::/:/bin/sh\n")
    machine.write("/etc/group", f"postgres:x:{os.getgid()}:\n")
    Path(machine.path("/var/run")).mkdir()
    problems = [each for each in _places.make(machine) if "not permitted" not in each]
    assert problems == []
    modes = {"/tmp": 0o1777, "/run/lock": 0o1777, "/run/user": 0o755, "/run/postgresql": 0o2775}
    for path, mode in modes.items():
        assert os.stat(machine.path(path)).st_mode & 0o7777 == mode, path
    assert not machine.exists("/run/redis"), "there is no user redis"
    assert not machine.exists("/run/systemd/system"), "systemd does not run this machine"
    assert os.path.isdir(machine.path("/var/run")), "what is there is left alone"
    assert os.readlink(machine.path("/var/lock")) == "/run/lock"
    assert os.readlink(machine.path("/dev/fd")) == "/proc/self/fd"


def litter(machine: Made) -> tuple[Path, Path]:
    machine.write("/tmp/a/b", "")
    outside = machine.write("/home/mine", "")
    Path(machine.path("/tmp/link")).symlink_to(outside.parent)
    Path(machine.path("/tmp/.X11-unix")).mkdir()
    return Path(machine.path("/tmp")), outside


def test_tmp_is_emptied_and_nothing_behind_its_links(machine: Made) -> None:
    folder, outside = litter(machine)
    assert _places.clean_tmp(machine) == 0
    assert [each.name for each in folder.iterdir()] == [".X11-unix"]
    assert outside.exists()


def test_nothing_is_removed_from_what_is_mounted_below_tmp(machine: Made) -> None:
    folder, _ = litter(machine)
    mine = [machine.write(f"/tmp/{place}/mine", "") for place in ("same", "deep/er", "a b")]
    root = machine.read("/proc/self/mountinfo")
    machine.write("/proc/self/mountinfo", root + "".join(
        f"3{n} 22 98:0 /home {place} rw - ext4 /dev/root rw\n"  # the same disk, as by bind
        for n, place in enumerate(("/tmp/same", "/tmp/deep/er", "/tmp/a\\040b"))))
    assert _places.clean_tmp(machine) == 0
    assert all(each.exists() for each in mine)
    assert not (folder / "a").exists()


def test_tmp_is_left_to_systemd_tmpfiles_where_that_is(machine: Made) -> None:
    folder, _ = litter(machine)
    machine.write("/bin/systemd-tmpfiles", "")
    _places.clean_tmp(machine)
    assert (folder / "a" / "b").exists()


# --- the step ---


def test_what_is_for_one_time_a_boot_is_not_done_again(machine: Made) -> None:
    machine.write("/var/log/wtmp", "")
    assert identity.run(machine) == 0
    first = seed(machine)
    kept = machine.write("/tmp/kept", "")
    assert identity.run(machine) == 0
    assert kept.exists()
    assert seed(machine) == first
    assert len(records(machine.path("/var/log/wtmp"))) == 2


def test_nothing_of_it_fails_a_boot(machine: Made) -> None:
    Path(machine.path("/var")).rmdir()
    machine.write("/var", "a file where a directory should be")
    assert identity.run(machine) == 0
    assert "random seed: cannot read" in machine.said()
    assert "cannot note the time: " in machine.said()
    assert _machine_id.valid(machine.read("/etc/machine-id"))


def test_the_end_of_a_run_saves_what_the_next_takes_up(machine: Made) -> None:
    identity.run(machine)
    machine.write("/var/log/wtmp", "")
    machine.clock_s += 500
    assert identity.save(machine) == 0
    assert os.stat(machine.path(_clock.STAMP)).st_mtime == NOW_S + 500
    assert records(machine.path("/var/log/wtmp")) == [(1, "shutdown", "~")]


def test_a_step_on_a_machine_that_is_not_ours_does_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UNBOXED_UNIT", "filesystems")
    monkeypatch.setattr(os, "getppid", lambda: 4711)
    monkeypatch.setattr(identity, "run", lambda _: pytest.fail("it was run"))
    assert identity.main([]) == 0
    assert "nothing was done" in capsys.readouterr().out


def test_a_word_that_a_step_does_not_know_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert identity.main(["--sav"]) == 2
    assert "it takes --save; nothing was done" in capsys.readouterr().err


def test_a_step_tells_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert identity.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: unboxed boot identity [--save]\n")
    assert "machine id, random seed" in said


def test_an_end_is_told_in_words() -> None:
    assert Ended(137, "").words() == "killed by SIGKILL"
    assert Ended(255, "a\n b\n").words() == "a; b (exit code 255)"

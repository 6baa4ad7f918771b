"""Ends of a machine: unboxed poweroff and its like, classic names, and PID 1 where nobody answers.

Nothing here may reach the PID 1 of the host that the tests run on.
"""
from __future__ import annotations

import os
import pty
import re
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.cli import classic, first_process, power, scheduled, wall
from supervisor.cli.call import Failure
from supervisor.cli.main import CLASSIC, main
from tests.unit.cli.fake import NOW_NS, Cli, FakeSupervisor, Outcome, Refusal, instance

S = 10**9
Named = Callable[..., Outcome]


class Init:
    """PID 1, and who else there is to be told."""

    def __init__(self) -> None:
        self.name = "unboxed-init"
        self.uid = 0
        self.signals: list[tuple[int, int]] = []
        self.resets: list[tuple[str, bool]] = []
        self.said: list[str] = []

    def reset(self, verb: str, *, sync: bool = True) -> int:
        first_process.check(verb)
        self.resets.append((verb, sync))
        return 0

    def wall(self, text: str) -> int:
        self.said.append(text)
        return 1


@pytest.fixture(autouse=True)
def init(monkeypatch: pytest.MonkeyPatch) -> Init:
    made = Init()
    monkeypatch.setattr(first_process, "name", lambda: made.name)
    monkeypatch.setattr(first_process, "at_once", made.reset)
    monkeypatch.setattr(os, "geteuid", lambda: made.uid)
    monkeypatch.setattr(os, "kill", lambda pid, number: made.signals.append((pid, number)))
    monkeypatch.setattr(wall, "wall", made.wall)
    monkeypatch.setattr(scheduled, "wall", made.wall)
    return made


@pytest.fixture
def named(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, runtime: Path
          ) -> Named:
    """Run this program by another name."""
    assert runtime.is_dir()

    def run(name: str, *words: str) -> Outcome:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", [f"/usr/sbin/{name}", *words])
        code = main()
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture
def ends(fake: FakeSupervisor) -> list[dict[str, Any]]:
    """What a supervisor was asked to do with its machine."""
    asked: list[dict[str, Any]] = []

    def end(given: dict[str, Any]) -> dict[str, Any]:
        asked.append(given)
        return {"deadline_ns": NOW_NS + 90 * S}

    fake.answers["End"] = end
    return asked


# --- asking the supervisor ------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["poweroff", "reboot", "halt", "kexec"])
def test_each_verb_asks_for_what_it_says(ends: list[dict[str, Any]], cli: Cli, verb: str) -> None:
    done = cli(verb)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"going to {power.DOING[verb]}: everything is stopped within 90 s\n"
    assert ends == [{"action": verb, "timeout_ns": 0, "now": False}]


def test_timeout_force_and_message(ends: list[dict[str, Any]], cli: Cli, init: Init) -> None:
    assert cli("reboot", "--timeout", "1m", "-m", "new kernel").code == 0
    assert cli("reboot", "--timeout=5", "--force").code == 0
    assert ends == [{"action": "reboot", "timeout_ns": 60 * S, "now": False},
                    {"action": "reboot", "timeout_ns": 5 * S, "now": True}]
    assert init.said == ["new kernel"]


@pytest.mark.parametrize("words", [("-f", "-f"), ("--force", "--force"), ("-ff",)])
def test_force_given_twice_asks_nobody(
    ends: list[dict[str, Any]], cli: Cli, init: Init, words: tuple[str, ...]
) -> None:
    assert cli("reboot", *words).code == 0
    assert init.resets == [("reboot", True)]
    assert not ends


@pytest.mark.parametrize("time", ["0", "soon", "-1", ""])
def test_a_timeout_that_is_none_is_bad_usage(
    ends: list[dict[str, Any]], cli: Cli, time: str
) -> None:
    done = cli("reboot", f"--timeout={time}")
    assert done.code == 2
    assert done.err.startswith("cannot reboot: --timeout: cannot use")
    assert not ends


def test_without_a_name_it_is_the_machines_supervisor_for_every_user(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNBOXED_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert power.runtime_dir() == "/run/unboxed"
    assert power.runtime_dir("/run/b") == "/run/b"


# --- when it does not do it -----------------------------------------------------------------------


def test_pid_1_is_signalled_where_nobody_answers(runtime: Path, cli: Cli, init: Init) -> None:
    assert runtime.is_dir()
    for verb, number in (("halt", 37), ("poweroff", 38), ("reboot", 39), ("kexec", 40)):
        done = cli(verb)
        assert done.code == 0
        assert f"PID 1 was sent signal {number} instead" in done.err
        assert init.signals.pop() == (1, number)


@pytest.mark.parametrize("words", [("reboot",), ("reboot", "-ff"), ("reboot", "-m", "bye")])
def test_a_host_of_another_init_is_left_alone(
    runtime: Path, cli: Cli, init: Init, words: tuple[str, ...]
) -> None:
    assert runtime.is_dir()
    init.name = "systemd"
    done = cli(*words)
    assert done.code == 1
    assert done.err.startswith(
        "cannot reboot: PID 1 of this host is systemd, not unboxed-init; nothing was done")
    assert not init.signals
    assert not init.resets
    assert not init.said


def test_who_is_not_root_cannot_go_around_it(runtime: Path, cli: Cli, init: Init) -> None:
    assert runtime.is_dir()
    init.uid = 1000
    assert cli("reboot") == (
        4, "", "cannot reboot: only root may signal PID 1; nothing was done\n")
    assert not init.signals


def test_who_cannot_see_what_pid_1_is_asks_the_supervisor(
    fake: FakeSupervisor, ends: list[dict[str, Any]], named: Named, init: Init
) -> None:
    init.uid, init.name = 1000, "init"
    assert named("reboot").code == 1
    fake.supervisor["keeper_pid"] = 1
    assert named("reboot").code == 0
    assert [one["action"] for one in ends] == ["reboot"]


def test_a_supervisor_that_boots_no_machine_is_not_gone_around(
    fake: FakeSupervisor, cli: Cli, init: Init
) -> None:
    words = "cannot reboot: this supervisor boots no machine; nothing was changed"

    def refuse(_: object) -> None:
        raise Refusal("Failed", message=words)

    fake.answers["End"] = refuse
    assert cli("reboot") == (1, "", f"{words}\n")
    init.name = "systemd"
    assert "PID 1 of this host is systemd" in cli("reboot").err
    assert not init.signals


def test_who_may_not_is_told_so(fake: FakeSupervisor, cli: Cli, init: Init) -> None:
    def refuse(_: object) -> None:
        raise Refusal("NotPermitted", reason="no", message="cannot end the machine: no; nothing")

    fake.answers["End"] = refuse
    assert cli("poweroff") == (4, "", "cannot end the machine: no; nothing\n")
    assert not init.signals


# --- classic names --------------------------------------------------------------------------------


@pytest.mark.parametrize("name, words, action", [
    ("poweroff", (), "poweroff"), ("reboot", (), "reboot"), ("halt", (), "halt"),
    ("halt", ("-p",), "poweroff"), ("halt", ("--reboot",), "reboot"),
    ("poweroff", ("--halt",), "halt"), ("shutdown", ("now",), "poweroff"),
    ("shutdown", ("-h", "now"), "poweroff"), ("shutdown", ("-P", "+0"), "poweroff"),
    ("shutdown", ("-r", "now", "new", "-k"), "reboot"), ("shutdown", ("-H", "now"), "halt"),
    ("shutdown", ("-h", "-H", "now"), "halt"), ("shutdown", ("now", "-r"), "reboot"),
])  # fmt: skip
def test_classic_names_mean_what_they_mean(
    ends: list[dict[str, Any]], named: Named, name: str, words: tuple[str, ...], action: str
) -> None:
    assert named(name, *words).code == 0
    assert ends == [{"action": action, "timeout_ns": 0, "now": False}]


def test_classic_force(ends: list[dict[str, Any]], named: Named, init: Init) -> None:
    assert named("reboot", "-f").code == 0
    assert ends == [{"action": "reboot", "timeout_ns": 0, "now": True}]
    assert named("reboot", "-ff").code == 0
    assert named("poweroff", "-f", "-n", "--force").code == 0
    assert init.resets == [("reboot", True), ("poweroff", False)]


def test_everybody_is_told_unless_nobody_is_to_be(
    ends: list[dict[str, Any]], named: Named, init: Init
) -> None:
    named("reboot")
    named("shutdown", "-r", "now", "we", "are", "moving")
    assert init.said == ["The system will reboot now!", "we are moving"]
    named("reboot", "--no-wall")
    named("shutdown", "--no-wall", "now")
    assert len(init.said) == 2
    assert len(ends) == 4


@pytest.mark.parametrize("name, words", [
    ("reboot", ("-x",)), ("reboot", ("--what",)), ("reboot", ("now",)), ("reboot", ("-n",)),
    ("shutdown", ("-f", "now")), ("shutdown", ("tomorrow",)), ("shutdown", ("25:00",)),
    ("shutdown", ("12:5",)), ("shutdown", ("+1h",)),
])  # fmt: skip
def test_what_means_nothing_is_refused(
    ends: list[dict[str, Any]], named: Named, init: Init, name: str, words: tuple[str, ...]
) -> None:
    done = named(name, *words)
    assert done.code == 2
    assert done.err.startswith(f"cannot run `{name}`: ")
    assert not ends
    assert not init.said


@pytest.mark.parametrize("name", CLASSIC)
def test_help_is_no_shutdown(ends: list[dict[str, Any]], named: Named, name: str) -> None:
    assert named(name, "--help").out.startswith(name)
    assert not ends


def test_on_a_host_of_another_init_nobody_is_told(
    runtime: Path, named: Named, init: Init
) -> None:
    assert runtime.is_dir()
    init.name = "systemd"
    for name, words in (("reboot", ()), ("shutdown", ("now",)), ("shutdown", ("+5",))):
        assert named(name, *words).code == 1
    assert not init.said


@pytest.fixture
def utc() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


NOON = 1_767_268_800  # 2026-01-01 12:00:00 UTC


@pytest.mark.parametrize("text, seconds", [
    ("now", 0), ("+0", 0), ("+5", 300), ("90", 5400), ("12:01", 60), ("23:30", 41_400),
    ("12:00", 86_400), ("0:15", 44_100), ("11:59", 86_340),
])  # fmt: skip
def test_times(text: str, seconds: int, utc: None) -> None:
    assert classic.moment(text, NOON) == NOON + seconds


@pytest.mark.parametrize("text", ["24:00", "1:5", "\u00b2:00", "12:\u00b22", "-5", "later", ""])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(Failure, match="is no time"):
        classic.moment(text, NOON)


# --- later ----------------------------------------------------------------------------------------


def later(fake: FakeSupervisor) -> list[dict[str, Any]]:
    tried: list[dict[str, Any]] = []

    def attempt(asked: dict[str, Any]) -> dict[str, Any]:
        tried.append(asked)
        description = asked["keys"]["description"]
        fake.instances.append(instance(f"try-{len(tried)}", description=description))
        return {"unit": f"try-{len(tried)}"}

    def each(asked: dict[str, Any]) -> dict[str, Any]:
        return {"results": [{"key": key, "ok": True, "message": "", "code": 0}
                            for key in asked["units"]]}

    fake.answers |= {"Try": attempt, "Start": each, "Stop": each}
    return tried


def test_a_shutdown_is_scheduled_as_a_unit_that_replaces_the_one_before_and_can_be_cancelled(
    fake: FakeSupervisor, named: Named, init: Init
) -> None:
    tried = later(fake)
    done = named("shutdown", "-r", "+5", "new", "kernel")
    assert (done.code, done.err) == (0, "")
    (asked,) = tried
    when, verb, tell, message = asked["command"][3:]
    assert when.startswith("+")
    assert abs(int(when) - time.clock_gettime(time.CLOCK_BOOTTIME) - 300) < 60
    assert (verb, tell, message) == ("reboot", "1", "new kernel")
    assert asked["keys"]["description"].startswith("Scheduled shutdown: reboot at 20")

    assert named("shutdown", "--no-wall").code == 0  # in a minute
    assert tried[1]["command"][4:] == ["poweroff", "0", ""]
    assert ("Stop", {"units": ["try-1"], "wait": False}) in fake.asked
    fake.instances[0]["state"] = "stopped"
    done = named("shutdown", "--show")
    assert done.code == 0
    assert re.fullmatch(r"poweroff at \S+ \S+ is scheduled; `shutdown -c` cancels it\n", done.out)

    assert named("shutdown", "-c").code == 0
    assert ("Stop", {"units": ["try-2"], "wait": True}) in fake.asked
    assert init.said == ["The shutdown has been cancelled."]
    fake.instances[1]["state"] = "stopped"
    assert named("shutdown", "-c").code == 1
    assert named("shutdown", "--show")[:2] == (1, "no shutdown is scheduled\n")


def test_a_time_of_the_day_is_waited_for_as_such(fake: FakeSupervisor, named: Named) -> None:
    tried = later(fake)
    assert named("shutdown", "-r", "23:59").code == 0
    assert 0 < int(tried[0]["command"][3]) - time.time() <= 86_400


def test_what_means_something_in_a_units_command_is_told_as_it_was_written(
    fake: FakeSupervisor, ends: list[dict[str, Any]], named: Named, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard = "{unit} is 100% off\n{port:web} \u00e9"
    said: list[str] = []
    monkeypatch.setattr(scheduled, "wait", lambda *given, **_: said.append(given[2]))
    tried = later(fake)
    assert named("shutdown", "+5", hard).code == 0
    command = tried[0]["command"]
    assert "{" not in command[-1]
    assert scheduled.main(command[3:]) == 0
    assert said == [hard]
    assert ends


@pytest.mark.parametrize("state", ["failed", "starting", "waiting", "stopped"])
def test_nothing_is_scheduled_in_a_rescue_shell_for_it_would_boot_again(
    fake: FakeSupervisor, named: Named, state: str
) -> None:
    tried = later(fake)
    fake.instances.append(instance("boot", state=state))
    done = named("shutdown", "-r", "+5")
    assert done.code == 1
    assert "`shutdown now` is possible" in done.err
    assert not tried
    fake.instances[0]["state"] = "running"
    assert named("shutdown", "-r", "+5").code == 0


def test_only_the_message(ends: list[dict[str, Any]], named: Named, init: Init) -> None:
    assert named("shutdown", "-k", "now", "just kidding").code == 0
    assert named("shutdown", "-k", "+10").code == 0
    assert init.said[0] == "just kidding"
    assert init.said[1].startswith("The system will power off at 20")
    assert not ends


class Clock:
    """Time as the waiting program sees it; each sleep advances it."""

    def __init__(self) -> None:
        self.now = float(NOON)
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", made.time)
    monkeypatch.setattr(time, "sleep", made.sleep)
    monkeypatch.setattr(scheduled, "NOLOGIN", str(tmp_path / "nologin"))
    return made


def test_it_warns_at_once_and_as_the_time_comes_closer(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at: list[float] = []
    nologin: list[bool] = []

    def say(_text: str) -> int:
        at.append(NOON + 4000 - clock.now)
        nologin.append((tmp_path / "nologin").exists())
        return 1

    monkeypatch.setattr(scheduled, "wall", say)
    scheduled.wait(str(NOON + 4000), "reboot", "new kernel", tell=True)
    assert clock.now == pytest.approx(NOON + 4000, abs=0.1)
    assert [round(left) for left in at] == [4000, 3600, 1800, 900, 600, 300, 60]
    assert (tmp_path / "nologin").read_text().startswith("new kernel\nThe system will reboot")
    assert max(clock.slept) <= 30


def test_it_follows_a_clock_that_is_set(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if len(clock.slept) < 4:
            clock.now -= 100

    monkeypatch.setattr(time, "sleep", sleep)
    scheduled.wait(str(NOON + 60), "reboot", "", tell=False)
    assert clock.now == pytest.approx(NOON + 60, abs=0.1)
    assert sum(clock.slept) == pytest.approx(360, abs=0.1)


def test_minutes_from_now_do_not_follow_a_clock_that_is_set(
    clock: Clock, init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = 1000.0

    def sleep(seconds: float) -> None:
        nonlocal up
        up += seconds
        clock.now -= 10_000_000

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(scheduled, "_uptime", lambda: up)
    scheduled.wait("+1300", "reboot", "", tell=True)
    assert up == pytest.approx(1300, abs=0.1)
    at = scheduled.clock(NOON + 300)
    assert init.said == [f"The system will reboot at {at}!"] * 2, "at 300 s and at 60 s"


def test_nobody_is_told_or_kept_out_by_one_that_is_far_away_and_silent(
    clock: Clock, init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_seconds: float) -> None:
        raise scheduled._Cancelled

    monkeypatch.setattr(time, "sleep", stop)
    assert scheduled.main([str(int(clock.now) + 301), "reboot", "0", ""]) == 0
    assert not init.said
    assert not (tmp_path / "nologin").exists()


def test_when_it_is_cancelled_logins_are_possible_again(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_seconds: float) -> None:
        assert (tmp_path / "nologin").exists()
        raise scheduled._Cancelled

    monkeypatch.setattr(time, "sleep", stop)
    assert scheduled.main([str(int(clock.now) + 100), "reboot", "0", ""]) == 0
    assert not (tmp_path / "nologin").exists()


def test_at_its_time_it_asks(clock: Clock, ends: list[dict[str, Any]]) -> None:
    assert scheduled.main([str(int(clock.now) - 5), "halt", "1", ""]) == 0
    assert [one["action"] for one in ends] == ["halt"]


# --- terminals ------------------------------------------------------------------------------------


def test_a_message_reaches_those_who_are_logged_in_and_waits_for_nobody(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    path = os.ttyname(theirs)
    (tmp_path / "tty1").symlink_to("/dev/null")
    rows = [(7, 42, path.removeprefix("/dev/")), (8, 43, "pts/9999"), (7, 44, "../etc/passwd")]
    size = wall._SIZES.get(os.uname().machine, 384)
    data = b"".join(struct.pack("=hxxi32s", kind, pid, name.encode()).ljust(size, b"\0")
                    for kind, pid, name in rows)
    (tmp_path / "utmp").write_bytes(data)
    assert list(wall.terminals(str(tmp_path / "utmp"), "/dev")) == [path.removeprefix("/dev/")]
    os.set_blocking(ours, False)
    os.environ["SUDO_USER"] = "me\x9b31m"
    sent = WALL("down\x1b[2J soon\r\nor later", str(tmp_path / "utmp"), "/dev")
    del os.environ["SUDO_USER"]
    assert sent == 1
    text = os.read(ours, 4096).decode()
    assert "Broadcast message from me 31m@" in text
    assert "\ndown [2J soon" in text
    assert "\nor later" in text
    for fd in (ours, theirs):
        os.close(fd)


WALL = wall.wall  # the real one


def test_without_a_list_of_logins_it_is_all_pseudo_terminals(tmp_path: Path) -> None:
    (tmp_path / "pts").mkdir()
    for name in ("0", "3", "ptmx"):
        (tmp_path / "pts" / name).write_text("")
    assert list(wall.terminals(str(tmp_path / "none"), str(tmp_path))) == ["pts/0", "pts/3"]
    assert WALL("text", str(tmp_path / "none"), str(tmp_path)) == 0  # files are no terminals
    assert not (tmp_path / "pts" / "0").read_text()


def test_a_failure_names_pid_1(init: Init) -> None:
    init.name = ""
    with pytest.raises(Failure, match="PID 1 of this host is unknown"):
        first_process.check("reboot")

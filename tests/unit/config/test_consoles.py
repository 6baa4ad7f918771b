"""Which consoles get a login, by what the kernel shows in /sys."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from supervisor.config import consoles, load


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


class Host:
    """What a kernel shows, in a directory."""

    def __init__(self, home: Path) -> None:
        self.sys, self.dev, self.units = home / "sys", home / "dev", home / "units"
        self.dev.mkdir()

    def has(self, active: str, ttys: Sequence[str], *, screen: bool) -> None:
        for name in ttys:
            (self.sys / "class/tty" / name).mkdir(parents=True)
            (self.dev / name).touch()
        (self.sys / "class/tty/console").mkdir(parents=True)
        (self.sys / "class/tty/console/active").write_text(f"{active}\n")
        if screen:
            (self.sys / "class/tty/tty0/active").write_text("tty1\n")

    def found(self) -> list[tuple[str, str]]:
        return consoles.consoles(str(self.sys), str(self.dev))

    def write(self) -> list[str]:
        return consoles.write(str(self.units), sys=str(self.sys), dev=str(self.dev))


def test_the_first_screen_and_every_serial_console_get_a_login(host: Host) -> None:
    host.has("tty0 ttyS0", ["tty0", "tty1", "tty2", "ttyS0", "ttyS1"], screen=True)
    assert host.found() == [("tty1", "linux"), ("ttyS0", "vt220")]


def test_a_tty0_that_is_no_screen_is_a_console_itself(host: Host) -> None:
    host.has("tty0", ["tty0", "tty1"], screen=False)
    assert host.found() == [("tty0", "vt220")]


def test_the_first_screen_gets_one_though_the_kernel_speaks_elsewhere(host: Host) -> None:
    host.has("ttyAMA0", ["tty0", "tty1", "ttyAMA0"], screen=True)
    assert host.found() == [("tty1", "linux"), ("ttyAMA0", "vt220")]


def test_a_hypervisors_console_gets_one_and_those_without_a_keyboard_none(host: Host) -> None:
    host.has("ttynull", ["ttynull", "hvc0"], screen=False)
    assert host.found() == [("hvc0", "vt220")]


def test_a_console_without_a_device_gets_none(host: Host) -> None:
    host.has("ttyS0 ttyS7", ["ttyS0"], screen=False)
    assert host.found() == [("ttyS0", "vt220")]


def test_no_sys_is_no_console(host: Host) -> None:
    assert host.write() == []
    assert list(host.units.iterdir()) == []


@pytest.mark.parametrize("program", ["agetty", "busybox"])
def test_the_units_are_read_without_a_word_and_run_as_root(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str
) -> None:
    for name in (program, "unboxed-session"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).touch(0o755)
    monkeypatch.setattr(consoles, "_PATH", (str(tmp_path / "bin"),))
    host.has("tty0 ttyS0", ["tty0", "tty1", "ttyS0"], screen=True)
    assert host.write() == ["getty-tty1", "getty-ttys0"]
    loaded = load.read_units([str(host.units)])
    assert not loaded.problems
    assert set(loaded.units) == {"getty-tty1", "getty-ttys0"}
    for name, unit in loaded.units.items():
        assert unit.command[0] == str(tmp_path / "bin" / program)
        line = "tty1" if name == "getty-tty1" else "ttyS0"
        assert line in unit.command
        assert unit.command[-1] == ("linux" if name == "getty-tty1" else "vt220")
        assert unit.start.before == ((str(tmp_path / "bin/unboxed-session"), "ended", line),)
        assert (unit.restart.when, unit.restart.limit, unit.umask) == ("always", None, 0o022)
        assert unit.sandbox is not None
        assert unit.sandbox.level == "off"


def test_without_a_program_that_asks_for_a_name_there_is_no_unit(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consoles, "_PATH", ())
    host.has("ttyS0", ["ttyS0"], screen=False)
    assert host.write() == []


def test_units_of_consoles_that_are_gone_are_removed_and_others_are_not(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "agetty").touch(0o755)
    monkeypatch.setattr(consoles, "_PATH", (str(tmp_path),))
    host.has("ttyS0", ["ttyS0"], screen=False)
    host.units.mkdir()
    (host.units / "getty-ttys9.toml").touch()
    (host.units / "web.toml").touch()
    host.write()
    assert {path.name for path in host.units.iterdir()} == {"getty-ttys0.toml", "web.toml"}


def test_a_file_of_the_administrators_wins(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "agetty").touch(0o755)
    monkeypatch.setattr(consoles, "_PATH", (str(tmp_path),))
    host.has("ttyS0", ["ttyS0"], screen=False)
    host.write()
    admin = tmp_path / "admin"
    admin.mkdir()
    (admin / "getty-ttys0.toml").write_text('command = "/bin/true"\nautostart = false\n')
    unit = load.read_units([str(admin), str(host.units)]).units["getty-ttys0"]
    assert (unit.command, unit.autostart) == (("/bin/true",), False)

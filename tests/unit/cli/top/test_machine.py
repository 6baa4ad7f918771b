"""What /proc tells, and what is left out where it does not."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.cli.top.machine import Gauge


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "stat").write_text("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1\n")
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n")
    (tmp_path / "loadavg").write_text("0.50 0.40 0.30 1/2 3\n")
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "cpu").write_text("some avg10=12.50 avg60=0 avg300=0 total=1\n")
    return tmp_path


def test_the_machine_is_read_and_its_cpu_is_of_the_time_between_two_looks(proc: Path) -> None:
    gauge = Gauge(str(proc))
    first = gauge.look({})
    assert (first.cpu, first.memory_used, first.memory_total) == (None, 750 * 1024, 1000 * 1024)
    assert (first.load, first.pressure) == ("0.50", (("cpu", 12.5),))
    (proc / "stat").write_text("cpu  40 0 20 100 20 0 0 0 0 0\n")
    assert gauge.look({}).cpu == pytest.approx(100 * 40 / 80)


def test_what_the_kernel_does_not_tell_is_left_out(tmp_path: Path) -> None:
    found = Gauge(str(tmp_path)).look({"manager": 1})
    assert (found.cpu, found.memory_used, found.load, found.pressure, found.own) == (
        None, None, "", (), ())


def test_a_process_of_ours_is_measured_and_one_that_only_has_its_pid_is_not(proc: Path) -> None:
    for pid, words in ((7, b"python\0/usr/lib/supervisor/manager/__main__.py"), (8, b"/bin/vi")):
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "cmdline").write_bytes(words)
        (proc / str(pid) / "stat").write_text(f"{pid} (a) b) S " + "1 " * 10 + "5 6 0 0 0 0\n")
        (proc / str(pid) / "statm").write_text("100 25 3 1 0 1 0\n")
    gauge = Gauge(str(proc))
    found = gauge.look({"manager": 7, "keeper": 8, "logger": 0}).own
    assert [(one.name, one.cpu, one.memory) for one in found] == [
        ("manager", None, 25 * os.sysconf("SC_PAGE_SIZE"))]
    assert gauge.look({"manager": 7}).own[0].cpu == 0

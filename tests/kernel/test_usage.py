"""Figures out of the kernel's texts, of both cgroup versions. Real ones: test_limiter."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.kernel.usage import (
    Oom,
    Places,
    Pressure,
    oom,
    read_usage,
    why_killed,
)
from supervisor.model.unit import Limits

V2 = {
    "memory.current": "4096\n",
    "memory.peak": "8192\n",
    "memory.swap.current": "100\n",
    "cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 9\nnr_throttled 4\n"
    "throttled_usec 7\n",
    "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n"
    "8:16 rbytes=5 wbytes=6 rios=7 wios=8 dbytes=9 dios=9\n259:0 \n",
    "pids.current": "3\n",
    "memory.events": "low 0\nhigh 0\nmax 9\noom 5\noom_kill 2\noom_group_kill 1\n",
    "memory.events.local": "low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\n",
    "cpu.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=12\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
    "full avg10=2.25 avg60=0.00 avg300=0.00 total=3\n",
}
V1 = {
    "memory.usage_in_bytes": "4096\n",
    "memory.max_usage_in_bytes": "8192\n",
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.memsw.usage_in_bytes": "5096\n",
    "memory.memsw.max_usage_in_bytes": "65536\n",
    "memory.memsw.limit_in_bytes": "65536\n",
    "memory.failcnt": "6\n",
    "memory.memsw.failcnt": "0\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "cpu.stat": "nr_periods 9\nnr_throttled 4\nthrottled_time 7000\n",
    "pids.current": "3\n",
    "blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n8:0 Sync 9\n"
    "8:0 Total 30\n8:16 Read 5\n8:16 Write 6\nTotal 41\n",
    "blkio.throttle.io_serviced": "8:0 Read 8\n8:0 Write 10\nTotal 18\n",
}


def write(path: Path, files: dict[str, str]) -> str:
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return str(path)


def test_figures_of_v2(tmp_path: Path) -> None:
    found = read_usage(Places(write(tmp_path / "a", V2)))
    assert found[:3] == (4096, 8192, 100)
    assert (found.cpu_ns, found.throttled_ns, found.throttled) == (5000, 7000, 4)
    assert (found.read_bytes, found.written_bytes) == (15, 26)
    assert (found.reads, found.writes) == (8, 10)
    assert (found.tasks, found.oom_kills) == (3, 2)
    assert found.cpu_pressure == Pressure(1.5, 12_000, 0.0, 0)
    assert found.memory_pressure == Pressure(0.0, 1000, 2.25, 3000)
    assert found.io_pressure is None


def test_figures_of_v1_with_v2_beside_it(tmp_path: Path) -> None:
    v1 = write(tmp_path / "v1", V1)
    v2 = write(tmp_path / "v2", {"cpu.stat": "usage_usec 5\n"})
    found = read_usage(Places(v2, v1, v1, v1, v1))
    assert found[:3] == (4096, 8192, 1000)
    assert (found.cpu_ns, found.throttled_ns, found.throttled) == (5000, 7000, 4)
    assert (found.read_bytes, found.written_bytes) == (15, 26)
    assert (found.reads, found.writes) == (8, 10)
    assert (found.tasks, found.oom_kills) == (3, 2)
    assert found.cpu_pressure is None


def test_tasks_are_counted_where_no_controller_does(tmp_path: Path) -> None:
    found = read_usage(Places(write(tmp_path / "a", {"cgroup.threads": "7\n8\n"})))
    assert found.tasks == 2
    assert found.memory_bytes is None
    assert found.oom_kills is None


@pytest.mark.parametrize("broken", ["", "garbage\n", "some avg10\n"])
def test_a_text_that_is_cut_short_is_not_a_figure(tmp_path: Path, broken: str) -> None:
    files = dict.fromkeys(V2, broken)
    del files["cpu.pressure"], files["memory.pressure"]
    found = read_usage(Places(write(tmp_path / "a", files)))
    assert found.memory_bytes is None
    assert found.cpu_ns is None
    assert found.tasks is None
    assert (found.read_bytes, found.writes) == (0, 0)


def test_how_often_memory_ran_out(tmp_path: Path) -> None:
    assert oom(Places(write(tmp_path / "a", V2))) == Oom(kills=2, own=1)
    assert oom(Places("", write(tmp_path / "b", V1))) == Oom(kills=2, own=7)
    old = {"memory.events": V2["memory.events"]}  # before Linux 5.2 there is no local one
    assert oom(Places(write(tmp_path / "c", old))) == Oom(kills=2, own=5)
    assert oom(Places(str(tmp_path))) == Oom(0, 0)


MOST = Limits(memory_bytes=64 << 20)


@pytest.mark.parametrize(
    "after, limits, words",
    [
        (Oom(3, 9), MOST, ""),
        (Oom(4, 10), MOST, "limits.memory of 64MiB reached"),
        (Oom(4, 9), MOST, "the 1GiB of slice inner were used up"),
        (Oom(4, 9), None, "the 1GiB of slice inner were used up"),
        (Oom(4, 10), Limits(), "the 1GiB of slice inner were used up"),
    ],
)
def test_whose_limit_it_was(after: Oom, limits: Limits | None, words: str) -> None:
    slices = [
        ("outer", Limits(memory_bytes=2 << 30), Oom(0, 1), Oom(0, 2)),
        ("inner", Limits(memory_bytes=1 << 30), Oom(0, 1), Oom(0, 2)),
        ("free", Limits(tasks=5), Oom(0, 0), Oom(0, 5)),
    ]
    found = why_killed(Oom(3, 9), after, limits, slices)
    assert found == (f"killed for memory: {words}" if words else "")


def test_or_nobodys_that_we_know() -> None:
    calm = [("outer", MOST, Oom(0, 0), Oom(0, 0))]
    found = why_killed(Oom(0, 0), Oom(1, 0), MOST, calm)
    assert found == "killed for memory: the host, or a group above the supervisor, had none left"


def test_a_slice_that_was_full_before_may_count_no_more() -> None:
    found = why_killed(Oom(0, 0), Oom(1, 0), None, [("a", MOST, Oom(0, 1), Oom(0, 1))])
    assert found == "killed for memory: the 64MiB of slice a were used up"

"""[limits] on the real kernel, whatever cgroup versions it has: each limit is seen to act.

`tests/vm/test_limits.py` runs this file once more in a machine where all is cgroup v2.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from errno import ENOSPC
from itertools import count
from pathlib import Path
from select import POLLIN, poll
from typing import Any

import pytest

from supervisor.kernel import cgroup, usage
from supervisor.kernel.cgroup import CgroupTracker
from supervisor.kernel.disks import device_of
from supervisor.kernel.limit_groups import Slices
from supervisor.kernel.limiter import CannotLimit, Limiter, Prepared
from supervisor.kernel.limits import Found, Unenforceable
from supervisor.kernel.retune import retune
from supervisor.kernel.usage import Oom, Usage, read_usage, why_killed
from supervisor.model.unit import IoLimit, Limits
from tests.kernel.kit import NOBODY, in_child, until

MIB = 1 << 20
_number = count()

SAY = "import os, sys, time, signal\ndef say(*w): print(*w, flush=True)\n"
HOG = "b = [bytearray(1 << 20) for _ in range(200)]\nsay('had it all')\n"
HOLD = "b = bytearray(20 << 20)\nsay('in')\nsignal.pause()\n"
CHILD_HOG = f"say('in')\nsys.stdin.readline()\nif not os.fork():\n    {HOG.splitlines()[0]}\n"
BOMB = """
n = 0
while True:
    try:
        if not os.fork():
            signal.pause()
    except BlockingIOError:
        break
    n += 1
say(n)
"""
SPIN = """
begin, end = time.process_time(), time.monotonic() + 1
while time.monotonic() < end:
    pass
say(time.process_time() - begin)
"""


class Limited:
    """A tracker and a limiter of the test's own, and programs in their groups."""

    def __init__(self) -> None:
        self.name = f"unboxed-test-{os.getpid()}-l{next(_number)}"
        tracker, why_not = cgroup.find(self.name)
        if tracker is None:
            pytest.skip(f"no cgroups: {why_not}")
        self.tracker: CgroupTracker = tracker
        self.limiter = Limiter(self.name, tracker.base)
        self.prepared: dict[str, Prepared] = {}
        self._children: list[subprocess.Popen[str]] = []

    def has(self, controller: str) -> int:
        """The version of a controller, 0 if there is none."""
        found = self.limiter._controllers.find(controller)
        return found.version if isinstance(found, Found) else 0

    def need(self, *controllers: str) -> None:
        for name in controllers:
            if not self.has(name):
                pytest.skip(f"this host has no {name} controller for us")

    def run(
        self, key: str, script: str, limits: Limits, slices: Slices = ()
    ) -> subprocess.Popen[str]:
        """A Python program that was born in its groups, as the keeper's child is."""
        if slices:
            self.tracker.slices[key] = "".join(f"+{name}/" for name, _ in slices)
        found = self.prepared[key] = self.limiter.prepare(key, limits, slices)
        path = f"{self.tracker.base}/{self.tracker.group(key)}"
        os.makedirs(path, exist_ok=True)
        joins = "".join(f"echo 0 > {file}; " for file in (*found.joins, f"{path}/cgroup.procs"))
        child = subprocess.Popen(
            ["/bin/sh", "-c", f'{joins} exec "$@"', "sh", sys.executable, "-I", "-S", "-c",
             SAY + script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._children.append(child)
        return child

    def usage(self, key: str) -> Usage:
        return read_usage(self.limiter.places(key))

    def oom(self, key: str) -> Oom:
        return usage.oom(self.limiter.places(key))

    def end(self, key: str) -> None:
        self.tracker.end(key)
        until(lambda: self.limiter.remove(key), f"the groups of {key} to go")

    def clear(self) -> None:
        for key in self.prepared:
            self.tracker.kill(key)
        for child in self._children:
            child.kill()
            child.communicate()
        for key in self.prepared:
            self.end(key)
        tops = [one.top for one in self.limiter._controllers.seen().values()]
        self.limiter.close()
        self.tracker.close()
        assert not [top for top in tops if os.path.exists(top)]


@pytest.fixture
def limited() -> Iterator[Limited]:
    made = Limited()
    yield made
    made.clear()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def tell(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


# --- memory ---


def test_what_wants_more_memory_than_its_limit_is_killed_and_the_limit_is_named(
    limited: Limited,
) -> None:
    limited.need("memory")
    limits = Limits(memory_bytes=32 * MIB, swap_bytes=0)
    hog = limited.run("web/1", HOG, limits)
    assert hog.wait(20) == -9
    found = limited.usage("web/1")
    assert found.oom_kills, "one, or two where the kernel counts the kill of the group as well"
    if found.memory_peak_bytes is not None:  # a kernel before 5.19 does not know, on v2
        assert 30 * MIB < found.memory_peak_bytes <= 32 * MIB
    before = limited.prepared["web/1"].before
    words = why_killed(before, limited.oom("web/1"), limits)
    assert words == "killed for memory: limits.memory of 32MiB reached"
    again = limited.limiter.prepare("web/1", limits).before
    assert again == limited.oom("web/1")
    assert why_killed(again, limited.oom("web/1"), limits) == "", "that was the run before"


def test_an_end_for_another_reason_is_not_said_to_be_memorys(limited: Limited) -> None:
    limits = Limits(memory_bytes=64 * MIB)
    child = limited.run("web", HOLD, limits)
    assert line(child) == "in"
    child.kill()
    child.wait(20)
    assert why_killed(Oom(0, 0), limited.oom("web"), limits) == ""


def test_it_may_have_what_is_below_its_limit(limited: Limited) -> None:
    limited.need("memory")
    child = limited.run("web", HOLD, Limits(memory_bytes=64 * MIB))
    assert line(child) == "in"
    memory = limited.usage("web").memory_bytes
    assert memory is not None
    assert 20 * MIB < memory < 64 * MIB


def test_when_memory_runs_out_all_of_the_unit_goes(limited: Limited) -> None:
    """On cgroup v2 by the kernel; on v1 the supervisor is told and does it."""
    limited.need("memory")
    child = limited.run("web", CHILD_HOG + "signal.pause()", Limits(memory_bytes=32 * MIB))
    assert line(child) == "in"
    assert limited.prepared["web"].watch == (limited.has("memory") == 1)
    if limited.prepared["web"].watch:
        fd = limited.limiter.watch_oom("web")
        waiter = poll()
        waiter.register(fd, POLLIN)
        assert waiter.poll(0) == []
        tell(child)
        assert waiter.poll(20_000), "nobody told that memory ran out"
        until(lambda: limited.oom("web").kills, "the kernel to kill")
        os.close(fd)
        limited.tracker.kill("web")
    else:
        assert limited.limiter.watch_oom("web") == -1
        tell(child)
    assert child.wait(20) == -9
    until(lambda: limited.tracker.empty("web"), "all of it to go")


def test_or_one_process_only(limited: Limited) -> None:
    limited.need("memory")
    limits = Limits(memory_bytes=32 * MIB, swap_bytes=0, oom="process")
    child = limited.run("web", CHILD_HOG + "say(os.wait()[1])\nsignal.pause()", limits)
    assert not limited.prepared["web"].watch
    assert line(child) == "in"
    tell(child)
    assert line(child) == "9"
    assert child.poll() is None
    assert limited.oom("web").kills == 1


# --- tasks, CPUs, disks ---


def test_a_fork_bomb_stops_at_its_limit_of_tasks(limited: Limited) -> None:
    limited.need("pids")
    bomb = limited.run("web", BOMB + "signal.pause()", Limits(tasks=20))
    assert line(bomb) == "19"
    assert limited.usage("web").tasks == 20


def test_tasks_have_a_limit_unless_one_is_set(limited: Limited) -> None:
    limited.need("pids")
    limited.limiter.prepare("web", Limits())
    limited.prepared["web"] = Prepared((), (), watch=False)
    found = limited.limiter.places("web")
    assert Path(found.pids or found.unified, "pids.max").read_text() == "4096\n"


def test_what_spins_is_held_back_to_its_part_of_a_core(limited: Limited) -> None:
    limited.need("cpu")
    used_s = float(line(limited.run("web", SPIN, Limits(cpu_milli=200))))
    found = limited.usage("web")
    assert used_s < 0.5, f"it had {used_s} s of CPU in one second"
    assert found.throttled is not None
    assert found.throttled > 2
    assert found.throttled_ns is not None
    assert found.throttled_ns > 10**8
    assert found.cpu_ns is not None
    assert found.cpu_ns < 10**9


def test_weights_are_what_the_kernel_says_of_them(limited: Limited) -> None:
    limited.need("cpu")
    limited.run("web", HOLD, Limits(cpu_weight=200))
    places = limited.limiter.places("web")
    file = "cpu.shares" if places.cpu else "cpu.weight"
    text = Path(places.cpu or places.unified, file).read_text()
    assert text == ("2048\n" if places.cpu else "200\n")


def test_it_runs_on_its_cpus(limited: Limited) -> None:
    if not limited.has("cpuset"):
        with pytest.raises(CannotLimit, match=r"limits\.cpus .*no cgroup hierarchy"):
            limited.limiter.prepare("web", Limits(cpus="0"))
        limited.prepared["web"] = Prepared((), (), watch=False)
        return
    child = limited.run("web", "say(os.sched_getaffinity(0))", Limits(cpus="0"))
    assert line(child) == "{0}"


def test_a_cpu_that_is_not_there_is_refused(limited: Limited) -> None:
    limited.prepared["web"] = Prepared((), (), watch=False)
    with pytest.raises(CannotLimit) as refused:
        limited.limiter.prepare("web", Limits(cpus="0,4000"))
    assert "limits.cpus cannot be enforced here: " in str(refused.value)
    assert 'limits.require = "best"' in str(refused.value)
    (missing,) = limited.limiter.prepare("web", Limits(cpus="0,4000", require="best")).missing
    assert missing.key == "cpus"


WRITE = """
fd = os.open(PATH, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
import mmap
page = mmap.mmap(-1, 1 << 18)
start = time.monotonic()
for _ in range(6):
    os.write(fd, page)
say(time.monotonic() - start)
"""


def test_a_disk_is_written_at_its_rate(limited: Limited, tmp_path: Path) -> None:
    limits = Limits(io=(IoLimit(str(tmp_path), write_bytes=MIB),))
    limited.prepared["web"] = Prepared((), (), watch=False)
    try:
        device_of(str(tmp_path))
    except Unenforceable as why:
        with pytest.raises(CannotLimit, match="on no disk"):
            limited.limiter.prepare("web", limits)
        pytest.skip(str(why))
    limited.need("io")
    script = "sys.path[:0] = [" + repr(os.path.dirname(os.__file__) + "/lib-dynload") + "]\n"
    writer = limited.run("web", script + WRITE.replace("PATH", repr(f"{tmp_path}/x")), limits)
    assert float(line(writer)) > 0.9, "1.5 MiB at 1 MiB/s"
    found = limited.usage("web")
    assert found.written_bytes is not None
    assert found.written_bytes >= 1.5 * MIB
    assert found.writes is not None
    assert found.writes >= 6


def test_a_path_on_no_disk_is_refused(limited: Limited) -> None:
    limited.prepared["web"] = Prepared((), (), watch=False)
    with pytest.raises(CannotLimit, match=r"limits\.io cannot be enforced here: /proc is on no"):
        limited.limiter.prepare("web", Limits(io=(IoLimit("/proc", 1),)))
    with pytest.raises(CannotLimit, match="cannot look at /no/such"):
        limited.limiter.prepare("web", Limits(io=(IoLimit("/no/such", 1),)))


# --- what cannot be enforced ---


def test_a_key_that_this_kernel_cannot_enforce_is_refused_or_said(limited: Limited) -> None:
    limited.need("memory")
    limits = Limits(memory_high_bytes=48 * MIB, memory_bytes=64 * MIB)
    if limited.has("memory") == 2:
        child = limited.run("web", HOLD, limits)
        assert line(child) == "in"
        text = Path(limited.limiter.places("web").unified, "memory.high").read_text()
        assert text == f"{48 * MIB}\n"
        return
    limited.prepared["web"] = Prepared((), (), watch=False)
    with pytest.raises(CannotLimit, match=r"limits\.memory_high .*only cgroup v2 can"):
        limited.limiter.prepare("web", limits)
    best = Limits(memory_high_bytes=48 * MIB, memory_bytes=64 * MIB, require="best")
    (missing,) = limited.limiter.prepare("web", best).missing
    assert missing.key == "memory_high"
    path = Path(limited.limiter.places("web").memory, "memory.limit_in_bytes")
    assert path.read_text() == f"{64 * MIB}\n"


def test_protected_memory_is_protected_all_the_way_down(limited: Limited) -> None:
    limited.need("memory")
    if limited.has("memory") == 1:
        pytest.skip("cgroup v1 protects no memory")
    limited.run("a", HOLD, Limits(memory_min_bytes=4 * MIB))
    limited.run("b", HOLD, Limits(memory_min_bytes=8 * MIB))
    base = Path(limited.tracker.base)
    for path in (base, base.parent):
        assert (path / "memory.min").read_text() == f"{12 * MIB}\n"
    limited.end("b")
    assert (base / "memory.min").read_text() == f"{4 * MIB}\n"


def test_each_key_is_explained_by_what_it_is_here(limited: Limited) -> None:
    limited.need("pids")
    slices = [("all", Limits(tasks=99))]
    rows = limited.limiter.explain(Limits(tasks=5, cpus="4000", require="best"), slices)
    version = f"(cgroup v{limited.has('pids')})"
    assert ("limits.tasks", f"slice all: pids.max = 99 {version}") in rows
    assert ("limits.tasks", f"pids.max = 5 {version}") in rows
    (lacking,) = [words for key, words in rows if key == "limits.cpus"]
    assert lacking.startswith("not enforced: ")


# --- a budget for several ---


def test_a_slice_is_a_budget_for_all_in_it(limited: Limited) -> None:
    limited.need("memory")
    budget = [("agents", Limits(memory_bytes=48 * MIB, swap_bytes=0))]
    limits = Limits(slice="agents")
    one = limited.run("one", HOLD, limits, budget)
    assert line(one) == "in"
    (shared,) = limited.limiter.shared(budget)
    before = usage.oom(shared)
    two = limited.run("two", HOG, Limits(memory_bytes=1 << 30), budget)
    assert two.wait(20) == -9
    assert one.poll() is None, "the budget's end costs the greedy one only"
    words = why_killed(
        Oom(0, 0), limited.oom("two"), Limits(memory_bytes=1 << 30),
        [("agents", budget[0][1], before, usage.oom(shared))],
    )  # fmt: skip
    assert words == "killed for memory: the 48MiB of slice agents were used up"
    assert limited.tracker.owner(one.pid) == "one"
    assert limited.tracker.pids("one") == [one.pid]


def test_slices_are_inside_one_another(limited: Limited) -> None:
    limited.need("pids")
    slices = [("all", Limits(tasks=10)), ("agents", Limits(tasks=100))]
    bomb = limited.run("web", BOMB + "signal.pause()", Limits(), slices)
    assert line(bomb) == "9"
    assert [read_usage(one).tasks for one in limited.limiter.shared(slices)] == [10, 10]


def test_a_slice_changes_for_all_in_it(limited: Limited) -> None:
    limited.need("pids")
    slices = [("agents", Limits(tasks=10))]
    limited.run("web", "say(1)\nsys.stdin.readline()\n" + BOMB + "signal.pause()", Limits(), slices)
    child = limited._children[-1]
    assert line(child) == "1"
    assert limited.limiter.live_slice([("agents", Limits(tasks=5))]) == []
    tell(child)
    assert line(child) == "4"
    assert limited.limiter.live_slice([("others", Limits(tasks=5))]) == []


# --- while it runs ---


def test_a_limit_is_changed_under_a_running_program(limited: Limited) -> None:
    limited.need("memory", "pids")
    old = Limits(memory_bytes=32 * MIB, swap_bytes=0, tasks=5)
    child = limited.run("web", "say('in')\nsys.stdin.readline()\n" + HOG + "signal.pause()", old)
    assert line(child) == "in"
    new = Limits(memory_bytes=512 * MIB)
    assert limited.limiter.live("web", old, new) == []
    tell(child)
    assert line(child) == "had it all"
    places = limited.limiter.places("web")
    assert Path(places.pids or places.unified, "pids.max").read_text() == "4096\n"
    swap = Path(places.memory, "memory.memsw.limit_in_bytes") if places.memory else Path(
        places.unified, "memory.swap.max")
    if swap.exists():
        assert int(swap.read_text().strip().replace("max", str(1 << 62))) > 1 << 60


def test_a_limit_below_what_is_used_is_said_or_kills(limited: Limited) -> None:
    limited.need("memory")
    old = Limits(memory_bytes=64 * MIB, swap_bytes=0)
    child = limited.run("web", HOLD, old)
    assert line(child) == "in"
    words = limited.limiter.live("web", old, Limits(memory_bytes=8 * MIB, swap_bytes=0))
    if limited.has("memory") == 1:
        assert len(words) == 2  # with memsw, which counts both
        assert words[0].startswith("limits.memory cannot be enforced here: cannot write '8388608'")
        assert child.poll() is None
    else:
        assert words == []
        assert child.wait(20) == -9


def test_a_first_limit_reaches_what_runs_already(limited: Limited) -> None:
    """On v1 its processes are in no group of that controller yet, and are moved there."""
    limited.need("pids", "cpu")
    old = Limits(cpu_weight=100)
    child = limited.run("web", "say('in')\nsys.stdin.readline()\n" + SPIN, old)
    assert line(child) == "in"
    new = Limits(cpu_milli=200, tasks=7)
    assert limited.limiter.live("web", None, new, (), lambda: limited.tracker.pids("web")) == []
    assert limited.usage("web").tasks == 1
    tell(child)
    assert float(line(child)) < 0.5


def test_a_program_without_limits_gets_its_first(limited: Limited) -> None:
    limited.need("pids")
    path = f"{limited.tracker.base}/web"
    os.mkdir(path)
    limited.prepared["web"] = Prepared((), (), watch=False)
    child = subprocess.Popen(
        ["/bin/sh", "-c", f"echo 0 > {path}/cgroup.procs; echo in; read x; (:) || echo no"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    limited._children.append(child)
    assert line(child) == "in"
    pids = lambda: limited.tracker.pids("web")  # noqa: E731 - one expression, used once
    assert limited.limiter.live("web", None, Limits(tasks=1), (), pids) == []
    tell(child)
    child.wait(20)
    assert child.returncode != 0 or line(child) == "no"


def test_what_forks_without_end_is_not_looked_at_without_end(limited: Limited) -> None:
    limited.need("pids")
    limited.prepared["web"] = Prepared((), (), watch=False)
    numbers = count(2**22 + 1)  # each has ended when it is to be moved
    assert limited.limiter.live("web", None, Limits(tasks=9), (), lambda: [next(numbers)]) == []
    assert next(numbers) < 2**22 + 1 + 1000


def test_a_group_that_cannot_be_made_for_what_runs_is_said(
    limited: Limited, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited.need("pids")

    def full(*_: object) -> bool:
        raise OSError(ENOSPC, "No space left on device", "/web")

    monkeypatch.setattr("supervisor.kernel.limit_groups.make", full)
    words = "limits.tasks cannot be enforced here: cannot make /web: No space left on device"
    assert words in limited.limiter.live("web", None, Limits(tasks=9))


def test_a_change_of_slice_waits_for_the_next_start(limited: Limited) -> None:
    old = Limits(tasks=5)
    limited.run("web", HOLD, old)
    found = limited.limiter.live("web", old, Limits(slice="all"), [("all", Limits())])
    assert found == ["limits.slice holds from the next start on"]


def test_what_holds_for_each_process_is_changed_in_all_of_them(limited: Limited) -> None:
    script = "os.fork()\nsay('in')\nsignal.pause()"
    child = limited.run("web", script, Limits())
    assert [line(child), line(child)] == ["in", "in"]
    pids = limited.tracker.pids("web")
    assert len(pids) == 2
    new = Limits(
        files=(100, 200), core=(0, 0), rlimits=(("stack", 1 * MIB, 2 * MIB),), nice=5,
        oom_score_adjust=300,
    )  # fmt: skip
    assert retune(None, new, lambda: limited.tracker.pids("web")) == []
    for pid in pids:
        rows = Path(f"/proc/{pid}/limits").read_text().splitlines()
        found = {row[:26].strip(): row[26:].split()[:2] for row in rows}
        assert found["Max open files"] == ["100", "200"]
        assert found["Max core file size"] == ["0", "0"]
        assert found["Max stack size"] == [str(MIB), str(2 * MIB)]
        assert os.getpriority(os.PRIO_PROCESS, pid) == 5
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "300\n"
    assert retune(new, new, lambda: [2**22 + 1]) == []
    assert retune(None, new, lambda: [2**22 + 1]) == [], "it ended meanwhile"
    words = retune(new, Limits(files=(100, 200)), lambda: pids)
    assert words == [
        f"limits.{key} is as the supervisor's from the next start on"
        for key in ("nice", "oom_score_adjust", "rlimits.stack", "core")
    ]


def test_a_thread_that_ended_meanwhile_keeps_nothing_from_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = subprocess.Popen(["/bin/sleep", "1000"])
    try:
        monkeypatch.setattr("os.listdir", lambda _path: [str(2**22 + 1), str(child.pid)])
        assert retune(None, Limits(nice=7, oom_score_adjust=400), lambda: [child.pid]) == []
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == 7
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text() == "400\n"
    finally:
        child.kill()
        child.wait()


def test_a_resource_limit_above_the_hard_one_is_said_where_it_may_not_be_raised(
    limited: Limited,
) -> None:
    child = limited.run("web", HOLD, Limits())
    assert line(child) == "in"
    first = Limits(files=(50, 60))
    assert retune(None, first, lambda: [child.pid]) == []
    words = retune(first, Limits(files=(50, 70)), lambda: [child.pid])
    raised = "Max open files            50                   70 " in Path(
        f"/proc/{child.pid}/limits").read_text()
    assert raised == (not words)
    if words:  # without CAP_SYS_RESOURCE
        assert words[0].startswith(f"limits.files cannot be applied to process {child.pid}: ")
        assert words[0].endswith(", as the supervisor has no CAP_SYS_RESOURCE")


# --- starts, restarts, ends ---


def test_what_holds_is_not_written_again_and_a_new_group_has_it_anew(limited: Limited) -> None:
    limited.need("pids")
    limits = Limits(tasks=5)
    first = limited.run("web", "say('in')\nsignal.pause()", limits)
    assert line(first) == "in"
    places = limited.limiter.places("web")
    file = Path(places.pids or places.unified, "pids.max")
    file.write_text("77")
    assert limited.limiter.prepare("web", limits) == limited.prepared["web"]
    assert file.read_text() == "77\n", "a hook's launch writes nothing"
    limited.end("web")
    assert not file.exists()
    limited.run("web", "say('in')\nsignal.pause()", limits)
    assert file.read_text() == "5\n"


def test_a_new_manager_finds_what_the_old_one_made(limited: Limited) -> None:
    limited.need("memory", "pids")
    slices = [("agents", Limits(tasks=50))]
    limits = Limits(memory_bytes=64 * MIB)
    child = limited.run("web/0", HOLD, limits, slices)
    assert line(child) == "in"
    tracker, why = cgroup.find(limited.name)
    assert tracker is not None, why
    limiter = Limiter(limited.name, tracker.base)
    limiter.adopt()
    assert tracker.slices == {"web/0": "+agents/"}
    assert tracker.leftovers() == ["web/0"]
    assert tracker.pids("web/0") == [child.pid]
    assert limiter.places("web/0") == limited.limiter.places("web/0")
    assert limiter.live("web/0", limits, Limits(memory_bytes=32 * MIB, tasks=9), slices) == []
    found = read_usage(limiter.places("web/0"))
    assert found.tasks == 1
    assert found.memory_bytes is not None
    assert not limiter.remove("web/0") or limited.has("memory") == 2
    limited.limiter = limiter
    limited.tracker = tracker


def test_a_new_manager_does_not_take_an_earlier_runs_end_for_this_ones(limited: Limited) -> None:
    limited.need("memory")
    limits = Limits(memory_bytes=64 * MIB, swap_bytes=0) if limited.has("memory") == 2 else (
        Limits(memory_bytes=64 * MIB))
    child = limited.run("web", HOG, limits)
    child.wait(20)
    until(lambda: limited.oom("web").kills > 0, "the kernel to count it")
    limiter = Limiter(limited.name, limited.tracker.base)
    limiter.adopt()
    before = limiter.prepare("web", limits).before
    assert why_killed(before, limited.oom("web"), limits) == ""


def test_each_instance_has_figures_of_its_own(limited: Limited) -> None:
    limited.need("memory")
    for key in ("web/0", "web/1"):
        assert line(limited.run(key, HOLD, Limits())) == "in"
    found = [usage.read_usage(limited.limiter.places(key)) for key in ("web/0", "web/1")]
    for one in found:
        assert one.memory_bytes is not None
        assert 20 * MIB < one.memory_bytes < 40 * MIB
        assert one.cpu_ns
        assert one.oom_kills == 0


# --- cgroup v2 hands controllers down through groups that hold no processes ---


def _from_below(limited: Limited, *, stranger: bool) -> Any:
    """What a manager says that begins in a group of the keeper's own (as systemd gives it)."""
    if limited.has("pids") != 2:
        pytest.skip("only where cgroup v2 has the controllers")
    own = Path(limited.tracker.base).parents[1] / f"{limited.name}-own"
    own.mkdir()
    other = subprocess.Popen(["/bin/sleep", "1000"])
    if stranger:
        (own / "cgroup.procs").write_text(str(other.pid))

    def manager() -> Any:
        tracker, why = cgroup.find(limited.name)
        assert tracker is not None, why
        try:
            Limiter(limited.name, tracker.base).prepare("web", Limits(tasks=5))
        except CannotLimit as refused:
            return str(refused)
        again, why = cgroup.find(limited.name)
        assert again is not None, why
        most = Path(tracker.base, "web", "pids.max").read_text()
        where = Path("/proc/self/cgroup").read_text()
        keepers = Path(f"/proc/{os.getppid()}/cgroup").read_text()
        return [tracker.base == again.base, most, where == keepers, where]

    def keeper() -> Any:
        (own / "cgroup.procs").write_text("0")
        return in_child(manager)

    try:
        return in_child(keeper)
    finally:
        other.kill()
        other.wait()
        for path, _, _ in os.walk(own, topdown=False):
            until_gone(path)


def until_gone(path: str) -> None:
    def gone() -> bool:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError:
            return False
        return True

    until(gone, f"{path} to be empty")


def test_the_supervisor_steps_aside_so_that_its_group_may_hand_limits_down(
    limited: Limited,
) -> None:
    same, most, together, where = _from_below(limited, stranger=False)
    assert same, "a manager that starts anew finds the same groups"
    assert most == "5\n"
    assert together
    assert where.endswith(f"/{limited.name}/supervisor\n")


def test_a_stranger_in_its_group_is_not_moved_but_named(limited: Limited) -> None:
    words = _from_below(limited, stranger=True)
    assert "limits.tasks cannot be enforced here: process " in words
    assert "run the supervisor in a group of its own" in words


def test_figures_without_any_group_are_not_known() -> None:
    found = read_usage(usage.Places())
    assert set(found) == {None}


def test_who_may_not_make_groups_is_told_so() -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")

    def nobody() -> str:
        try:
            Limiter("unboxed-test-nobody").prepare("web", Limits(tasks=5))
        except CannotLimit as refused:
            return str(refused)
        return ""

    words = in_child(nobody, NOBODY)
    assert words.startswith("limits.tasks cannot be enforced here: ")
    assert "Permission denied" in words or "no group of it is ours" in words


def test_the_files_are_those_of_a_host_that_has_none(tmp_path: Path) -> None:
    proc = tmp_path / "self"
    proc.mkdir()
    (proc / "mountinfo").write_text("30 20 0:27 / /sys rw - sysfs sysfs rw\n")
    (proc / "cgroup").write_text("0::/\n")
    limiter = Limiter("x", "", str(tmp_path))
    with pytest.raises(CannotLimit) as refused:
        limiter.prepare("web", Limits(memory_bytes=MIB, tasks=5))
    assert str(refused.value).startswith(
        "limits.memory cannot be enforced here: no cgroup hierarchy of this host has the memory "
        "controller; limits.tasks cannot"
    )
    best = limiter.prepare("web", Limits(memory_bytes=MIB, tasks=5, require="best"))
    assert [one.key for one in best.missing] == ["memory", "tasks"]
    assert best.joins == ()
    assert limiter.prepare("web", Limits()).missing == (), "defaults hold where they can"



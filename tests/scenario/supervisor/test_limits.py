"""[limits] with the real supervisor: kept, named as the reason of an end, changed, and measured.

On a host whose controllers are in cgroup v1 this is the second backend; what a host lacks skips.
"""
from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.manager.set_limits import KEPT, _write
from tests.limits_kit import (
    HOG,
    MIB,
    PYTHON,
    SLEEP,
    SPIN,
    hog_after,
    limit_of,
    memory_limit,
    need,
    own_groups,
    service,
    usage,
)
from tests.stack import Refused, Stack

# --- what runs out of something ---


def test_a_memory_hog_is_killed_the_reason_says_so_and_it_is_restarted(tmp_path: Path) -> None:
    need("memory")
    text = service(HOG, '[limits]\nmemory = "32MiB"\n'
                        '[restart]\ndelay = "10ms"\nlimit = {count = 2, within = "1m"}\n')
    with Stack(tmp_path, {"hog": text, "calm": SLEEP}) as stack:
        row = stack.wait("hog", "failed")
        said = "killed for memory: limits.memory of 32MiB reached"
        assert row["last_exit"] == said
        assert row["reason"] == f"{said}; 2 restarts within 1m are its limit"
        assert row["restarts"] == 2
        chain = stack.call("Why", unit="hog")["chain"]
        assert said in chain[0]["cause"]
        assert stack.row("calm")["state"] == "running"
        assert stack.row("calm")["restarts"] == 0


def test_an_end_that_memory_did_not_cause_does_not_say_so(tmp_path: Path) -> None:
    need("memory")
    text = service(HOG, '[limits]\nmemory = "32MiB"\n[restart]\nwhen = "never"\n')
    quiet = SLEEP + '[limits]\nmemory = "32MiB"\n[restart]\nwhen = "never"\n'
    with Stack(tmp_path, {"hog": text, "calm": quiet}) as stack:
        stack.wait("hog", "failed")
        os.kill(stack.row("calm")["pid"], signal.SIGKILL)
        assert stack.wait("calm", "failed")["last_exit"] == "killed by SIGKILL"


def test_when_memory_runs_out_the_whole_unit_goes_also_where_the_kernel_kills_one(
    tmp_path: Path,
) -> None:
    need("memory")
    code = (f"import os\nif not os.fork():\n {HOG.splitlines()[0]}\n {HOG.splitlines()[1]}\n"
            "import time\ntime.sleep(1000)")
    text = service(code, '[limits]\nmemory = "48MiB"\n[restart]\nwhen = "never"\n')
    with Stack(tmp_path, {"hog": text}) as stack:
        row = stack.wait("hog", "failed")
        assert row["last_exit"] == "killed for memory: limits.memory of 48MiB reached"


def test_with_oom_process_the_rest_goes_on(tmp_path: Path) -> None:
    need("memory")
    code = (f"import os\nif not os.fork():\n {HOG.splitlines()[0]}\n {HOG.splitlines()[1]}\n"
            "print(os.wait()[1], flush=True)\nimport time\ntime.sleep(1000)")
    text = service(code, '[limits]\nmemory = "48MiB"\noom = "process"\n')
    with Stack(tmp_path, {"hog": text}) as stack:
        stack.until(lambda: usage(stack, "hog")["oom_kills"], "the kernel to kill")
        assert stack.row("hog")["state"] == "running"
        stack.call("Stop", units=["hog"])
        assert "one of its processes was killed for memory" in stack.row("hog")["last_exit"]


def test_a_fork_bomb_stops_at_its_tasks_and_the_supervisor_is_fine(tmp_path: Path) -> None:
    """And nothing of it is left when it is stopped."""
    need("pids")
    code = ("import os, time\nwhile True:\n try: os.fork()\n"
            " except OSError: time.sleep(0.05)")
    text = service(code, '[limits]\ntasks = 40\n[stop]\nladder = ["KILL"]\n')
    with Stack(tmp_path, {"bomb": text, "calm": SLEEP}) as stack:
        stack.until(lambda: usage(stack, "bomb")["tasks"] == 40, "the bomb to be full")
        assert stack.row("calm")["state"] == "running"
        assert stack.call("Restart", units=["calm"])["results"][0]["ok"]
        assert stack.call("Stop", units=["bomb"])["results"][0]["ok"]
        assert stack.row("bomb")["state"] == "stopped"


def test_a_part_of_a_core_is_no_more_than_that(tmp_path: Path) -> None:
    need("cpu")
    text = service(SPIN, '[limits]\ncpu = "20%"\n')
    with Stack(tmp_path, {"part": text}) as stack:
        stack.until(lambda: (usage(stack, "part")["throttled"] or 0) >= 10, "ten throttled periods")
        found = usage(stack, "part")
        assert found["throttled_ns"] > 0
        used, held = found["cpu_ns"], found["throttled_ns"]
        assert used is not None
        # It was held back for the greater part of the time in which it wanted to run.
        assert 0.02 < used / (used + held) < 0.5, found


# --- budgets of several ---


def test_two_units_share_one_budget_and_its_end_names_it(tmp_path: Path) -> None:
    need("memory")
    budget = 'kind = "group"\n[limits]\nmemory = "64MiB"\n'
    hold = "import time\nb = bytearray(b'x' * 30000000)\ntime.sleep(1000)"
    inside = '[limits]\nslice = "team"\n[restart]\nwhen = "never"\n'
    units = {"team": budget, "holder": service(hold, inside), "late": service(HOG, inside)}
    units["late"] += '[needs]\nafter = ["holder"]\n'
    with Stack(tmp_path, units, start=["holder"]) as stack:
        stack.wait("holder", "running")
        stack.until(lambda: (usage(stack, "holder")["memory_bytes"] or 0) > 30e6, "it to hold")
        assert "/+team/holder" in stack.call("Describe", unit="holder")["cgroup"]
        stack.call("Start", units=["late"], wait=False)
        stack.until(
            lambda: "failed" in {stack.row(key)["state"] for key in ("late", "holder")}, "an end")
        ended = [r for r in stack.rows().values() if r["state"] == "failed"]
        assert ended[0]["last_exit"] == "killed for memory: the 64MiB of slice team were used up"


def test_a_slice_that_is_not_there_is_no_licence_to_run_without(tmp_path: Path) -> None:
    units = {"web": SLEEP + '[limits]\nslice = "team"\n', "calm": SLEEP}
    with Stack(tmp_path, units) as stack:
        stack.wait("calm", "running")
        assert stack.wait("web", "failed")["reason"] == "its slice team has no unit file"
        with pytest.raises(Refused, match="there are errors") as found:
            stack.call("ReloadUnits")
        assert [(p["key"], p["message"]) for p in found.value.parameters["problems"]] == [
            ("limits.slice", "cannot be used: its slice team has no unit file")]


# --- what cannot be enforced ---

# A disk limit on what is no disk: no host can.
UNENFORCEABLE = 'io = [{path = "/proc", read = "1MB/s"}]\n'


def test_what_cannot_be_enforced_is_refused_by_name(tmp_path: Path) -> None:
    text = SLEEP + "[limits]\n" + UNENFORCEABLE + '[restart]\nwhen = "never"\n'
    with Stack(tmp_path, {"web": text}) as stack:
        reason = stack.wait("web", "failed")["reason"]
        assert "limits.io cannot be enforced here: " in reason
        assert 'limits.require = "best" starts it all the same' in reason


def test_or_listed_with_require_best(tmp_path: Path) -> None:
    text = SLEEP + '[limits]\nrequire = "best"\n' + UNENFORCEABLE
    with Stack(tmp_path, {"web": text}) as stack:
        row = stack.wait("web", "running")
        assert [m for m in row["missing_limits"] if m.startswith("limits.io cannot be enforced")]
        keys = stack.call("Explain", unit="web")["keys"]
        shown = next(key for key in keys if key["key"] == "limits.io")
        assert shown["mechanism"].startswith("not enforced: ")
        os.kill(stack.manager, signal.SIGKILL)
        row = stack.wait("web", "running", test=lambda row: bool(row["missing_limits"]))
        assert row["restarts"] == 0


# --- changed while it runs ---


def test_a_limit_that_is_set_holds_at_once_and_for_the_next_run(tmp_path: Path) -> None:
    need("memory")
    hold = "import time\nb = bytearray(b'x' * 20000000)\ntime.sleep(1000)"
    text = service(hold, '[limits]\nmemory = "64MiB"\n')
    with Stack(tmp_path, {"web": text}) as stack:
        pid = stack.wait("web", "running")["pid"]
        assert memory_limit(stack, "web") == str(64 * MIB)
        answer = stack.call("Set", unit="web", keys={"limits": {"memory": "128MiB", "files": 99}})
        assert [(r["key"], r["ok"]) for r in answer["results"]] == [("web", True)]
        assert memory_limit(stack, "web") == str(128 * MIB)
        row = stack.row("web")
        assert row["pid"] == pid
        assert not row["stale"], "what is set holds for what runs"
        open_files = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
                          if line.startswith("Max open files"))
        assert open_files.split()[3:5] == ["99", "99"]
        assert answer["file"] == f"{stack.runtime}/units/web.toml.d/zz-set-2-transient.toml"
        stack.call("Restart", units=["web"])
        assert memory_limit(stack, "web") == str(128 * MIB)
        assert stack.call("ReloadUnits")["changed"] == []
        stack.call("Set", unit="web", keys={"limits": {"memory": None, "files": None}})
        assert memory_limit(stack, "web") == str(64 * MIB)
        assert not Path(answer["file"]).exists()


def test_a_limit_is_given_to_what_had_none_and_is_effective(tmp_path: Path) -> None:
    need("cpu")
    with Stack(tmp_path, {"spin": service(SPIN, "")}) as stack:
        pid = stack.wait("spin", "running")["pid"]
        assert stack.row("spin")["usage"] is None
        result = stack.call("Set", unit="spin", keys={"limits": {"cpu": "10%"}})["results"][0]
        assert result["ok"], result
        stack.until(lambda: (usage(stack, "spin")["throttled"] or 0) > 3, "it to be held back")
        assert stack.row("spin")["pid"] == pid


def test_memory_that_it_had_before_it_was_limited_is_still_told(tmp_path: Path) -> None:
    """cgroup v1 leaves it charged to the group that it was in."""
    need("memory")
    hold = "import time\nb = bytearray(b'x' * 20000000)\nprint('has', flush=True)\ntime.sleep(1000)"
    with Stack(tmp_path, {"web": service(hold, "")}) as stack:
        stack.wait("web", "running")
        stack.until(lambda: stack.row("web")["memory_bytes"] > 20_000_000, "it to have its memory")
        stack.call("Set", unit="web", keys={"limits": {"memory": "64MiB"}})
        assert stack.row("web")["memory_bytes"] > 20_000_000
        assert usage(stack, "web")["memory_bytes"] > 20_000_000
        os.kill(stack.manager, signal.SIGKILL)
        stack.until(stack.answers, "the next manager")
        assert usage(stack, "web")["memory_bytes"] > 20_000_000
        stack.call("Restart", units=["web"])
        stack.wait("web", "running")
        stack.until(lambda: usage(stack, "web")["memory_peak_bytes"] > 20_000_000, "its peak")


def test_set_is_kept_with_persist_and_then_overrules_what_was_set_before(tmp_path: Path) -> None:
    need("memory")
    with Stack(tmp_path, {"web": SLEEP}) as stack:
        stack.wait("web", "running")
        first = stack.call("Set", unit="web", keys={"limits": {"memory": "64MiB"}})
        kept = stack.call("Set", unit="web", keys={"limits": {"memory": "96MiB"}}, persist=True)
        assert memory_limit(stack, "web") == str(96 * MIB)
        assert not Path(first["file"]).exists()
        assert kept["file"] == f"{stack.units}/web.toml.d/zz-set-1-kept.toml"
        assert Path(kept["file"]).read_text() == (
            '# Written by `unboxed set`.\n[limits]\nmemory = "96MiB"\n')
        assert Path(kept["file"]).stat().st_mode & 0o777 == 0o644
        with pytest.raises(Refused, match="it was set with --persist; `unboxed set --persist web"):
            stack.call("Set", unit="web", keys={"limits": {"memory": None}})
        assert memory_limit(stack, "web") == str(96 * MIB)
        stack.call("Set", unit="web", keys={"limits": {"memory": None}}, persist=True)
        assert not Path(kept["file"]).exists()


def test_a_drop_in_that_cannot_be_written_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    path = f"{tmp_path}/web.toml.d/{KEPT}"
    with pytest.raises(OSError, match="No space left") as found:
        _write(path, "[limits]\n")
    assert found.value.filename == path
    assert os.listdir(os.path.dirname(path)) == []


def test_what_config_refuses_is_not_set(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": SLEEP}) as stack:
        stack.wait("web", "running")
        for keys, key, words in (
            ({"limits": {"memory": "lots"}}, "limits.memory", "cannot use"),
            ({"limits": {"memery": "1GiB"}}, "limits.memery", "memory"),
            ({"limits": {"memory": "1GiB", "memory_high": "2GiB"}}, "limits.memory_high",
             "cannot be more than limits.memory"),
            ({"limits": {"slice": "nobody"}}, "limits.slice", "has no unit file"),
            ({"command": "/bin/true"}, "command", "only keys of [limits]"),
            ({"limits": 7}, "limits", "only keys of [limits]"),
        ):
            with pytest.raises(Refused, match="nothing was changed") as found:
                stack.call("Set", unit="web", keys=keys)
            problems = found.value.parameters["problems"]
            assert [p["key"] for p in problems] == [key], problems
            assert words in problems[0]["message"]
        assert not (stack.runtime / "units" / "web.toml.d").exists()
        with pytest.raises(Refused, match="no unit nobody"):
            stack.call("Set", unit="nobody", keys={"limits": {"tasks": 5}})


def test_what_a_group_shares_is_changed_for_its_members(tmp_path: Path) -> None:
    need("memory")
    units = {"team": 'kind = "group"\n[limits]\nmemory = "64MiB"\n',
             "web": SLEEP + '[limits]\nslice = "team"\n'}
    with Stack(tmp_path, units) as stack:
        pid = stack.wait("web", "running")["pid"]
        assert stack.call("Set", unit="team", keys={"limits": {"memory": "80MiB"}})["results"][0][
            "ok"]
        described = Path(stack.call("Describe", unit="web")["cgroup"]).parent / "memory.max"
        found = described if described.exists() else (
            own_groups(pid)["memory"].parent / "memory.limit_in_bytes")
        assert found.read_text().strip() == str(80 * MIB)


def test_a_group_that_others_share_keeps_something_to_share(tmp_path: Path) -> None:
    need("memory")
    with Stack(tmp_path, {"team": 'kind = "group"\n', "web": SLEEP}) as stack:
        stack.call("Set", unit="team", keys={"limits": {"memory": "64MiB"}})
        (stack.units / "web.toml").write_text(SLEEP + '[limits]\nslice = "team"\n')
        stack.call("ReloadUnits")
        with pytest.raises(Refused, match="nothing was changed") as found:
            stack.call("Set", unit="team", keys={"limits": {"memory": None}})
        assert found.value.parameters["problems"][0]["message"] == (
            "cannot be used: web is in it, and its slice team has no [limits] to share")


# --- another manager ---


def test_limits_and_figures_outlive_the_manager(tmp_path: Path) -> None:
    need("memory")
    rest = '[limits]\nmemory = "48MiB"\n[restart]\nwhen = "never"\n'
    text = service(hog_after(tmp_path / "go"), rest)
    with Stack(tmp_path, {"web": text}) as stack:
        stack.wait("web", "running")
        old = stack.manager
        os.kill(old, signal.SIGKILL)
        stack.until(lambda: stack.manager not in (0, old) and stack.answers(), "another manager")
        assert memory_limit(stack, "web") == str(48 * MIB)
        assert usage(stack, "web")["memory_bytes"] > 0
        assert stack.call("Set", unit="web", keys={"limits": {"memory": "64MiB"}})["results"][0][
            "ok"]
        assert memory_limit(stack, "web") == str(64 * MIB)
        (tmp_path / "go").touch()
        found = stack.wait("web", "failed")
        assert found["last_exit"] == "killed for memory: limits.memory of 64MiB reached"


def test_what_is_in_a_slice_that_is_gone_stays_there_for_the_next_manager(tmp_path: Path) -> None:
    """A command of its run would else join groups of another place, and those of this one stay."""
    need("pids")
    team = 'kind = "group"\n[limits]\ntasks = 50\n'
    hook = '[reload]\ncommand = ["/bin/true"]\n'
    units = {"team": team, "web": SLEEP + hook + '[limits]\nslice = "team"\n'}
    with Stack(tmp_path, units) as stack:
        pid = stack.wait("web", "running")["pid"]
        groups = [path for path in own_groups(pid).values() if path.parent.name == "+team"]
        cgroup = stack.call("Describe", unit="web")["cgroup"]
        assert "/+team/web" in cgroup
        (stack.units / "team.toml").unlink()
        (stack.units / "web.toml").write_text(SLEEP + hook)
        stack.call("ReloadUnits")
        old = stack.manager
        os.kill(old, signal.SIGKILL)
        stack.until(lambda: stack.manager not in (0, old) and stack.answers(), "another manager")
        assert stack.row("web")["pid"] == pid
        assert stack.call("Reload", units=["web"], wait=True)["results"][0]["ok"]
        stack.call("Stop", units=["web"], wait=True)
        assert [path for path in (*groups, Path(cgroup)) if path.exists()] == []


def test_an_end_without_a_manager_is_explained_by_the_next(tmp_path: Path) -> None:
    need("memory")
    rest = '[limits]\nmemory = "48MiB"\n[restart]\nwhen = "never"\n'
    text = service(hog_after(tmp_path / "go"), rest)
    with Stack(tmp_path, {"web": text}) as stack:
        row = stack.wait("web", "running")
        manager = stack.manager
        os.kill(manager, signal.SIGSTOP)
        (tmp_path / "go").touch()
        stack.until(lambda: _is_zombie_or_gone(row["pid"]), "it to be killed")
        os.kill(manager, signal.SIGKILL)
        found = stack.wait("web", "failed")
        assert found["last_exit"] == "killed for memory: limits.memory of 48MiB reached"


def _is_zombie_or_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


# --- what people see ---


def unboxed(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "supervisor.cli", *words], cwd=Path(__file__).parents[3],
        env={**os.environ, "UNBOXED_RUNTIME_DIR": str(stack.runtime)}, timeout=30, text=True,
        capture_output=True, check=False)


def test_the_command_sets_limits_and_shows_figures(tmp_path: Path) -> None:
    need("memory")
    with Stack(tmp_path, {"web": SLEEP}) as stack:
        stack.wait("web", "running")
        done = unboxed(stack, "set", "web", "limits.memory=64MiB", "limits.files=50")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[0] == "web: applied"
        assert memory_limit(stack, "web") == str(64 * MIB)
        assert "memory  " in unboxed(stack, "status", "web").stdout
        assert '"memory_peak_bytes"' in unboxed(stack, "status", "--json").stdout
        shown = unboxed(stack, "explain", "web").stdout
        assert "memory.max = " in shown or "memory.limit_in_bytes = " in shown
        bad = unboxed(stack, "set", "web", "limits.memory=lots")
        assert bad.returncode == 1
        assert "limits.memory: cannot use" in bad.stderr
        assert unboxed(stack, "set", "web").returncode == 2
        assert unboxed(stack, "set", "web", "command=x").returncode == 2
        assert unboxed(stack, "set", "nobody", "limits.tasks=4").returncode == 3


def test_a_unit_tried_with_limits_has_them(tmp_path: Path) -> None:
    need("memory")
    with Stack(tmp_path, {}) as stack:
        name = stack.call(
            "Try", command=[*PYTHON.split(), HOG], keys={"limits": {"memory": "32MiB"}})["unit"]
        stack.call("Start", units=[name], wait=False)
        said = stack.wait(name, "failed")["last_exit"]
        assert said == "killed for memory: limits.memory of 32MiB reached"


def test_an_empty_section_is_4096_tasks_and_none_is_no_limit(tmp_path: Path) -> None:
    need("pids")
    with Stack(tmp_path, {"web": SLEEP + "[limits]\n", "free": SLEEP}) as stack:
        stack.wait("web", "running")
        assert limit_of(stack, "web", "pids.max", "pids.max", "pids") == "4096"
        group = own_groups(stack.wait("free", "running")["pid"]).get("pids")
        assert group is None or "unboxed" not in str(group)


def test_for_units_without_limits_no_controller_is_asked_for(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": SLEEP}) as stack:
        pid = stack.wait("web", "running")["pid"]
        stack.call("Restart", units=["web"])
        mine = own_groups(os.getpid())
        assert own_groups(stack.row("web")["pid"]) == mine
        assert pid != stack.row("web")["pid"]
        group = Path(stack.call("Describe", unit="web")["cgroup"])
        if (group / "cgroup.controllers").exists():
            assert (group / "cgroup.controllers").read_text().split() == []

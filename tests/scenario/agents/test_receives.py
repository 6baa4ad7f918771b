"""receives = "cgroup", "pidfd", "endpoints", "metrics": also inside of sandboxes."""
from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from supervisor.kernel import cgroup
from supervisor.kernel.sandbox.facts import facts
from tests.places import let_in
from tests.stack import ROOT, Stack

SCRIPT = str(ROOT / "tests" / "scenario" / "agents" / "watcher.py")
WEB = 'command = ["/bin/sleep", "1000"]\n'
LISTENS = WEB + '[[listen]]\naddress = "tcp:127.0.0.1:0"\nname = "http"\n'
ALL = '[agent]\nreceives = ["cgroup", "pidfd", "endpoints", "metrics"]\n'
TRACKED = cgroup.find("unboxed-probe")[0] is not None


class Watcher:
    def __init__(self, home: Path, attach: str = '["web"]') -> None:
        self.folder = home / "out"
        self.folder.mkdir(mode=0o777)
        self.folder.chmod(0o777)
        self.out = self.folder / "watch.out"
        words = [sys.executable, "-I", "-S", SCRIPT, str(self.out)]
        self.unit = f"command = {json.dumps(words)}\nattach = {attach}\n"

    def rows(self) -> list[dict[str, Any]]:
        if not self.out.exists():
            return []
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def said(self, name: str) -> list[dict[str, Any]]:
        return [row for row in self.rows() if name in row]

    def events(self, key: str) -> list[tuple[str, int]]:
        return [(row["event"], row["pid"]) for row in self.said("key") if row["key"] == key]

    def last_is(self, key: str, pid: int) -> bool:
        return self.events(key)[-1] == ("up", pid)


def test_it_is_handed_descriptors_of_all_that_come_and_go(tmp_path: Path) -> None:
    watch = Watcher(tmp_path, '["web", "two"]')
    units = {"web": WEB, "two": WEB + "instances = 2\n", "other": WEB, "watch": watch.unit + ALL}
    with Stack(tmp_path, units) as stack:
        stack.until(lambda: len(watch.said("key")) == 3, "all of them")
        for row in watch.said("key"):
            pid = stack.row(row["key"])["pid"]
            assert (row["event"], row["pid"], row["pid of fd"]) == ("up", pid, pid)
            assert row["descriptors"] == ["cgroup", "pidfd"][not TRACKED :]
            assert row["instance"] == int(row["key"].partition("/")[2] or 0)
            assert row["unit"] == row["key"].partition("/")[0]
            assert not TRACKED or row["in group"] == [pid]
        first = stack.row("web")["pid"]
        os.kill(first, signal.SIGKILL)
        stack.until(lambda: len(watch.events("web")) >= 2, "the news")
        stack.wait("web", "running")
        second = stack.row("web")["pid"]
        stack.until(lambda: watch.events("web")[-1] == ("up", second), "the next run")
        stack.call("Stop", units=["web"])
        stack.until(lambda: watch.events("web")[-1] == ("down", 0), "its end")
        assert not watch.events("other")


def test_a_new_manager_goes_on_telling(tmp_path: Path) -> None:
    watch = Watcher(tmp_path, '["web", "late"]')
    units = {"web": WEB, "late": WEB, "watch": watch.unit + ALL}
    with Stack(tmp_path, units) as stack:
        stack.until(lambda: len(watch.said("key")) == 2, "both")
        os.kill(stack.manager, signal.SIGKILL)
        stack.until(stack.answers, "the next manager")
        stack.call("Stop", units=["late"])
        stack.until(lambda: watch.events("late")[-1] == ("down", 0), "the end of one")
        assert {row["event"] for row in watch.said("event")} == {"up", "down"}
        assert stack.row("watch")["restarts"] == 0


def test_one_who_does_not_read_gets_the_latest_of_each_later(tmp_path: Path) -> None:
    watch = Watcher(tmp_path)
    with Stack(tmp_path, {"web": WEB + "instances = 20\n", "watch": watch.unit + ALL}) as stack:
        stack.until(lambda: len(watch.said("key")) == 20, "the first news")
        agent = stack.row("watch")["pid"]
        os.kill(agent, signal.SIGSTOP)
        rounds = 12  # of 40 messages each, which is more than the socket holds
        for _ in range(rounds):
            stack.call("Restart", units=["web"])
        pids = {key: row["pid"] for key, row in stack.rows().items()}
        os.kill(agent, signal.SIGCONT)
        for number in range(20):
            key = f"web/{number}"
            stack.until(partial(watch.last_is, key, pids[key]), f"the latest of {key}")
        assert len(watch.said("key")) < 20 + rounds * 40
        alive = [row for row in watch.said("key") if row["pid"] in pids.values()]
        assert {row["pid of fd"] for row in alive} == {pids[f"web/{n}"] for n in range(20)}


def test_endpoints_say_who_listens_where_as_units_come_and_go(tmp_path: Path) -> None:
    watch = Watcher(tmp_path)
    with Stack(tmp_path, {"web": LISTENS, "watch": watch.unit + ALL}) as stack:
        path = stack.runtime / "endpoints.json"

        def entry(key: str) -> dict[str, Any]:
            return next((one for one in json.loads(path.read_text())["units"] if one["key"] == key),
                        {})

        stack.until(lambda: watch.said("endpoints"), "the first look")
        pid = stack.wait("web", "running")["pid"]
        stack.until(lambda: entry("web").get("pid") == pid, "the endpoint")
        web = entry("web")
        assert (web["unit"], web["instance"], web["state"], web["ready"]) == (
            "web", 0, "running", True)
        (listener,) = web["listeners"]
        assert listener["name"] == "http"
        assert int(listener["address"].rpartition(":")[2]) > 0
        stack.write("late", WEB)
        stack.call("ReloadUnits")
        stack.call("Start", units=["late"])
        stack.until(lambda: entry("late").get("state") == "running", "the new unit")
        stack.call("Stop", units=["late"])
        stack.until(lambda: entry("late").get("state") == "stopped", "its end")
        assert (stack.runtime / "shared" / "endpoints.json").stat().st_mode & 0o777 == 0o644
    assert not path.is_symlink()
    assert not (stack.runtime / "shared").exists()


READS = sorted({
    *filter(os.path.exists, ("/usr", "/lib", "/lib64", "/etc")), str(ROOT),
    os.path.realpath(sys.base_prefix),
})  # fmt: skip
DENIED = f'tmp = "shared"\nview = "deny"\nread = {json.dumps([*READS, "/proc"])}\n'
STRICT = f"""level = "strict"
promises = ["stdio", "rpath", "wpath", "cpath", "unix", "recvfd", "exec"]
read = {json.dumps(READS)}
exec = {json.dumps(READS)}
"""
SANDBOXES = {"app": 'level = "app"\n', "app, denied": 'level = "app"\n' + DENIED, "strict": STRICT}


@pytest.mark.skipif(not facts().root, reason="needs root in the first user namespace")
@pytest.mark.parametrize("level", SANDBOXES)
def test_it_gets_all_that_in_a_sandbox(tmp_path: Path, level: str) -> None:
    let_in(tmp_path)
    watch = Watcher(tmp_path)
    mine = f'[sandbox]\nrequire = "best"\nwrite = ["{watch.folder}"]\n'
    box = mine + SANDBOXES[level]
    with Stack(tmp_path, {"web": WEB, "watch": watch.unit + ALL + box}) as stack:
        stack.until(lambda: len(watch.events("web")) == 1, "what it is told")
        (status,) = watch.said("status")
        assert set(status["status"]) == {"web", "watch"}
        (endpoints,) = watch.said("endpoints")
        assert {one["key"] for one in endpoints["endpoints"]} == {"web", "watch"}
        row = watch.said("key")[0]
        assert row["pid of fd"] in (stack.row("web")["pid"], -1)
        assert row["descriptors"] == ["cgroup", "pidfd"][not TRACKED :]


def test_explain_lists_what_it_is_given(tmp_path: Path) -> None:
    watch = Watcher(tmp_path)
    given = '[agent]\nreceives = ["logs", "cgroup", "endpoints"]\ncursor = true\n'
    with Stack(tmp_path, {"web": WEB, "watch": watch.unit + given}, start=["web"]) as stack:
        answer = stack.call("Explain", unit="watch")
        steps = [(step["step"], step["detail"]) for step in answer["steps"]]
        assert ("SENT_FD", "descriptor 0 = the logs of what it is attached to") in steps
        assert ("SENT_FD", "descriptor 3 = the pipe for its acknowledgements") in steps
        assert any(words.startswith("descriptor 4 = the socket") for _, words in steps)
        variables = next(words for step, words in steps if step == "ENV")
        for name in ("UNBOXED_ATTACHED", "UNBOXED_ACK_FD", "UNBOXED_AGENT_FD", "UNBOXED_ENDPOINTS"):
            assert name in variables
        rows = {row["key"]: row["mechanism"] for row in answer["keys"]}
        assert {"attach", "agent.receives", "agent.cursor"} <= set(rows)
        assert all(rows[key] for key in ("attach", "agent.receives", "agent.cursor"))


def test_what_is_forgotten_is_told_as_gone(tmp_path: Path) -> None:
    watch = Watcher(tmp_path, '["*"]')
    with Stack(tmp_path, {"web": WEB, "watch": watch.unit + ALL}) as stack:
        stack.until(lambda: watch.events("web"), "the first news")
        (stack.units / "web.toml").unlink()
        stack.call("ReloadUnits")
        stack.call("Stop", units=["web"])
        stack.until(lambda: watch.events("web")[-1] == ("down", 0), "its end")
        assert "web" not in stack.rows()


def test_hooks_have_what_is_no_descriptor(tmp_path: Path) -> None:
    watch = Watcher(tmp_path)
    hook = f'start.before = [["/bin/sh", "-c", "env > {tmp_path}/hook"]]\n'
    with Stack(tmp_path, {"web": WEB, "watch": watch.unit + hook + ALL}) as stack:
        stack.until(lambda: watch.events("web"), "the first news")
        names = {line.partition("=")[0] for line in (tmp_path / "hook").read_text().splitlines()}
        assert {"UNBOXED_ATTACHED", "UNBOXED_ENDPOINTS", "UNBOXED_STATUS"} <= names
        assert "UNBOXED_AGENT_FD" not in names

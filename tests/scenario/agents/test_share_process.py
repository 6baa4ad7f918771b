"""[agent] share = "pid" and "tmp": an agent among the processes of its main, and in its /tmp."""
from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from supervisor.kernel.sandbox.facts import facts
from tests.scenario.sandbox.kit import written
from tests.stack import Stack

pytestmark = pytest.mark.skipif(not facts().root, reason="needs root in the first user namespace")

WEB = """\
command = ["/bin/sh", "-c", "echo hello > /tmp/made; exec sleep 1000"]
user = "nobody"
[restart]
delay = "50ms"
[sandbox]
processes = "own"
tmp = "private"
"""
AGENT = """\
command = ["/bin/sh", "-c", "sleep 0.1; cat /tmp/made; ps -eo comm= | xargs; exec sleep 999"]
user = "nobody"
attach = "web"
[agent]
share = ["pid", "tmp"]
[sandbox]
level = "app"
"""


@pytest.mark.parametrize("agent", [AGENT, AGENT.partition("[sandbox]")[0]], ids=["app", "bare"])
def test_it_is_started_after_its_main_and_sees_its_processes_and_files(
    agent: str, tmp_path: Path
) -> None:
    with Stack(tmp_path, {"web": WEB, "agent": agent}) as stack:
        main, pid = (stack.wait(name, "running")["pid"] for name in ("web", "agent"))
        text = written(stack, "agent", "sleep ")
        assert text.startswith("hello\n")
        assert "unboxed-init" in text  # the namespace's init
        assert "python3" not in text  # which is the host's
        link = os.readlink(f"/proc/{pid}/ns/pid")
        assert link == os.readlink(f"/proc/{main}/ns/pid") != os.readlink("/proc/self/ns/pid")
        keys = {row["key"] for row in stack.call("Explain", unit="agent")["keys"]}
        assert "agent.share" in keys


def test_it_ends_with_its_main_and_is_back_with_the_next_one(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": WEB, "agent": AGENT}) as stack:
        main, agent = (stack.wait(name, "running")["pid"] for name in ("web", "agent"))
        os.kill(main, signal.SIGKILL)
        stack.until(lambda: stack.row("agent")["pid"] not in (0, agent), "another agent")
        fresh = stack.wait("agent", "running")["pid"]
        main = stack.wait("web", "running")["pid"]
        assert os.readlink(f"/proc/{fresh}/ns/pid") == os.readlink(f"/proc/{main}/ns/pid")
        stack.call("Stop", units=["web"])
        assert stack.row("agent")["state"] == "stopped"
        assert stack.row("agent")["reason"] == "it requires web: stopped by uid 0"


def test_an_agent_that_ends_costs_its_main_nothing(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": WEB, "agent": AGENT}) as stack:
        main = stack.wait("web", "running")["pid"]
        agent = stack.wait("agent", "running")["pid"]
        os.kill(agent, signal.SIGKILL)
        stack.until(lambda: stack.row("agent")["pid"] not in (0, agent), "another agent")
        stack.call("Stop", units=["agent"])
        assert stack.row("web")["pid"] == main


@pytest.mark.parametrize("web, why", [
    (WEB.replace('processes = "own"\n', ""), 'write processes = "own" in the [sandbox]'),
    ("instances = 2\n" + WEB, "it shares namespaces with web, which has several instances"),
    ("", "it shares namespaces with web, which has no unit file"),
])
def test_a_main_with_nothing_to_share_is_refused_by_name(
    web: str, why: str, tmp_path: Path
) -> None:
    units = {"agent": AGENT + '[restart]\nwhen = "never"\n', **({"web": web} if web else {})}
    with Stack(tmp_path, units, start=["agent"]) as stack:
        assert why in stack.wait("agent", "failed")["reason"]

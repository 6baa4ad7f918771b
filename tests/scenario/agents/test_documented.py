"""The examples of docs/agents.md are agents that work."""
from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

import pytest

from supervisor.kernel import cgroup
from tests.scenario.agents.kit import Collector
from tests.scenario.sandbox.kit import written
from tests.stack import ROOT, Stack

PAGE = (ROOT / "docs" / "agents.md").read_text()
WEB = """command = ["/bin/sh", "-c", 'echo first; printf "a \\"b\\"\\\\n"; exec sleep 1000']\n"""
CURSOR = 'attach = "web"\n[agent]\nreceives = ["logs"]\ncursor = true\n'
RECEIVES = 'attach = "web"\n[agent]\nreceives = ["cgroup", "pidfd"]\n'


def example(language: str, word: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    (found,) = [block for block in blocks if word in block]
    return str(found)


def test_the_agents_that_take_lines_acknowledge_them(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(example("python", "sys.stdin"))
    (tmp_path / "agent.sh").write_text(example("sh", "read -r"))
    units = {
        "web": WEB,
        "python": f'command = "{sys.executable} {tmp_path}/agent.py"\n{CURSOR}',
        "shell": f'command = "/bin/sh {tmp_path}/agent.sh"\n{CURSOR}',
    }
    with Stack(tmp_path, units) as stack:
        assert written(stack, "python", "web 6").splitlines()[0] == "web 0 first"
        assert written(stack, "shell", "web: a ").splitlines()[0] == "web: first"
        for name in ("python", "shell"):
            cursor = tmp_path / "state" / "agents" / name / "cursor"
            stack.until(partial(says, cursor, "web@c\n"), str(cursor))


def says(path: Path, words: str) -> bool:
    return path.exists() and words in path.read_text()


@pytest.mark.skipif(cgroup.find("unboxed-probe")[0] is None, reason="no cgroups here")
def test_the_agent_that_takes_descriptors_finds_its_way(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(example("python", "recv_fds"))
    agent = f'command = "{sys.executable} {tmp_path}/agent.py"\n{RECEIVES}'
    with Stack(tmp_path, {"web": WEB, "watch": agent}) as stack:
        pid = stack.wait("web", "running")["pid"]
        written(stack, "watch", f"web runs [b'{pid}']")
        stack.call("Restart", units=["web"])
        pid = stack.wait("web", "running")["pid"]
        written(stack, "watch", f"web runs [b'{pid}']")
        assert stack.row("watch")["restarts"] == 0


def test_the_fields_of_a_line_are_those_that_are_documented(tmp_path: Path) -> None:
    ship = Collector(tmp_path)
    logs = '[agent]\nreceives = ["logs"]\n'
    with Stack(tmp_path, {"web": WEB, "ship": ship.unit + logs}) as stack:
        ship.wait(stack, "first")
        row = ship.rows()[0]
    shown = re.search(r"```json\n(\{\"time\".*?)\n```", PAGE)
    assert shown
    assert list(row) == re.findall(r'"(\w+)":', shown[1])

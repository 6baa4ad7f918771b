"""[agent] share = "limits": a main and its agent in one budget, that of the main."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.limits_kit import HOG, MIB, SLEEP, hog_after, need, own_groups, service
from tests.stack import Refused, Stack

SHARE = 'attach = "web"\n[agent]\nshare = "limits"\n[restart]\nwhen = "never"\n'


def agent(code: str) -> str:
    command, _, _ = service(code, "").partition("\n")
    return f"{command}\n{SHARE}"


def group(stack: Stack, unit: str) -> str:
    found: str = stack.call("Describe", unit=unit)["cgroup"]
    return found


def test_what_the_agent_takes_the_main_has_no_more(tmp_path: Path) -> None:
    need("memory")
    web = SLEEP + '[limits]\nmemory = "48MiB"\n'
    with Stack(tmp_path, {"web": web, "agent": agent(hog_after(tmp_path / "go"))}) as stack:
        main = stack.wait("web", "running")["pid"]
        stack.wait("agent", "running")
        assert group(stack, "web").endswith("/+web/web")
        assert group(stack, "agent").endswith("/+web/agent")
        (tmp_path / "go").touch()
        ended = stack.wait("agent", "failed")
        assert ended["last_exit"] == "killed for memory: the 48MiB of slice web were used up"
        assert stack.row("web")["pid"] == main


def test_whichever_is_started_first(tmp_path: Path) -> None:
    need("memory")
    web = SLEEP + '[limits]\nmemory = "48MiB"\n'
    units = {"web": web, "agent": agent(HOG)}
    with Stack(tmp_path, units, start=["agent"]) as stack:
        ended = stack.wait("agent", "failed")
        assert ended["last_exit"] == "killed for memory: the 48MiB of slice web were used up"
        stack.call("Start", units=["web"])
        assert group(stack, "web").endswith("/+web/web")


def test_a_budget_that_is_set_while_they_run_is_that_of_both(tmp_path: Path) -> None:
    need("memory")
    web = SLEEP + '[limits]\nmemory = "48MiB"\n'
    with Stack(tmp_path, {"web": web, "agent": agent("import time\ntime.sleep(1000)")}) as stack:
        stack.wait("web", "running")
        stack.wait("agent", "running")
        stack.call("Set", unit="web", keys={"limits": {"memory": "64MiB"}})
        described = stack.call("Describe", unit="web")
        unified = Path(described["cgroup"], "memory.max")
        if not unified.exists():
            leaf = own_groups(described["status"]["pid"])["memory"]
            unified = leaf / "memory.limit_in_bytes"
        assert unified.read_text().strip() == str(64 * MIB)
        above = unified.parent.parent
        assert above.name == "+web"
        assert (above / unified.name).read_text().strip() == str(64 * MIB)


@pytest.mark.parametrize("web, why", [
    (SLEEP, "it shares the limits of web, which has none"),
    (SLEEP + "instances = 2\n[limits]\ntasks = 50\n", "which has several instances"),
])
def test_a_main_without_one_budget_is_no_licence_to_run_without(
    web: str, why: str, tmp_path: Path
) -> None:
    with Stack(tmp_path, {"web": web, "agent": agent("pass")}) as stack:
        assert why in stack.wait("agent", "failed")["reason"]
        key = "web/0" if "instances" in web else "web"
        stack.wait(key, "running")
        with pytest.raises(Refused) as refused:
            stack.call("ReloadUnits")
        problem = refused.value.parameters["problems"][0]
        assert problem["key"] == "agent.share"
        assert os.path.basename(problem["file"]) == "agent.toml"

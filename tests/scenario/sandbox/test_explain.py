"""What a sandbox is made of, as `explain` and `status` tell, and what of it a host lacks."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.places import let_in
from tests.stack import Stack

SLEEP = 'command = ["/bin/sleep", "1000"]\n'
LACKS = '[sandbox]\ncapabilities = ["CAP_NET_ADMIN"]\n'


def steps(stack: Stack, unit: str) -> list[tuple[str, str]]:
    answer = stack.call("Explain", unit=unit)
    return [(step["step"], step["detail"]) for step in answer["steps"] if step["step"] != "FILE"]


def keys(stack: Stack, unit: str) -> dict[str, dict[str, Any]]:
    return {key["key"]: key for key in stack.call("Explain", unit=unit)["keys"]}


@pytest.fixture
def ordinary(tmp_path: Path) -> list[str]:
    """Words before the supervisor's command that make it an ordinary user's."""
    if os.geteuid():
        return []
    let_in(tmp_path)
    os.chown(tmp_path, 65534, 65534)
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def test_the_steps_of_a_sandbox_come_in_their_order_and_say_what_they_do(tmp_path: Path) -> None:
    box = '[sandbox]\njit = false\npromises = ["stdio", "rpath", "exec"]\n'
    text = f"autostart = false\n{SLEEP}{box}"
    with Stack(tmp_path, {"web": text}) as stack:
        found = steps(stack, "web")
        names = [name for name, _ in found]
        words = [words for name, words in found if name == "CALL"]
        assert names[-1] == "EXEC"
        assert names.index("FORK") < names.index("DIRECTORY") < names.index("NO_NEW_PRIVS")
        assert names.index("NO_NEW_PRIVS") < len(names) - 2
        assert "a filter of" in words[-1]
        assert words[-1].endswith("stdio rpath exec")
        rows = keys(stack, "web")
        assert "system call filter" in rows["sandbox.promises"]["mechanism"]
        assert "PR_SET_MDWE" in rows["sandbox.jit"]["mechanism"]
        assert stack.row("web")["state"] == "stopped"


def test_level_base_is_told_where_nothing_is_written(tmp_path: Path) -> None:
    named = f'autostart = false\n{SLEEP}[env]\nNAME = "{{unit}}"\n'
    with Stack(tmp_path, {"web": named, "off": f'{named}[sandbox]\nlevel = "off"\n'}) as stack:
        rows = keys(stack, "web")
        assert rows["sandbox.level"]["value"] == "base"
        words = rows["sandbox.level"]["mechanism"]
        assert words.startswith("no new privileges: prctl(PR_SET_NO_NEW_PRIVS)")
        assert words.endswith("; no capabilities: capset(2)") == (os.geteuid() == 0)
        assert rows["env.NAME"]["value"] == '"web"'
        assert "PR_SET_NO_NEW_PRIVS" not in keys(stack, "off")["sandbox.level"]["mechanism"]


def test_each_key_is_told_once_and_a_key_of_the_level_says_so(tmp_path: Path) -> None:
    box = '[sandbox]\nlevel = "app"\nrequire = "best"\n[network]\nconnect = ["tcp:443"]\n'
    with Stack(tmp_path, {"web": f"autostart = false\n{SLEEP}{box}"}) as stack:
        told = [key["key"] for key in stack.call("Explain", unit="web")["keys"]]
        assert len(told) == len(set(told))
        rows = keys(stack, "web")
        assert rows["sandbox.tmp"]["value"] == "(by level app)"
        assert rows["network.connect"]["value"] == '["tcp:443"]'
        assert "; a system call filter" in rows["network.connect"]["mechanism"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_explaining_what_is_stopped_makes_nothing(tmp_path: Path) -> None:
    before = set(os.listdir("/run/unboxed-ids/1")) if Path("/run/unboxed-ids/1").exists() else set()
    text = 'autostart = false\nuser = "dynamic"\n' + SLEEP + (
        f'[sandbox]\nopen = [{{ path = "{tmp_path}/made", fd = 4, mode = "write" }}]\n'
    )
    with Stack(tmp_path, {"web": text}) as stack:
        names = [name for name, _ in steps(stack, "web")]
        assert {"UID", "OPEN"} <= set(names)
        assert names.index("OPEN") < names.index("UID")
        after = set(os.listdir("/run/unboxed-ids/1")) if before else before
        assert after == before
        assert not (tmp_path / "made").exists()


def test_what_a_host_lacks_refuses_the_start_or_is_told(
    tmp_path: Path, ordinary: list[str]
) -> None:
    units = {
        "all": SLEEP + LACKS + '[restart]\nwhen = "never"\n',
        "best": SLEEP + LACKS + 'require = "best"\n',
    }
    with Stack(tmp_path, units, prefix=ordinary) as stack:
        row = stack.wait("all", "failed")
        assert "sandbox.capabilities" in row["reason"]
        assert 'require = "best"' in row["reason"]
        (missing,) = stack.wait("best", "running")["missing_sandbox"]
        assert missing.startswith("sandbox.capabilities is not enforced here: ")
        assert steps(stack, "all")[0][0] == "REFUSED"
        assert "not enforced here" in keys(stack, "best")["sandbox.capabilities"]["mechanism"]
        old = stack.manager
        os.kill(old, 9)
        stack.until(lambda: stack.manager not in {0, old} and stack.answers(), "another manager")
        assert stack.row("best")["missing_sandbox"] == [missing]


def test_a_dynamic_user_takes_a_supervisor_of_root(tmp_path: Path, ordinary: list[str]) -> None:
    units = {
        "all": 'user = "dynamic"\n' + SLEEP + '[restart]\nwhen = "never"\n',
        "best": 'user = "dynamic"\n' + SLEEP + '[sandbox]\nrequire = "best"\n',
    }
    with Stack(tmp_path, units, prefix=ordinary) as stack:
        assert stack.wait("all", "failed")["reason"].startswith("user: cannot be dynamic: only")
        (missing,) = stack.wait("best", "running")["missing_sandbox"]
        assert missing.startswith("user is not enforced here: ")

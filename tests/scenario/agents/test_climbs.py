"""What an agent is handed is no way out of its sandbox."""
from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from supervisor.kernel import cgroup
from supervisor.kernel.sandbox.facts import facts
from tests.places import let_in
from tests.scenario.agents.test_receives import SANDBOXES, WEB
from tests.stack import ROOT, Stack

SCRIPT = str(ROOT / "tests" / "scenario" / "agents" / "climber.py")
TRACKED = cgroup.find("unboxed-probe")[0] is not None


@pytest.mark.skipif(not (facts().root and TRACKED), reason="needs root, and cgroups")
@pytest.mark.parametrize("user", ["dynamic", "root"])
@pytest.mark.parametrize("level", SANDBOXES)
def test_the_directory_of_a_cgroup_has_nothing_above_it(
    tmp_path: Path, level: str, user: str
) -> None:
    let_in(tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    folder.chmod(0o777)
    words = [sys.executable, "-I", "-S", SCRIPT, str(folder / "told")]
    unit = (
        f'command = {json.dumps(words)}\nuser = "{user}"\nattach = ["web"]\n'
        f'[agent]\nreceives = ["cgroup"]\n[sandbox]\nrequire = "best"\nwrite = ["{folder}"]\n'
    )
    with Stack(tmp_path, {"web": WEB, "climb": unit + SANDBOXES[level]}) as stack:
        stack.until((folder / "told").exists, "what it reached")
        told = json.loads((folder / "told").read_text())
        pid = stack.row("web")["pid"]
    assert (told["uid"] == 0) is (user == "root")
    assert told["procs"] == f"{pid}\n"
    assert not isinstance(told["above"], list) or not {"etc", "proc"} & set(told["above"])
    if "deny" not in SANDBOXES[level]:
        assert "cgroup.procs" in told["above"]
    assert told["write"] == os.strerror(30 if user == "root" else 13)

"""The tests of namespaces and of programs on groups once more, on another kernel whose cgroups are
v2 and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.machine import POWER_OFF, Machine, failures, inside, needs_machine

FOLDER = "tests/kernel/sandbox"
LACKS = ("no devices controller of cgroup v1 here", "this kernel has no time namespaces")


@needs_machine
@pytest.mark.slow
def test_namespaces_and_programs_act_on_unified_cgroups(tmp_path: Path) -> None:
    files = [f"{FOLDER}/test_{name}.py" for name in ("namespaces", "devices", "addresses")]
    with Machine(tmp_path, f"{inside(*files)}\n{POWER_OFF}", mebibytes=768) as machine:
        machine.ended()
    found = failures(tmp_path)
    words = [said for said in found.values() if said]
    skipped = [said for said in words if said.startswith("skipped:")]
    assert words == skipped, "\n".join(words)
    assert all(any(one in said for one in LACKS) for said in skipped), "\n".join(skipped)
    assert len(found) - len(skipped) >= 20

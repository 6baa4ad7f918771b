"""The tests of cgroups once more where there is v2 and nothing else: elsewhere they may meet a
hybrid host only."""

from __future__ import annotations

from pathlib import Path

from tests.vm.machine import POWER_OFF, Machine, failures, inside, needs_machine

# A thousand interpreters' children take this kernel, which has one CPU, too long.
SLOW = "test_more_processes_than_one_read_tells_are_all_found"
SCRIPTS = ("tests/kernel/test_cgroup.py", "tests/fault/test_f05_daemon.py")


@needs_machine
def test_what_holds_of_cgroups_holds_without_v1_beside_them(tmp_path: Path) -> None:
    script = inside(*SCRIPTS, f"-k 'not {SLOW}'")
    with Machine(tmp_path, f"{script}\n{POWER_OFF}") as machine:
        machine.ended()
    found = failures(tmp_path)
    assert len(found) > 20
    assert not "\n".join(filter(None, found.values()))

"""A boot that cannot go on: a shell on the console says why, and after the repair it goes on."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT
from tests.vm.booted import (
    FSTAB,
    Booted,
    image,
    needs_disk,
    on_disk,
    root_image,
    shipped,
)
from tests.vm.household import UNITS, assert_stopped_in_order, assert_whole, facts, settled
from tests.vm.machine import needs_machine

pytestmark = [needs_machine, needs_disk, pytest.mark.slow]


# Commands, in the machine, that break its manager and mend it.
SCRIPT, PYTHON = "/own/unboxed/supervisor/manager/__main__.py", "/own/python"
DAMAGE = {
    "syntax": f"echo 'def broken(:' >{SCRIPT}",
    "missing": f"rm {SCRIPT}",
    "interpreter": f"rm {PYTHON}",
}
MEND = f"cp -p /own/good/main {SCRIPT}; cp -p /own/good/python {PYTHON}"


def own_package(home: Path, how: str) -> dict[str, str | Path]:
    """Files of a root that has a supervisor of its own, which is broken already."""
    python = home / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    ours = (ROOT / "supervisor").rglob("*.py")
    files: dict[str, str | Path] = {f"own/unboxed/{path.relative_to(ROOT)}": path for path in ours}
    files["own/good/main"] = files[SCRIPT[1:]]
    files["own/good/python"] = files[PYTHON[1:]] = python
    if how == "syntax":
        files[SCRIPT[1:]] = "def broken(:\n"
    else:
        del files[{"missing": SCRIPT, "interpreter": PYTHON}[how][1:]]
    return files


def with_own_manager(lines: list[str]) -> list[str]:
    """The boot arguments of such a machine."""
    at = next(i for i, line in enumerate(lines) if line.endswith("/manager/__main__.py"))
    return [*lines[: at - 3], PYTHON, *lines[at - 2 : at], SCRIPT, *lines[at + 1 :]]


@pytest.mark.parametrize("how", DAMAGE)
def test_a_manager_broken_on_disk_costs_no_service_and_gives_a_shell(
    how: str, tmp_path: Path
) -> None:
    """At boot, and once more while everything runs; mended from that shell."""
    root = root_image(tmp_path, own_package(tmp_path, how))
    with Booted(
        tmp_path / "life", UNITS, root=root, args=on_disk(), edit=with_own_manager
    ) as machine:
        works(machine, "rescue shell: the manager ")
        machine.type(f"mount -o remount,rw /; {MEND}; exit\n")
        before = settled(machine)
        # Now it runs.
        machine.sh(DAMAGE[how])
        mark = len(machine.console())
        machine.sh(f"kill -9 {machine.manager()}")
        works(machine, "rescue shell: the manager ", mark)
        machine.sh("".join(f"kill -0 {row['pid']}\n" for row in before.values() if row["pid"]))
        machine.type(f"{MEND}; exit\n")
        after = settled(machine)
        assert {key: row["pid"] for key, row in after.items()} == {
            key: row["pid"] for key, row in before.items()
        }
        console = machine.power("off")
    assert_stopped_in_order(console)
    assert_whole(root)


def works(machine: Booted, reason: str, after: int = 0) -> None:
    """Wait for that reason, and see that the shell below it does what is typed."""
    machine.said_after(after, reason)
    mark = machine.console().index(reason, after)
    machine.said_after(mark, "for maintenance")  # sulogin
    machine.type("\n")
    machine.said_after(mark, "# ")
    mark = len(machine.console())
    machine.type("echo $((6 * 7)) from the shell\n")
    machine.said_after(mark, "42 from the shell")


def test_a_file_system_that_fsck_cannot_mend_is_mended_by_hand_and_the_boot_goes_on(
    tmp_path: Path,
) -> None:
    damaged = image(tmp_path / "damaged", 8)
    for request in ("clri <2>", "ssv state 2"):  # no root directory; to be looked at
        subprocess.run(
            ["/sbin/debugfs", "-w", "-R", request, damaged], check=True, capture_output=True
        )
    root = root_image(tmp_path, {"etc/fstab": FSTAB + "/dev/ubdb /srv ext4 defaults 0 2\n"})
    names = ("boot", "rescue", "filesystems")
    units = {**UNITS, **{name: shipped(name) for name in names}}
    del units["writable"]
    with Booted(
        tmp_path / "life", units, root=root, args=on_disk(), words=[f"ubd1={damaged}"]
    ) as machine:
        works(machine, "rescue shell: ")
        said = machine.console()
        assert "filesystems" in said
        assert re.search("/dev/ubdb.*(inconsisten|manually|errors)", said, re.IGNORECASE), said
        assert "<start" not in machine.console(), "it does not wait for the boot"
        machine.type("e2fsck -fy /dev/ubdb\nexit\n")
        machine.wait("worker", "running")
        assert machine.rows()["boot"]["state"] == "running"
        assert " /srv ext4 rw" in machine.sh("cat /proc/mounts")
        console = machine.power("off")
    assert_stopped_in_order(console)
    assert_whole(root)
    assert_whole(damaged)


def test_on_a_root_that_stays_read_only_everything_else_runs(tmp_path: Path) -> None:
    units = {name: text for name, text in UNITS.items() if name not in ("boot", "writable")}
    root = root_image(tmp_path)
    before = root.read_bytes()
    with Booted(tmp_path / "life", units, root=root, args=on_disk()) as machine:
        machine.wait("worker", "running")
        assert machine.rows()["migrate"]["state"] == "finished"
        assert "/dev/root / ext4 ro" in facts(machine)
        console = machine.power("off")
    assert_stopped_in_order(console)
    assert root.read_bytes() == before


def test_a_unit_that_never_becomes_ready_holds_up_nobody_else_and_is_named(
    tmp_path: Path,
) -> None:
    hangs = 'command = ["/bin/sleep", "1000"]\nstart = {ready = "notify", timeout = "1h"}\n'
    units = {**UNITS, "hangs": hangs, "behind": hangs + 'needs.requires = ["hangs"]\n'}
    root = root_image(tmp_path)
    with Booted(tmp_path / "life", units, root=root, args=on_disk()) as machine:
        rows = settled(machine, {"hangs": "starting", "behind": "waiting"})
        assert rows["behind"]["waiting_for"] == ["hangs to be ready"]
        console = machine.power("off")
    assert_stopped_in_order(console)
    assert_whole(root)

"""A machine's supervisor is upgraded in place, its first process included: nothing else notices,
and the machine still ends as it should."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import keeper_binary
from tests.vm.booted import Booted, on_disk, root_image
from tests.vm.machine import needs_machine

pytestmark = needs_machine
SERVICES = {f"service-{number}": 'command = ["/bin/sleep", "1000"]' for number in range(5)}
# Until a step of the boot does that.
WRITABLE = """kind = "task"
command = "/bin/mount -o remount,rw /"
sandbox.level = "off"
"""
LOUD = {"loud": 'command = ["/bin/sh", "-c", "while :; do echo a line; sleep 0.05; done"]'}


OWN = "/var/unboxed-init"
# As a package manager replaces it; the file is a little longer each time.
REPLACE = f"cp {OWN} {OWN}.new && echo another >>{OWN}.new && mv {OWN}.new {OWN}"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Booted]:
    """On a disk, from which its first process comes too; all services run."""
    units = {**SERVICES, **LOUD, "writable": WRITABLE}
    root = root_image(tmp_path, {OWN[1:]: Path(keeper_binary())})
    with Booted(tmp_path / "vm", units, root=root, args=on_disk(), own_init=OWN) as made:
        made.wait("writable", "finished")
        for key in (*SERVICES, *LOUD):
            made.wait(key, "running")
        yield made


def runs(machine: Booted) -> dict[str, tuple[int, int]]:
    return {key: (row["pid"], row["restarts"]) for key, row in machine.rows().items()}


def test_a_machine_is_upgraded_in_place_and_powers_off_afterwards(machine: Booted) -> None:
    before = runs(machine)
    for _ in range(3):
        program, manager = machine.sh("stat -Lc %i /proc/1/exe"), machine.manager()
        machine.sh(REPLACE)
        machine.call("Upgrade")
        machine.wait("loud", "running")
        assert machine.manager() != manager
        assert machine.sh("stat -Lc %i /proc/1/exe") != program
        assert machine.sh("readlink /proc/1/exe").strip() == OWN
        assert runs(machine) == before
    machine.sh(REPLACE)  # and not upgraded: the program that runs is a deleted file
    assert "deleted" in machine.sh("readlink /proc/1/exe")
    console = machine.power()
    assert "rescue shell" not in console
    assert "unboxed logger:" not in console, "that / is read-only at first is no news"
    assert "cannot make / read-only" not in console


def test_what_is_no_keeper_does_not_become_the_first_process(machine: Booted) -> None:
    before = runs(machine)
    machine.sh(f"cp /bin/true {OWN}.new && mv {OWN}.new {OWN}")
    with pytest.raises(ConnectionError, match="nothing was changed"):
        machine.call("Upgrade")
    assert runs(machine) == before
    console = machine.power()
    assert f"cannot end by {OWN}: it is no keeper" in console

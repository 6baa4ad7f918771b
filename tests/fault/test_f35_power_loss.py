"""Fault 35: the power goes while units write. All but the last moments can be read, in order, and
no offset is used twice.

A kernel in a process has its log directory on an image of a disk; SIGKILL takes its memory with it,
and so everything that it had not written back.
"""
from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.stack import ROOT
from tests.vm.machine import POWER_OFF, Machine, needs_machine

MKFS = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin")
CUTS = 4
SCRIPT = f"""\
mknod /run/disk-device b 98 0
mkdir /run/disk
mount -t ext4 -o commit=1 /run/disk-device /run/disk
echo 10 >/proc/sys/vm/dirty_writeback_centisecs
echo 20 >/proc/sys/vm/dirty_expire_centisecs
"$PYTHON" {ROOT}/tests/fault/power_loss.py
umount /run/disk
{POWER_OFF}"""

pytestmark = [
    needs_machine,
    pytest.mark.skipif(MKFS is None, reason="there is no mkfs.ext4 (Debian: e2fsprogs)"),
]


@pytest.mark.slow
def test_f35_a_power_failure_costs_the_last_moments_only(tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(96 << 20)
    subprocess.run([str(MKFS), "-q", "-F", image], check=True)
    chance = random.Random(35)
    earlier: dict[int, Any] = {}
    for life in range(CUTS):
        with booted(tmp_path, image, str(life), earlier) as machine:
            wait_for_reports(machine, 10 + 40 * (life % 2))
            time.sleep(chance.random() * 0.3)
        # Its power is off.
        assert "WRONG" not in machine.console()
        earlier[life] = said(machine, "WRITTEN")[-1]
    with booted(tmp_path, image, "last", earlier) as machine:
        machine.ended()
    assert "WRONG" not in machine.console()
    found = said(machine, "FOUND")[0]
    assert found["packed"] > 5, "the cuts came too early to meet compressed segments"
    left = {life: [lives[str(life)] for lives in found["lines"].values()] for life in range(CUTS)}
    words = [f"{earlier[life]['synced']} were safe, {earlier[life]['lines']} were written,"
             f" {lines} are left" for life, lines in left.items()]
    print("\n".join(words))
    for life, lines in left.items():
        assert min(lines) < earlier[life]["lines"], "this cut cost nothing: it was none"


def booted(tmp_path: Path, image: Path, life: str, earlier: dict[int, Any]) -> Machine:
    home = tmp_path / f"life-{life}"
    home.mkdir()
    env = {"LIFE": life, "EARLIER": json.dumps(earlier)}
    return Machine(home, SCRIPT, env=env, mebibytes=192, disk=image)


def said(machine: Machine, word: str) -> list[Any]:
    """What came after that word on the console; a line that the cut tore is left out."""
    whole = machine.console().split("\n")[:-1]
    return [json.loads(row[len(word) :]) for row in whole if row.startswith(word)]


def wait_for_reports(machine: Machine, times: int) -> None:
    deadline = time.monotonic() + 30
    while len(said(machine, "WRITTEN")) < times:
        assert machine.process.poll() is None, machine.console()
        assert "WRONG" not in machine.console(), machine.console()
        assert time.monotonic() < deadline, machine.console()
        time.sleep(0.01)

"""A machine's usual set of units, each of which says when it starts and stops, and the look at
whether all of it is as it must be: after any boot, however that was disturbed."""
from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.vm.booted import Booted

# `wrote` is on a file system of the machine's own memory, the console on the host at once.
SAY = "mkdir -p /run/starts; echo $$ >>/run/starts/{name}; echo '<start {name}>' >/dev/console; "
# Stopping takes a moment, so that there are moments between the stops.
STAY = ("trap 'echo \"<stop {name}>\" >/dev/console; sleep 0.2; exit 0' TERM; {ready}"
        "while :; do sleep 1000 & wait; done")
PLAN = "/var/lib/unboxed/boot-plan"
OFF = 'sandbox.level = "off"\n'
WRITABLE = "mount -o remount,rw /; "


def service(name: str, more: str = "", ready: str = "") -> str:
    words = (SAY + STAY).format(name=name, ready=ready)
    return f"command = {json.dumps(['/bin/sh', '-c', words])}\n{OFF}{more}"


def task(name: str, more: str = "", first: str = "") -> str:
    words = first + SAY.format(name=name)
    return f"kind = 'task'\ncommand = {json.dumps(['/bin/sh', '-c', words])}\n{OFF}{more}"


UNITS = {
    "boot": 'kind = "group"\nneeds.requires = ["writable"]\n',
    "writable": task("writable", first=WRITABLE),
    "alone": service("alone"),
    "db": service("db", 'start.ready = "fd:3"\n', ready="echo >&3; "),
    "web": service("web", 'needs.requires = ["db"]\n'),
    "worker": service("worker", 'needs.after = ["web"]\nneeds.wants = ["web"]\n'),
    "migrate": task("migrate", 'needs.requires = ["db"]\n'),
    "manual": service("manual", "autostart = false\n"),
}
SERVICES = ("alone", "db", "web", "worker")
TASKS = ("writable", "migrate")
STATES = {
    "agent": "running", "boot": "running", "manual": "stopped", "getty-tty0": "stopped",
    **dict.fromkeys(SERVICES, "running"), **dict.fromkeys(TASKS, "finished"),
}  # fmt: skip
STOPS_BEFORE = (("worker", "web"), ("web", "db"))  # (dependent, what it needs)
# But for spawners: how many the keeper has had to start depends on how slow launches were.
FACTS = """
for name in /run/starts/*; do echo "starts ${name##*/}" $(wc -l <$name); done
ps -eo args= >/run/ps
grep -v -e '^\\[' -e '^ps ' -e '^unboxed-spawn' </run/ps | sort
cut -d' ' -f1-4 /proc/mounts
"""


def settled(
    machine: Booted, others: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """Wait until every unit is where it must be, and nothing was started twice; the rows.
    `others`: states of units that are none of the usual ones."""
    states = {**STATES, **(others or {})}
    for key, state in states.items():
        machine.wait(key, state)
    rows = machine.rows()
    found = {key: row["state"] for key, row in rows.items()}
    assert found == states, f"{found}\n{machine.console()}"
    # Who is ready once it is executed is so a moment before it says that it started.
    every = " ".join((*SERVICES, *TASKS))
    starts = machine.sh(f"""cd /run/starts
        until ls {every} >/dev/null 2>&1; do sleep 0.02; done; tail -n 9 -v {every}""")
    pids = dict(re.findall(r"==> (\w+) <==\n([\d\n]*\d)", starts))
    for name in TASKS:
        assert pids[name].isdigit(), f"{starts}\n{machine.console()}"
    for name in SERVICES:
        assert pids[name] == str(rows[name]["pid"]), f"{starts}\n{machine.console()}"
    return rows


def facts(machine: Booted) -> str:
    """What of a settled machine is the same after each boot."""
    own = re.escape(str(machine.home))
    return re.sub(own, "HOME", machine.sh(FACTS))


def marks(machine: Booted) -> dict[str, int]:
    """Steps of the supervisor's own start, and when they were done (monotonic ns)."""
    return {step["name"]: step["done_ns"] for step in machine.call("BootReport")["steps"]}


def assert_stopped_in_order(console: str, services: Mapping[str, int] | None = None) -> None:
    """Each service heard once that it was to stop, and nothing that it needs had stopped."""
    stops = re.findall("<stop (.*?)>", console)
    assert sorted(stops) == sorted(services or SERVICES), f"{stops}\n{console}"
    for first, then in STOPS_BEFORE:
        assert stops.index(first) < stops.index(then), f"{stops}\n{console}"


def assert_whole(image: Path) -> None:
    """Its file system was unmounted: nothing to replay, nothing to mend."""
    words = {**_superblock(image)}
    assert words["Filesystem state"] == "clean"
    assert "needs_recovery" not in words["Filesystem features"]
    done = subprocess.run(["/sbin/e2fsck", "-fn", image], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()


def _superblock(image: Path) -> dict[str, str]:
    done = subprocess.run(
        ["/sbin/dumpe2fs", "-h", image], capture_output=True, text=True, check=True
    )
    lines = (line.partition(":") for line in done.stdout.splitlines())
    return {name: value.strip() for name, _, value in lines}

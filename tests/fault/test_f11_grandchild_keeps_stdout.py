"""Fault 11: a process that no stop reaches keeps the service's standard output open, and writes to
it for ever: the stop does not wait for the end of that file, and nothing written is lost."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.fault.lifecycle import SLEEP, both_modes, supervisor, wait_for_death
from tests.stack import Stack, alive

LADDER_S = 10  # the usual one: nothing of it is to be used up
WRITER = "echo $$ > {home}/writer; while :; do echo still here; sleep 0.02; done"


def logged(stack: Stack) -> int:
    return sum(p.stat().st_size for p in (stack.log / "one").glob("*.log"))


@both_modes
def test_f11_a_stop_does_not_wait_for_the_end_of_the_output(mode: str) -> None:
    with supervisor(mode, {"one": SLEEP}) as stack:
        escaped = Path("/")
        if mode == "cgroup":  # it moves to a group that is nobody's
            escaped = Path(stack.call("Describe", unit="one")["cgroup"]).parents[1] / "escaped"
            escaped.mkdir()
            away = f"echo 0 > {escaped}/cgroup.procs; exec setsid"
        else:  # nothing tells any more whose it was
            away = "exec env -i setsid"
        script = stack.home / "writer.sh"
        script.write_text(WRITER.format(home=stack.home))
        (stack.home / "writer").touch(0o666)
        (stack.home / "writer").chmod(0o666)
        unit = f"command = ['/bin/sh', '-c', '({away} /bin/sh {script}) & exec sleep 1000']\n"
        stack.write("one", unit)
        stack.call("ReloadUnits")
        stack.call("Restart", units=["one"], wait=True)
        stack.until(lambda: (stack.home / "writer").read_text().endswith("\n"), "the writer")
        writer = int((stack.home / "writer").read_text())
        stack.until(lambda: logged(stack), "its first line")

        began = time.monotonic()
        assert stack.call("Stop", units=["one"], wait=True)["results"][0]["ok"]
        assert time.monotonic() - began < LADDER_S / 2  # the writer would go on for ever
        assert stack.row("one")["state"] == "stopped"

        assert alive(writer)
        assert os.readlink(f"/proc/{writer}/fd/1").startswith("pipe:")
        size = logged(stack)
        stack.until(lambda: logged(stack) > size, "what it writes after the stop")
        stack.end()
        assert wait_for_death(writer, 0), "it outlived the supervisor"
        if mode == "cgroup":
            escaped.rmdir()
            escaped.parent.rmdir()

"""Step `rescue`: a shell on the console of a machine whose boot failed, with the reason above it.

The unit `rescue` runs it, and the manager starts that when `boot` fails. When this has ended, with
the shell or because there is none to be had, the manager resets what failed and boots again. What
the supervisor does not answer is left out: the shell comes in any case.
"""
from __future__ import annotations

import os
import sys
from typing import Any

from supervisor.boot._machine import Machine, step
from supervisor.control.client import Client, ControlError, connect
from supervisor.model.paths import paths
from supervisor.model.unit import BOOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_ANSWER_S = 5.0
_LINES = "10"
_LOGS_S = 10.0
_MOST = 3  # units whose log is shown
PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main(argv: Sequence[str]) -> int:
    return step("rescue", argv, {"": run})


def run(machine: Machine) -> int:
    keeper, reason = 1, "the boot failed"
    guilty: list[str] = []
    try:
        with connect(paths(os.environ, os.geteuid()).runtime) as client:
            keeper, reason, guilty = ask(client)
    except ControlError as error:
        machine.show(f"cannot tell why: {error.message}")
    for unit in guilty[:_MOST]:
        for line in last_lines(machine, unit):
            machine.show(f"  {line}")
    machine.show(f"{reason}\n  `unboxed status` and `unboxed why {BOOT}` tell more; exit, or"
                 " Ctrl-D, boots again; `unboxed reboot` reboots")
    machine.tell("a shell is on the console")
    return shell(f"/proc/{keeper}/exe", reason)


def ask(client: Client) -> tuple[int, str, list[str]]:
    """The keeper's pid, why `boot` failed, and the units that are to blame. Raises ControlError."""
    answer = client.call("Status", timeout_s=_ANSWER_S)
    keeper = int(answer["supervisor"]["keeper_pid"])
    chain = client.call("Why", {"unit": BOOT}, _ANSWER_S)["chain"]
    return keeper, *blamed(chain)


def blamed(chain: Sequence[dict[str, Any]]) -> tuple[str, list[str]]:
    """Of the causes of `boot`'s state, the latest first: a sentence, and the units that failed
    before it did, the first one of them first."""
    failed = {one["key"]: one["cause"] for one in reversed(chain) if one["to"] == "failed"}
    why = failed.pop(BOOT, "")
    if not failed:
        return "the boot failed" + (f": {why}" if why else ""), []
    words = "; ".join(f"{key}: {cause}" for key, cause in failed.items())
    return f"the boot failed: {words}", list(failed)


def last_lines(machine: Machine, unit: str) -> list[str]:
    """What it said last, with its name; read from the files, by the command for that."""
    os.environ["PYTHONPATH"] = PACKAGE
    ended = machine.tools.run(
        sys.executable, "-m", "supervisor.cli", "logs", "-n", _LINES, unit, timeout_s=_LOGS_S)
    return ended.text.splitlines() if not ended.code else [f"no log of {unit}: {ended.words()}"]


def shell(keeper: str, reason: str) -> int:
    """Run the rescue shell of that keeper until it ends: that is no failure, however it does."""
    pid = os.fork()
    if not pid:
        try:
            os.setsid()  # to take the console as its terminal
            os.execv(keeper, ["unboxed-init", "--rescue", reason])
        except OSError as error:
            print(f"cannot run {keeper}: {error.strerror}", file=sys.stderr, flush=True)
        finally:
            os._exit(127)
    os.waitpid(pid, 0)
    return 0

"""poweroff, reboot, halt, kexec: ask the supervisor, or PID 1 where that does not answer.

What is asked goes on whether or not anybody waits, so nobody does. Which supervisor: that of the
machine, for every user, unless another one is named.
"""
from __future__ import annotations

import os
import sys
import time

from supervisor.cli import first_process
from supervisor.cli.call import BAD_USAGE, DONE, NOT_PERMITTED, Call, Failure
from supervisor.control.client import ControlError, Lost, Silent, Unreachable, connect
from supervisor.model.paths import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DOING = {"poweroff": "power off", "reboot": "reboot", "halt": "halt",
         "kexec": "boot the loaded kernel"}
_SECOND_NS = 1_000_000_000
_LONGEST_NS = 86_400 * _SECOND_NS


def run(call: Call) -> int:
    force = call.number("force") or 0
    timeout_ns = _timeout(call.verb, call.text("timeout"))
    if force > 1:
        return first_process.at_once(call.verb)
    message = call.text("message")
    if message is not None:
        from supervisor.cli.wall import wall

        check(call.verb)
        wall(message)
    return end(call.verb, timeout_ns, force=bool(force), runtime=call.text("runtime-dir") or "")


def runtime_dir(given: str = "") -> str:
    named = given or os.environ.get("UNBOXED_RUNTIME_DIR", "")
    return os.path.abspath(named) if named else paths({}, 0).runtime


def check(verb: str) -> None:
    """Raises Failure unless the machine is one of ours, before anybody is told that it ends."""
    try:
        with connect(runtime_dir(), "status") as server:
            if server.call("Status", {"units": []})["supervisor"]["keeper_pid"] == 1:
                return
    except ControlError:
        pass  # then PID 1 tells, to root
    first_process.check(verb)


def end(verb: str, timeout_ns: int = 0, *, force: bool = False, runtime: str = "") -> int:
    """Ask for it; the exit code. Raises Failure."""
    asked: dict[str, Any] = {"action": verb, "timeout_ns": timeout_ns, "now": force}
    try:
        with connect(runtime_dir(runtime)) as server:
            answer = server.call("End", asked)
    except (Unreachable, Lost, Silent) as error:
        if error.code == NOT_PERMITTED:
            raise Failure(error.message, error.code) from None
        first_process.signal(verb)  # which means the same, and shortens no time
        print(f"{error.message.partition('; ')[0]}: PID 1 was sent signal"
              f" {first_process.SIGNALS[verb]} instead, to {DOING[verb]}", file=sys.stderr)
        return DONE
    except ControlError as error:
        if error.code == 1:
            first_process.check(verb)  # a better reason, where it is no machine of ours
        raise Failure(error.message, error.code) from None
    left = max(answer["deadline_ns"] - time.time_ns(), 0) / _SECOND_NS
    print(f"going to {DOING[verb]}: everything is stopped within {left:.0f} s")
    return DONE


def _timeout(verb: str, text: str | None) -> int:
    """Nanoseconds; 0: as usual."""
    if text is None:
        return 0
    from supervisor.config.quantity import POSITIVE_DURATION
    from supervisor.config.table import Refused

    try:
        found = int(POSITIVE_DURATION.parse(int(text) if text.isdecimal() else text))
    except Refused as why:
        raise Failure(f"cannot {verb}: --timeout: {why}", BAD_USAGE) from None
    return min(found, _LONGEST_NS)

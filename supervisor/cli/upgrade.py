"""`unboxed upgrade`: the running supervisor replaces itself by what is installed now."""
from __future__ import annotations

import time

from supervisor.cli.call import DONE, TIMED_OUT, Call, Failure
from supervisor.cli.server import Server

_WAIT_S = 15.0
_STEP_S = 0.02


def run(call: Call) -> int:
    with Server(call, "upgrade the supervisor") as server:
        before = server.call("Status", {})["supervisor"]
        server.call("Upgrade", {})
    after = _again(call, before["manager_starts"])
    print(f"upgraded: {before['version']} -> {after['version']}, manager {after['pid']};"
          " no service was restarted")
    return DONE


def _again(call: Call, starts: int) -> dict[str, object]:
    """Wait for the new manager. A short poll: there is nobody who could tell us."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            with Server(call, "upgrade the supervisor") as server:
                supervisor: dict[str, object] = server.call("Status", {})["supervisor"]
            if int(str(supervisor["manager_starts"])) > starts:
                return supervisor
        except Failure as failure:
            if time.monotonic() > deadline:
                raise Failure(failure.text, TIMED_OUT) from None
        if time.monotonic() > deadline:
            raise Failure(
                f"cannot upgrade the supervisor: no new manager has answered for"
                f" {_WAIT_S:.0f} s; the old one goes on, `unboxed status` and `unboxed logs"
                " unboxed` tell more", TIMED_OUT)
        time.sleep(_STEP_S)

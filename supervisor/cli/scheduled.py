"""A shutdown at a later time: a transient unit that waits for it, warns, and asks for it.

`python -m supervisor.cli.scheduled WHEN ACTION WALL MESSAGE` is that unit's program. WHEN is a time
of the day, in seconds since 1970, which follows the clock when that is set; or +SECONDS since the
kernel's start, its sleep included, which do not. It outlives managers as every
service does. `shutdown -c` stops it. WALL: 1 to tell who is logged in, or 0. MESSAGE is quoted as
in a URL, since braces mean something in a unit's command.
"""
from __future__ import annotations

import os
import signal
import sys
import time
from urllib.parse import quote, unquote

from supervisor.cli.call import DONE, FAILED, Failure
from supervisor.cli.power import DOING, check, end, runtime_dir
from supervisor.cli.wall import wall
from supervisor.cli.words import SCHEDULED, scheduled, scheduled_words
from supervisor.control.client import ControlError, connect
from supervisor.model.unit import BOOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

NOLOGIN = "/run/nologin"  # pam_nologin(8): nobody but root logs in while it is there
NOLOGIN_S = 300
# Seconds before, at which everybody is warned, besides at once.
_WARNINGS = (7200, 3600, 1800, 900, 600, 300, 60)
_EARLY = 1 << 62
_LOOK_S = 30.0  # at the clock, which may be set
_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


# --- asking for it ----------------------------------------------------------------------------


def schedule(verb: str, when: int, message: str, *, tell: bool, fixed: bool) -> int:
    """`when`: seconds since 1970; `fixed`: so much later, whatever the clock is set to. One that
    was scheduled before is given up for it."""
    check(verb)
    due = f"+{int(_uptime() + when - time.time())}" if fixed else str(when)
    command = [sys.executable, "-m", "supervisor.cli.scheduled", due, verb, str(int(tell)),
               quote(message, safe=" ")]
    keys: dict[str, Any] = {
        "description": f"{SCHEDULED}{verb} at {clock(when)}",
        "env": {"PYTHONPATH": _PACKAGE, "UNBOXED_RUNTIME_DIR": runtime_dir()},
        "restart": {"when": "on-failure"},
        "start": {"ready": "notify"},
        "sandbox": {"level": "off"},
    }
    try:
        with connect(runtime_dir()) as server:
            rows = server.call("Status")["instances"]
            if any(row["unit"] == BOOT and row["state"] != "running" for row in rows):
                raise Failure(f"cannot {verb} later: the machine is not booted, and what waits for"
                              " a time needs that; nothing was done, `shutdown now` is possible")
            earlier = _waiting(rows)
            unit = server.call("Try", {"command": command, "keys": keys})["unit"]
            results = server.call("Start", {"units": [unit], "wait": True}, None)["results"]
            if not all(one["ok"] for one in results):
                raise Failure(f"cannot schedule it: {results[0]['message']}")
            if earlier:
                server.call("Stop", {"units": earlier, "wait": False})
    except ControlError as error:
        raise Failure(error.message, error.code) from None
    print(f"going to {DOING[verb]} at {clock(when)}; `shutdown -c` cancels it, `unboxed status"
          f" {unit}` shows it")
    return DONE


def cancel(message: str, *, tell: bool) -> int:
    """Raises Failure if there is nothing to cancel."""
    try:
        with connect(runtime_dir()) as server:
            units = _waiting(server.call("Status")["instances"])
            if units:
                server.call("Stop", {"units": units, "wait": True}, None)
    except ControlError as error:
        raise Failure(error.message, error.code) from None
    if not units:
        raise Failure("cannot cancel a shutdown: none is scheduled; nothing was done")
    words = message or "The shutdown has been cancelled."
    if tell:
        wall(words)
    print("the shutdown is cancelled")
    return DONE


def show() -> int:
    """What is scheduled; FAILED if nothing is."""
    try:
        with connect(runtime_dir()) as server:
            rows = scheduled(server.call("Status")["instances"])
    except ControlError as error:
        raise Failure(error.message, error.code) from None
    for row in rows:
        print(scheduled_words(row))
    if not rows:
        print("no shutdown is scheduled")
    return DONE if rows else FAILED


def _waiting(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["unit"] for row in scheduled(rows)]


def clock(when: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


# --- the program ------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    due, verb, tell, message = argv[0], argv[1], argv[2] == "1", unquote(argv[3])
    signal.signal(signal.SIGTERM, _cancelled)
    try:
        wait(due, verb, message, tell=tell)
    except _Cancelled:
        _forget(NOLOGIN)
        return DONE
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    print(f"it is {clock(int(time.time()))}: {verb}", flush=True)
    try:
        return end(verb)
    except Failure as failure:
        print(failure.text, file=sys.stderr)
        _forget(NOLOGIN)
        return failure.code


class _Cancelled(Exception):
    pass


def _cancelled(_number: int, _frame: object) -> None:
    raise _Cancelled


def wait(at: str, verb: str, message: str, *, tell: bool) -> None:
    """Until that time, with warnings at some others."""
    now: Callable[[], float] = _uptime if at[:1] == "+" else time.time
    when = int(at)
    shown = clock(round(time.time() + when - now()))
    words = f"The system will {DOING[verb]} at {shown}!"
    words = f"{message}\r\n{words}" if message else words
    _notify(f"READY=1\nSTATUS={verb} at {shown}")
    warned = _EARLY + 1  # the last warning was so many seconds before: none yet
    while (left := when - now()) > 0:
        due = _warning(left)
        if tell and due < warned:
            for line in words.split("\r\n"):
                print(line, flush=True)
            wall(words)
        warned = min(warned, due)
        if left <= NOLOGIN_S:
            _write(NOLOGIN, words)
        time.sleep(min(_LOOK_S, max(left - _next(left), 0.05)))


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _warning(left: float) -> int:
    """Which warning is the present one: the least that is not below what is left."""
    return min((one for one in _WARNINGS if one >= left), default=_EARLY)


def _next(left: float) -> int:
    """When to look next: seconds before."""
    return max((one for one in (*_WARNINGS, 0) if one < left), default=0)


def _write(path: str, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except OSError:
        return  # it is there
    with os.fdopen(fd, "w") as file:
        file.write(text.replace("\r\n", "\n") + "\n")


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # it is not there


def _notify(text: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(text.encode(), path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Agent: follows the logs of web and worker, counts what they did in each minute, and warns.

It is attached to them, so the supervisor writes what they print to its standard input, a JSON
object a line; it needs no right to any log file. The report is `requests.txt` in a data directory
of its own: one line a minute, written anew at most every other second while something changes, and
never touched when nothing does.
"""
from __future__ import annotations

import json
import os
import re
import selectors
import sys
import time
from typing import NamedTuple

from . import sd, store

REQUEST = re.compile(r"^method=\S+ path=\S+ status=(\d{3}) ms=([0-9.]+)$")  # the web's
MAILS = re.compile(r"^mails=(\d+) ")  # the worker's
KEPT_MINUTES = 60
WRITE_EVERY_S = 2.0
WARN_SHARE = 0.1  # of answers that are server errors...
WARN_COUNT = 5  # ...among at least so many


class Minute(NamedTuple):
    requests: int = 0
    errors: int = 0
    slowest_ms: float = 0.0
    mails: int = 0


class Report:
    """What was counted. Time is a parameter: seconds since 1970."""

    def __init__(self) -> None:
        self.minutes: dict[int, Minute] = {}
        self.warned = -1  # the last minute there was a warning for
        self.changed = False

    def take(self, record: str, now_s: float) -> str:
        """Count one log record. Returns a warning if one is due, else ""."""
        try:
            message = json.loads(record)["message"]
            request, mails = REQUEST.match(message), MAILS.match(message)
        except (ValueError, KeyError, TypeError):
            return ""
        minute = int(now_s) // 60
        old = self.minutes.get(minute, Minute())
        if request:
            new = old._replace(
                requests=old.requests + 1, errors=old.errors + (request[1] >= "500"),
                slowest_ms=max(old.slowest_ms, float(request[2])))
        elif mails:
            new = old._replace(mails=old.mails + int(mails[1]))
        else:
            return ""
        self.minutes.pop(minute, None)  # last is the latest, also when the clock was set back
        self.minutes[minute] = new
        while len(self.minutes) > KEPT_MINUTES:
            del self.minutes[next(iter(self.minutes))]
        self.changed = True
        if new.requests < WARN_COUNT or new.errors < WARN_SHARE * new.requests:
            return ""
        if self.warned == minute:
            return ""
        self.warned = minute
        return f"warning: {new.errors} of {new.requests} requests of this minute failed"

    def text(self) -> str:
        rows = [
            f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(minute * 60))}"
            f"  requests={one.requests} errors={one.errors} slowest_ms={one.slowest_ms:.1f}"
            f" mails={one.mails}"
            for minute, one in self.minutes.items()]
        return "\n".join([*rows, ""])

    def write(self) -> None:
        """Replace the file in one step: nobody ever reads half a report."""
        path = os.path.join(store.data_dir(), "requests.txt")
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(self.text())
        os.replace(path + ".new", path)
        self.changed = False


def follow(lines: int, report: Report) -> None:
    """Count until the end of the file at descriptor `lines`."""
    selector = selectors.DefaultSelector()
    selector.register(lines, selectors.EVENT_READ)
    rest = b""
    due = 0.0
    while True:
        wait = max(0.0, due - time.monotonic()) if report.changed else None
        if selector.select(wait):
            data = os.read(lines, 65536)
            if not data:
                break
            *whole, rest = (rest + data).split(b"\n")
            for record in whole:
                warning = report.take(record.decode(errors="replace"), time.time())
                if warning:
                    print(warning, flush=True)
        if report.changed and time.monotonic() >= due:
            report.write()
            due = time.monotonic() + WRITE_EVERY_S
    report.write()


def main() -> int:
    sd.notify("READY=1", f"STATUS=following {os.environ.get('UNBOXED_ATTACHED', 'nobody')}")
    follow(0, Report())  # until the supervisor says that no more will come
    return 0


if __name__ == "__main__":
    sys.exit(main())

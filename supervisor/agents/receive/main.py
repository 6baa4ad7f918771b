"""Options, and the loop: what was received becomes lines, as many at once as there are.

Law: one source a process, so that each has a log, limits and a sandbox of its own. SIGTERM ends it
once nothing is left to read. Standard output may block, then what is received waits in the kernel;
so the unit files say `logs.on_full = "drop"`.
"""
from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from typing import Protocol

from supervisor.agents.receive import journal, syslog
from supervisor.agents.receive.datagrams import Datagrams, bind, passed
from supervisor.agents.receive.entry import Entry, line
from supervisor.agents.receive.sender import Senders

PATHS = {
    "syslog": "/dev/log",
    "kernel": "/dev/kmsg",
    "journal": "/run/systemd/journal/socket",
}
_LAST_S = 1.0
_AT_ONCE = 256  # messages that are taken before they are written


class Source(Protocol):
    source: str

    def fileno(self) -> int: ...
    def read(self, most: int) -> list[Entry]: ...
    def written(self) -> None: ...
    def close(self) -> None: ...


def run(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="unboxed agent receive",
        description="Writes what programs send to a log of the machine to standard output, as JSON"
        " lines.")
    parser.add_argument("source", choices=PATHS)
    parser.add_argument(
        "--socket", "--device", metavar="PATH", dest="path", help="where it comes in, unless a"
        " socket is passed by LISTEN_FDS (default: " + ", ".join(PATHS.values()) + ")")
    parser.add_argument(
        "--cursor", metavar="FILE", help="kernel: keep there how far it was read (default: cursor"
        " in STATE_DIRECTORY)")
    options = parser.parse_args(argv)
    path = options.path or PATHS[options.source]
    try:
        source, own = _open(options.source, path, options.cursor, given=options.path is not None)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        print(f"cannot receive from {error.filename or path}: {reason}; it ends", file=sys.stderr)
        return 1
    try:
        serve(source)
    finally:
        source.close()
        if own:
            os.unlink(path)
    return 0


def _open(name: str, path: str, cursor: str | None, *, given: bool) -> tuple[Source, bool]:
    """The source, and whether its path is ours to remove. Raises OSError."""
    if name == "kernel":
        from supervisor.agents.receive.cursor import Cursor
        from supervisor.agents.receive.kernel import Kernel

        state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        return Kernel(path, Cursor(cursor or (state and f"{state}/cursor"))), False
    held = None if given else passed()
    sock = held or bind(path)
    if name == "syslog":
        return Datagrams(sock, name, syslog.parse, Senders()), held is None
    return Datagrams(sock, name, journal.parse, Senders(), journal.sealed), held is None


def serve(source: Source) -> None:
    """Until SIGTERM or SIGINT, and then until nothing is left, or for _LAST_S."""
    woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # `unboxed reload`: there is nothing to read again
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    poll.register(source.fileno(), select.POLLIN)
    until: float | None = None  # told to end: what is there by then counts
    while until is None or time.monotonic() < until:
        entries = source.read(_AT_ONCE)
        if entries:
            _write(b"".join(line({"source": source.source, **entry}) for entry in entries))
            source.written()
        elif until is not None:
            return
        else:
            poll.poll()
        if until is None and select.select([woken], [], [], 0)[0]:
            until = time.monotonic() + _LAST_S


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]

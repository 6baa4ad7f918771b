"""`unboxed exec UNIT -- COMMAND`: a command among the processes of a unit, on this terminal.

Descriptors that are no terminal are handed over as they are. A terminal never is: what runs in a
sandbox could push input into it. The command gets one of its own instead (a pty), and here the two
are connected: keys go there as they are typed, Ctrl-C too, and what it writes comes back.
"""
from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import contextmanager

from supervisor.cli.call import BAD_USAGE, FAILED, Call, Failure
from supervisor.cli.server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_SHELL = "/bin/sh"
_READ_BYTES = 64 * 1024
_REST_S = 0.2  # for what is still in the pty when the command has ended, and others hold it open
_BY_SIGNAL = 128  # what a shell adds to the number of the signal that ended a command


def run(call: Call) -> int:
    unit, *command = call.words
    if call.flag("shell") == bool(command):
        what = "both --shell and a command are given" if command else "no command is given"
        raise Failure(f"cannot execute anything in {unit}: {what}; see `unboxed exec --help`",
                      BAD_USAGE)
    terminals = [fd for fd in range(3) if os.isatty(fd)]
    asked = {"unit": unit, "command": command or [_SHELL], "term": ""}
    if 0 in terminals:
        asked["term"] = os.environ.get("TERM", "dumb")[:64]
    with Server(call, f"execute a command in {unit}") as server:
        sys.stdout.flush()
        if not terminals:
            return _ended(server.stream("Exec", asked, (0, 1, 2)))
        ours, theirs = os.openpty()
        try:
            _resize(ours, terminals[0])
            fds = tuple(theirs if fd in terminals else fd for fd in range(3))
            replies = server.stream("Exec", asked, fds)
            next(replies)  # it has its descriptors
            os.close(theirs)
            theirs = -1
            with _raw(0 in terminals), _resized(ours, terminals[0]):
                return _relay(server, replies, ours, terminals)
        finally:
            for fd in (ours, theirs):
                if fd >= 0:
                    os.close(fd)


def _ended(replies: Iterator[dict[str, Any]]) -> int:
    """The exit status, as a shell would have it."""
    for reply in replies:
        if reply.get("code") is not None:
            return int(reply["code"])
        if reply.get("signal") is not None:
            return _BY_SIGNAL + int(reply["signal"])
    return FAILED


def _relay(
    server: Server, replies: Iterator[dict[str, Any]], pty: int, terminals: list[int]
) -> int:
    """Between the pty and the terminal, until the command has ended."""
    out = next(fd for fd in (1, 2, 0) if fd in terminals)
    sources = {pty, server.fileno(), *([0] if 0 in terminals else [])}
    code: int | None = None
    while code is None or pty in sources:
        ready, _, _ = select.select(sources, [], [], None if code is None else _REST_S)
        if not ready:
            break  # somebody else holds the pty
        if pty in ready and not _copy(pty, out):
            sources.discard(pty)
        if 0 in ready and not _copy(0, pty):
            sources.discard(0)
        if server.fileno() in ready and code is None:
            code = _ended(replies)
            sources -= {server.fileno(), 0}
    return FAILED if code is None else code


def _copy(source: int, target: int) -> bool:
    """What is there. False: there will be nothing more (a pty without its other end says EIO)."""
    try:
        data = os.read(source, _READ_BYTES)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(target, rest) :]
    except OSError:
        return False
    return bool(data)


@contextmanager
def _raw(wanted: bool) -> Iterator[None]:
    """Keys as they are typed, until the end, whatever that is."""
    if not wanted:
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    handlers = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setraw(0, termios.TCSADRAIN)  # what was typed ahead stays
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _leave(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _resized(pty: int, terminal: int) -> Iterator[None]:
    before = signal.signal(signal.SIGWINCH, lambda *_: _resize(pty, terminal))
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _resize(pty: int, terminal: int) -> None:
    import fcntl
    import termios

    try:
        size = fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(pty, termios.TIOCSWINSZ, size)
    except OSError:
        pass  # a terminal without a size

"""`unboxed logs`: what units wrote, read from the files themselves, merged by time.

On a terminal each line has the time of day and the unit's name before it, and control characters
escaped. Elsewhere it is for programs: the full time in UTC, the key, and the bytes as they were.
The supervisor's own stream is put into sentences, but for --json. log_choice.py knows which lines
are shown, log_lines.py how.
"""
from __future__ import annotations

import os
import sys
import time
from select import POLLIN, poll

from supervisor.cli.call import BAD_USAGE, DONE, NOT_PERMITTED, NOT_RUNNING, Call, Failure
from supervisor.cli.clock import moment
from supervisor.cli.log_choice import boot_times, chosen
from supervisor.cli.screen import Screen
from supervisor.logger.form import LOSS
from supervisor.logger.read import matches, records, streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    from supervisor.logger.follow import Follower
    from supervisor.logger.lines import Record

FOLLOW_LINES = 10  # what `-f` shows of the past unless told otherwise
_LOOK_S = 2.0
_STORED = '"files"'  # the value of logs.to, as a unit's definition has it


def run(call: Call) -> int:
    keep = chosen(call)
    follow = call.flag("follow")
    logdir = directory(call)
    since_ns, until_ns = _times(call, logdir)
    if follow and until_ns is not None:
        raise Failure("cannot follow logs up to a time: --follow has no end; leave it or"
                      f" {'--until' if call.text('until') else '--boot'} out", BAD_USAGE)
    last_n = call.number("lines")
    if follow and last_n is None and since_ns is None:
        last_n = FOLLOW_LINES
    if call.text("log-dir") and not os.path.isdir(logdir) and not follow:
        raise Failure(f"cannot read logs in {logdir}: there is no such directory; nothing is shown",
                      NOT_RUNNING)
    try:
        words = _known(call, logdir, call.words, follow=follow)
        write = _writer(call, logdir, words)
        if follow:
            from supervisor.logger.follow import Follower

            with Follower(logdir, words, since_ns=since_ns, last_n=last_n, keep=keep) as follower:
                _follow(follower, write)
        for record in records(logdir, words, since_ns=since_ns, until_ns=until_ns, last_n=last_n,
                              keep=keep):
            write(record)
    except PermissionError as error:
        raise refused(error) from None
    if not (call.words or os.path.isdir(logdir)):
        print(f"nothing is logged in {logdir} so far; name another directory with --log-dir DIR",
              file=sys.stderr)
    sys.stdout.flush()
    return DONE


def _times(call: Call, logdir: str) -> tuple[int | None, int | None]:
    """From when to when, by --since, --until and --boot together."""
    first_ns, last_ns = boot_times(call, logdir)
    since_ns, until_ns = _time(call, "since"), _time(call, "until")
    if since_ns is None or (first_ns is not None and first_ns > since_ns):
        since_ns = first_ns
    if until_ns is None or (last_ns is not None and last_ns < until_ns):
        until_ns = last_ns
    if since_ns is not None and until_ns is not None and since_ns > until_ns:
        limits = [f"--{name}" for name in ("since", "until", "boot") if call.text(name)]
        raise Failure(f"cannot show logs: {' and '.join(limits)} leave no time between them; a"
                      " time without a date is the last one before now", BAD_USAGE)
    return since_ns, until_ns


def directory(call: Call) -> str:
    """The log directory: the one named; else the one that the supervisor here uses or used last,
    to which its runtime directory has a link; else the default."""
    where = call.asked()
    if not (call.text("log-dir") or os.environ.get("UNBOXED_LOG_DIR")):
        try:
            return os.readlink(f"{where.runtime}/log")
        except OSError:
            pass
    return where.log


def last_lines(call: Call, key: str, count: int) -> list[str]:
    """The end of one instance's log, each line with its time, decoded and not escaped."""
    try:
        found = list(records(directory(call), (key,), last_n=count))
    except PermissionError as error:
        raise refused(error) from None
    return [f"{moment(record[0])}  {_said(record).decode('utf-8', 'backslashreplace')}"
            for record in found]


def _said(record: Record) -> bytes:
    """The line, or what the record of a loss says in words."""
    if record[2] != LOSS:
        return record[3]
    from supervisor.cli.log_lines import loss

    return loss(record[3]).encode("utf-8", "backslashreplace")


def _time(call: Call, name: str) -> int | None:
    text = call.text(name)
    if text is None:
        return None
    from supervisor.logger.when import parse_time

    try:
        return parse_time(text, time.time_ns())
    except ValueError as error:
        raise Failure(str(error).replace(": write", f" of --{name}: it is none; write"),
                      BAD_USAGE) from None


def _units(call: Call, word: str) -> list[str]:
    """The units that `word` means to the supervisor, if there is one: all members of a group."""
    from supervisor.cli.server import Server

    try:
        with Server(call, "look for it", timeout_s=_LOOK_S) as server:
            statuses = server.call("Status", {"units": [word]})["instances"]
    except Failure:
        return []
    if any(word == status["key"] for status in statuses) and len(statuses) == 1:
        return [word]
    return list(dict.fromkeys(status["unit"] for status in statuses))


def _elsewhere(call: Call, units: list[str]) -> list[str]:
    """Those of `units` whose output goes elsewhere than into the log, and where."""
    if not units:
        return []
    from supervisor.cli.server import Server

    said: dict[str, str] = {}
    try:
        with Server(call, "look for it", timeout_s=_LOOK_S) as server:
            for status in server.call("Status", {"units": units})["instances"]:
                if status["unit"] not in said:
                    answer = server.call("Describe", {"unit": status["key"]})
                    said[status["unit"]] = (answer.get("definition") or {}).get("logs.to", _STORED)
    except Failure:
        return []
    return [f"logs.to of {unit} is {where}" for unit, where in said.items() if where != _STORED]


def _known(call: Call, logdir: str, words: tuple[str, ...], *, follow: bool) -> tuple[str, ...]:
    """The words whose logs there are, a group's members in its place. Raises Failure for a name of
    which nobody knows; with `follow` somebody may yet."""
    keys = streams(logdir)
    found: list[str] = []
    for word in words:
        if any(matches(key, (word,)) for key in keys):
            found.append(word)
            continue
        units = _units(call, word)
        found += units or [word]
        if any(matches(key, units) for key in keys if units):
            continue
        if elsewhere := _elsewhere(call, units):
            print(f"nothing of {word} is stored: {', '.join(elsewhere)}", file=sys.stderr)
        elif units and not follow:
            print(f"{word} has written nothing so far", file=sys.stderr)
        if units or follow:
            continue
        raise Failure(
            f"cannot show logs of {word}: there are none in {logdir}; {_hint(call, word, keys)}",
            NOT_RUNNING)
    return tuple(found)


def _hint(call: Call, word: str, keys: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, keys, 1)
    if near:
        return f"did you mean {near[0]}?"
    if call.text("log-dir"):
        return f"that directory has logs of {len(keys)} units"
    return "for those of a supervisor with directories of its own, name them: --log-dir DIR"


def refused(error: PermissionError) -> Failure:
    return Failure(
        f"cannot read logs in {error.filename or 'the log directory'}: permission denied;"
        f" {_readers(error.filename)} may", NOT_PERMITTED)


def _readers(path: str | None) -> str:
    """Who may read what is ours to keep, in words."""
    try:
        uid = os.stat(path or "").st_uid
    except OSError:
        return "root"
    import pwd

    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    return "root" if uid == 0 else f"root and {name}"


def _writer(call: Call, logdir: str, words: tuple[str, ...]) -> Callable[[Record], object]:
    """How one record is written, chosen once: a log may have millions."""
    from supervisor.cli.log_lines import Json, Plain, Terminal

    out = sys.stdout.buffer
    screen = Screen()
    if call.flag("json"):
        as_json = Json().line
        return lambda record: out.write(as_json(record))
    if screen.terminal:
        names = [key for key in streams(logdir) if matches(key, words)]
        return Terminal(screen, names, raw=call.flag("raw")).write
    plain = Plain().line
    return lambda record: out.write(plain(record))


def _follow(follower: Follower, write: Callable[[Record], object]) -> NoReturn:
    """Until whoever reads our output is gone."""
    poller = poll()
    poller.register(1, 0)  # an end that nobody reads from is told though nothing is asked for
    if follower.fileno() >= 0:
        poller.register(follower, POLLIN)
    for record in follower.stored():
        write(record)
    while True:
        sys.stdout.flush()
        timeout_s = follower.timeout()
        ready = poller.poll(None if timeout_s is None else timeout_s * 1000)
        if any(fd == 1 for fd, _ in ready):
            raise BrokenPipeError
        for record in follower.poll():
            write(record)


def follow_lines(call: Call, since_ns: int, over: int) -> Iterator[tuple[int, str, bytes]]:
    """(realtime ns, key, line) of everything written since then, and of what comes, until the
    descriptor `over` is readable and what there is by then is told."""
    from select import select

    from supervisor.logger.follow import Follower

    with Follower(directory(call), since_ns=since_ns) as follower:
        for record in follower.stored():
            yield record[0], record[1], _said(record)
        ended = False
        while not ended:
            news = [fd for fd in (follower.fileno(), over) if fd >= 0]
            ended = over in select(news, [], [], follower.timeout())[0]
            for record in follower.poll():
                yield record[0], record[1], _said(record)

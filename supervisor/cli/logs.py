"""`unboxed logs`: what units wrote, read from the files themselves, merged by time.

On a terminal each line has the time of day and the unit's name before it, and control characters
escaped. Elsewhere it is for programs: the full time in UTC, the key, and the bytes as they were.
The supervisor's own stream is put into sentences, but for --json.
"""
from __future__ import annotations

import os
import sys
import time

from supervisor.cli.call import BAD_USAGE, DONE, NOT_PERMITTED, NOT_RUNNING, Call, Failure
from supervisor.cli.clock import clock, exact_stamp
from supervisor.cli.own import STREAM, sentence
from supervisor.cli.screen import Screen, name_colour, name_width
from supervisor.logger.read import matches, records, streams
from supervisor.logger.text import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supervisor.logger.lines import Record

FOLLOW_LINES = 10  # what `-f` shows of the past unless told otherwise
_STREAMS = {1: "output", 2: "error"}
_SECOND_NS = 1_000_000_000
_LOOK_S = 2.0
_LATER = (
    ("grep", "search logs", "pipe the output through grep"),
    ("boot", "show the logs of one boot", "use --since"),
)


def run(call: Call) -> int:
    for later, what, instead in _LATER:
        if call.options.get(later) is not None:
            raise Failure(
                f"cannot {what}: --{later} is not supported yet; {instead}", BAD_USAGE)
    follow = call.flag("follow")
    since_ns, until_ns = _time(call, "since"), _time(call, "until")
    if follow and until_ns is not None:
        raise Failure("cannot follow logs up to a time: --follow has no end; leave it or --until"
                      " out", BAD_USAGE)
    last_n = call.number("lines")
    if follow and last_n is None and since_ns is None:
        last_n = FOLLOW_LINES
    logdir = directory(call)
    try:
        words = _known(call, logdir, call.words, follow=follow)
        write = _writer(call, logdir, words)
        for record in records(logdir, words, since_ns=since_ns, until_ns=until_ns,
                              last_n=last_n, follow=follow):
            write(record)
            if follow:
                sys.stdout.buffer.flush()
    except PermissionError as error:
        raise refused(error) from None
    sys.stdout.buffer.flush()
    return DONE


def directory(call: Call) -> str:
    """The log directory: the one named; else the one that the supervisor here uses or used last,
    to which its runtime directory has a link; else the default."""
    where = call.paths()
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
    return [f"{clock(at)}  {line.decode('utf-8', 'backslashreplace')}"
            for at, _, _, line, _, _ in found]


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
        if follow or any(matches(key, units) for key in keys if units):
            continue
        if units:
            print(f"{word} has written nothing so far", file=sys.stderr)
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
    out = sys.stdout.buffer
    screen = Screen()
    raw = call.flag("raw")
    if call.flag("json"):
        return lambda record: out.write(_json(record))
    if screen.terminal:
        names = [key for key in streams(logdir) if matches(key, words)]
        return _Terminal(screen, names, raw=raw).write
    return lambda record: out.write(_plain(record))


def _json(record: Record) -> bytes:
    import json

    at, key, stream, line = record[:4]
    unit, _, number = key.partition("/")
    document = {
        "time": exact_stamp(at),
        "unit": unit,
        "instance": int(number) if number.isdigit() else 0,
        "stream": _STREAMS.get(stream, str(stream)),
        "message": line.decode("utf-8", "backslashreplace"),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _plain(record: Record) -> bytes:
    at, key, _, line = record[:4]
    if key == STREAM:
        line = sentence(line).encode("utf-8", "backslashreplace")
    return b"%s %s %s\n" % (exact_stamp(at).encode(), key.encode(), line)


class _Terminal:
    """Names are padded to the longest there is, and a new one may widen them. A line of another
    day than the last names the day."""

    def __init__(self, screen: Screen, names: list[str], *, raw: bool) -> None:
        self._screen = screen
        self._raw = raw
        self._width = name_width(names)
        self._day = time.localtime()[:3]

    def write(self, record: Record) -> None:
        at, key, _, line = record[:4]
        day = time.localtime(at // _SECOND_NS)[:3]
        if day != self._day:
            self._day = day
            print(self._screen.paint("-- {}-{:02}-{:02} --".format(*day), "faint"))
        self._width = name_width([key], self._width)
        name = self._screen.paint(f"{key:<{self._width}}", name_colour(key))
        lead = f"{self._screen.paint(clock(at), 'faint')} {name} | "
        if key == STREAM:
            line = sentence(line).encode("utf-8", "backslashreplace")
        if self._raw:
            sys.stdout.flush()
            sys.stdout.buffer.write(lead.encode() + line + b"\n")
        else:
            print(lead + escape(line))
        sys.stdout.flush()


def follow_lines(call: Call, since_ns: int, over: int) -> Iterator[tuple[int, str, bytes]]:
    """(realtime ns, key, line) of everything written since then, and of what comes, until the
    descriptor `over` is readable and what there is by then is told."""
    from select import select

    from supervisor.logger.follow import Follower

    with Follower(directory(call), since_ns=since_ns) as follower:
        for at_ns, key, _, line, _, _ in follower.stored():
            yield at_ns, key, line
        ended = False
        while not ended:
            news = [fd for fd in (follower.fileno(), over) if fd >= 0]
            ended = over in select(news, [], [], follower.timeout())[0]
            for at_ns, key, _, line, _, _ in follower.poll():
                yield at_ns, key, line

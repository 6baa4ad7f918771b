"""Which lines `unboxed logs` shows: --grep, --priority, --field, --stream, and the times of --boot.

Law: a line without a priority of its own counts as `info`; one that came on standard error, where
that is kept apart, as `err`: a traceback says nothing about itself, and is what is looked for. Lost
lines count as `warning`. In the supervisor's own log a failure is an `err`, a restart a `warning`.
"""
from __future__ import annotations

from supervisor.cli import own
from supervisor.cli.call import BAD_USAGE, FAILED, Call, Failure
from supervisor.cli.own import STREAM, sentence
from supervisor.logger.form import BOOTS, ERROR, LOSS, OUTPUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.logger.lines import Record

    Test = Callable[[Record], bool]

STREAMS = {"output": OUTPUT, "error": ERROR, "lost": LOSS}


def chosen(call: Call) -> Test | None:
    """What all that was asked for comes to; None: every line."""
    tests = [*_stream(call), *_facts(call), *_grep(call)]  # what takes longest comes last
    if len(tests) < 2:
        return tests[0] if tests else None
    return lambda record: all(test(record) for test in tests)


def _stream(call: Call) -> list[Test]:
    name = call.text("stream")
    if name is None:
        return []
    if name not in STREAMS:
        raise Failure(f"cannot show the stream {name!r}: there is none of that name; --stream takes"
                      f" {', '.join(STREAMS)}", BAD_USAGE)
    kind = STREAMS[name]
    return [lambda record: record[2] == kind]


def _grep(call: Call) -> list[Test]:
    pattern = call.text("grep")
    if pattern is None:
        return []
    import re

    # As in many editors: who writes no capital means either case. (?-i:...) is for the rest.
    capital = any(char.isupper() for char in re.sub(r"\\.", "", pattern))
    try:
        search = re.compile(pattern, 0 if capital else re.IGNORECASE).search
    except (re.error, RecursionError, OverflowError) as error:
        raise Failure(f"cannot search for {pattern!r}: it is no regular expression, {error}; write"
                      " \\ before characters that stand for themselves", BAD_USAGE) from None

    def said(record: Record) -> bool:
        line = record[3]
        if record[2] == LOSS:
            from supervisor.cli.log_lines import loss

            return search(loss(line)) is not None
        return (search(line.decode("utf-8", "backslashreplace")) is not None
                or (record[1] == STREAM and search(sentence(line)) is not None))

    return [said]


def _facts(call: Call) -> list[Test]:
    """--priority and --field look at the same facts, which are found once a line."""
    word = call.text("priority")
    if word is None and not call.many("field"):
        return []
    from supervisor.model.structured import (
        ERR,
        INFO,
        NAMES,
        WARNING,
        facts,
        field,
        priority_number,
    )

    plain = {ERROR: ERR, LOSS: WARNING}
    most = priority_number(word) if word is not None else None
    if word is not None and most is None:
        raise Failure(f"cannot show lines of priority {word!r}: there is none of that name;"
                      f" --priority takes {', '.join(NAMES)}, or 0 to 7", BAD_USAGE)
    wanted = []
    for pair in call.many("field"):
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise Failure(f"cannot look for the field {pair!r}: it has no"
                          f" {'name' if equals else 'value'}; write --field NAME=VALUE", BAD_USAGE)
        wanted.append((name, value))

    def fits(record: Record) -> bool:
        _, key, kind, line, _, _ = record
        priority, fields = facts(line)
        if most is not None:
            if key == STREAM:
                priority = own.priority(line) or priority
            if priority is None or kind == LOSS:
                priority = plain.get(kind, INFO)
            if priority > most:
                return False
        return all(field(fields, name) == value for name, value in wanted)

    return [fits]


def boot_times(call: Call, logdir: str) -> tuple[int | None, int | None]:
    """From when to when (realtime ns, None: no limit) the boot lasted that --boot names."""
    text = call.text("boot")
    if text is None:
        return None, None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or (digits == text and text.strip("0")):
        raise Failure(f"cannot show the logs of boot {text!r}: it is no number from 0 down; --boot"
                      " is this boot, --boot=-1 the one before", BAD_USAGE)
    from supervisor.logger.boots import BOOT_ID

    boots = _boots(f"{logdir}/{BOOTS}")
    with open(BOOT_ID) as file:
        now = file.read().strip()
    if not boots or boots[-1][0] != now:
        boots.append((now, 0))  # nothing was logged in it
    back = int(digits)
    if back >= len(boots):
        oldest = f"--boot=-{len(boots) - 1}" if len(boots) > 1 else "--boot, this one,"
        raise Failure(f"cannot show the logs of boot -{back}: nothing is known of it in {logdir};"
                      f" {oldest} is the oldest", FAILED)
    at = len(boots) - 1 - back
    if not boots[at][1]:
        raise Failure(f"cannot show the logs of this boot: nothing was logged since it began, in"
                      f" {logdir}; --boot=-1 shows the last that has logs", FAILED)
    return boots[at][1], boots[at + 1][1] - 1 if back and boots[at + 1][1] else None


def _boots(path: str) -> list[tuple[str, int]]:
    """(id, when its first logger began) of each boot that was logged in. A torn line is none."""
    try:
        with open(path, errors="replace") as file:
            rows = [line.split() for line in file]
    except FileNotFoundError:
        return []
    return [(row[0], int(row[1])) for row in rows
            if len(row) == 2 and row[1].isascii() and row[1].isdigit()]

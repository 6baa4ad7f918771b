"""What a line says about itself: its syslog priority and its fields. Pure, and only for readers.

    <3>cannot open the database                    syslog's prefix, as sd-daemon(3) has it
    {"level": "warn", "msg": "slow", "ms": 812}    a JSON object
    level=warn msg="slow query" ms=812             logfmt: the line begins with a pair

A prefix may stand before the others, and its priority counts. Law: never raises, whatever the line
is; and takes no more than some milliseconds, as lines have at most lines.PIECE_BYTES.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EMERG, ALERT, CRIT, ERR, WARNING, NOTICE, INFO, DEBUG = range(8)
NAMES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_WORDS = {
    **{name: number for number, name in enumerate(NAMES)},
    "emergency": EMERG, "panic": EMERG,
    "critical": CRIT, "fatal": CRIT, "dpanic": CRIT, "f": CRIT, "c": CRIT,
    "error": ERR, "severe": ERR, "e": ERR,
    "warn": WARNING, "w": WARNING,
    "n": NOTICE,
    "information": INFO, "informational": INFO, "i": INFO,
    "trace": DEBUG, "verbose": DEBUG, "fine": DEBUG, "finer": DEBUG, "finest": DEBUG, "d": DEBUG,
    "t": DEBUG,
}
# Numbers from 10 on: bunyan's and pino's, and those of Python's logging, which says 30 for warning.
_TENS = {10: DEBUG, 20: DEBUG, 30: INFO, 40: WARNING, 50: ERR, 60: CRIT}
_PYTHON = {10: DEBUG, 20: INFO, 30: WARNING, 40: ERR, 50: CRIT}
_PYTHON_KEY = "levelno"
_LEVEL_KEYS = (
    "level", "lvl", "severity", "priority", "log.level", "levelname", "severitytext",
    "severity_text", "loglevel", _PYTHON_KEY,
)
_KEY_CHARS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-@/:"
_MOST_PAIRS = 256  # of logfmt: each may cost a look at the whole line
_MOST_FACILITY = 23
_MOST_DIGITS = 18  # a longer number stays text: nobody compares it as a number


def priority_number(word: str) -> int | None:
    """"err", "warning", 0 to 7, and the words that programs use for these; None: it is none."""
    word = word.strip().lower()
    if word.isascii() and word.isdigit():
        return int(word) if len(word) == 1 and int(word) <= DEBUG else None
    return _WORDS.get(word)


def facts(line: bytes) -> tuple[int | None, dict[str, Any]]:
    """(priority or None, fields by name) of a line. Values are those of JSON, or text."""
    priority = None
    if line[:1] == b"<":
        end = line.find(b">", 2, 5)
        digits = line[1:end] if end > 0 else b""
        if digits.isdigit() and int(digits) >> 3 <= _MOST_FACILITY:
            priority = int(digits) & 7
            line = line[end + 1 :]
    line = line.strip()
    if line[:1] == b"{":
        fields = _json(line) if line[-1:] == b"}" else {}
    elif b"=" in line[:64]:
        fields = _logfmt(line.decode("utf-8", "backslashreplace"))
    else:
        fields = {}
    if priority is None and fields:
        priority = _level(fields)
    return priority, fields


def field(fields: dict[str, Any], name: str) -> str | None:
    """The text of a field, also of one within objects ("http.status"); None if there is none."""
    if name in fields:
        return _text(fields[name])
    found: Any = fields
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return _text(found)


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, int | float) else None


def _json(line: bytes) -> dict[str, Any]:
    from json import loads  # some milliseconds, so that only who needs it pays

    try:
        found = loads(line, parse_int=_whole, parse_float=_real, parse_constant=str)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


def _real(digits: str) -> float | str:
    number = float(digits)
    return number if abs(number) < float("inf") else digits


def _logfmt(text: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    text = text.replace("\t", " ")
    at, equals = 0, -1
    while len(fields) < _MOST_PAIRS:
        if equals < at:
            equals = text.find("=", at)
            if equals < 0:
                break
        space = text.find(" ", at)
        key = "" if at <= space < equals else text[at:equals]
        if not key or key.strip(_KEY_CHARS):  # a word of another kind
            if not fields or space < 0:
                break
            at = space + 1
            continue
        value, at = _value(text, equals + 1, space)
        fields[key] = value
        if at >= len(text):
            break
    return fields


def _value(text: str, at: int, space: int) -> tuple[str, int]:
    """The value that begins at `at`, and where what follows it begins."""
    if text[at : at + 1] == '"':
        end = at
        while (end := text.find('"', end + 1)) >= 0:
            before = end - 1
            while text[before] == "\\":
                before -= 1
            if (end - before) % 2:
                value = text[at + 1 : end]
                if "\\" in value:
                    value = value.replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
                return value, end + 1 + (text[end + 1 : end + 2] == " ")
    if 0 <= space < at:
        space = text.find(" ", at)
    return (text[at:], len(text)) if space < 0 else (text[at:space], space + 1)


def _level(fields: dict[str, Any]) -> int | None:
    lower = {name.lower(): value for name, value in fields.items()}
    log = lower.get("log")
    if isinstance(log, dict):
        lower.setdefault("log.level", log.get("level"))
    for name in _LEVEL_KEYS:
        found = _priority(lower.get(name), _PYTHON if name == _PYTHON_KEY else _TENS)
        if found is not None:
            return found
    return None


def _priority(value: object, tens: dict[int, int]) -> int | None:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _WORDS:
            return _WORDS[word]
        if not (word.isascii() and word.isdigit() and len(word) <= 3):
            # Go's slog has levels between those that have names: "INFO+2"
            return _WORDS.get(word.partition("+")[0]) if len(word) < 16 else None
        value = int(word)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    number = int(value)
    return number if number <= DEBUG else tens.get(min(number // 10 * 10, max(tens)))

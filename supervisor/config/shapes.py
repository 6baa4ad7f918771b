"""The value types that have parts: commands, environments, relations, readiness, stop ladders and
listening addresses.

Law as in `values`: accepted or refused with a sentence, every part of it. A type here knows the
parts of its own value and no other key; what two keys cannot be together is in `rules`.
"""
from __future__ import annotations

from typing import Any

from supervisor.config.quantity import duration_text, signal
from supervisor.config.table import Fault, Key, Refused, Table, Type, each, later, named, show
from supervisor.config.values import BOOLEAN, DIGITS, REGEX, UNIT_NAME, choice, integer, text
from supervisor.model.unit import Edge, Ready, Rung

MAX_WORDS = 8192  # of one command; the file's own size is the nearer limit


def section(table: Table) -> Type:
    return Type(table.read, "table", "table", table)


# --- commands ---


def command(value: object) -> tuple[str, ...]:
    """A list of words, or one text to split. An empty list is no command."""
    if type(value) is str:
        words = _split(value)
    elif type(value) is list:
        words = list(each(value[: MAX_WORDS + 1], text))
    else:
        raise Refused(f'cannot use {show(value)}: write ["program", "argument"], or one text')
    if len(words) > MAX_WORDS:
        raise Refused(f"cannot use this command: it has more than {MAX_WORDS} words")
    if words:
        program = words[0]
        if not program:
            raise Refused("cannot use this command: its first word is empty")
        if program[0] != "/" and "/" in program:
            raise Refused(
                f"cannot use {show(program)}: a program is an absolute path, or a bare name that "
                "is found in PATH"
            )
    elif type(value) is str:
        raise Refused("cannot use this command: it is empty")
    return tuple(words)


_SHELLISH = frozenset("|&;<>'\"\\")  # without any of these, spaces are all that matters


def _split(value: str) -> list[str]:
    text(value)
    if value.isascii() and value.isprintable() and _SHELLISH.isdisjoint(value):
        return value.split()
    from supervisor.config.words import split

    return split(value)


def _hook(value: object) -> tuple[str, ...]:
    if type(value) is not list or not value:
        raise Refused(f'cannot use {show(value)}: a hook is a list, as in [["/bin/true", "-x"]]')
    return command(value)


def _hooks(value: object) -> tuple[tuple[str, ...], ...]:
    if type(value) is not list or len(value) > 64:
        raise Refused('cannot use this: write a list of at most 64 lists, [["/bin/true", "-x"]]')
    return each(value, _hook)


# --- environment ---

_OURS = frozenset(
    (
        "INSTANCE", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET",
        "WATCHDOG_USEC", "WATCHDOG_PID", "MAINPID", "CREDENTIALS_DIRECTORY", "UNBOXED_UNIT",
        "UNBOXED_ATTACHED", "UNBOXED_ACK_FD", "UNBOXED_AGENT_FD", "UNBOXED_ENDPOINTS",
        "UNBOXED_STATUS",
    )
)  # fmt: skip


def _env(value: object) -> tuple[tuple[str, str], ...]:
    """In the order of their names."""
    if type(value) is not dict:
        raise Refused(f'cannot use {show(value)}: write a table, as in [env] NAME = "value"')
    return named(value, lambda name, item: (_env_name(name), _env_value(name, item)))


def _env_name(name: str) -> str:
    if not name.isascii() or not name.isprintable() or not name or "=" in name or " " in name:
        raise Refused(f"cannot set {show(name)}: a name is ASCII, without spaces and '='")
    if name in _OURS:
        raise Refused(f"cannot set {name}: the supervisor sets it; remove it")
    return name


def _env_value(name: str, value: object) -> str:
    if type(value) is str:
        return text(value)
    if type(value) is int and value.bit_length() <= 64:
        return str(value)
    raise Refused(f"cannot set {show(name)} to {show(value)}: write a text, in quotes")


# --- relations ---

EDGE = Table(
    Edge,
    Key("unit", UNIT_NAME, "unit", "", "the other unit"),
    Key(
        "until",
        choice("started", "ready", "finished", refused=("healthy",)),
        "until",
        '"ready"',
        "what must have happened to the one that goes first",
    ),
    Key("order", BOOLEAN, "order", "true", "`false`: start it too, but wait for nothing"),
    required="unit",
)


def relation(*, may_be_unordered: bool) -> Type:
    """A list of names and `{unit, until, order}` tables."""

    def edge(value: object) -> Edge:
        if type(value) is not dict:
            return Edge(UNIT_NAME.parse(value))
        found: Edge = EDGE.read(value)
        if not found.order and not may_be_unordered:
            raise Refused(
                "cannot be false here: this relation is nothing but an order; "
                "only requires and wants can do without",
                "order",
            )
        return found

    def parse(value: object) -> tuple[Edge, ...]:
        if type(value) is not list:
            value = [value]
        if len(value) > 1024:
            raise Refused("cannot use this list: it has more than 1024 items")
        edges = each(value, edge)
        if len({found.unit for found in edges}) != len(edges):
            names = [found.unit for found in edges]
            twice = next(name for name in names if names.count(name) > 1)
            raise Refused(f"cannot use this list: {twice} is in it twice; remove one")
        return edges

    return Type(parse, "relation", "list of unit names, or `{unit, until, order}`", EDGE)


# --- readiness ---


def _make_ready(**parts: Any) -> Ready:
    if len(parts) != 1:
        raise Refused("cannot use this table: it must hold one way to be ready, as in {exit = 0}")
    kind, value = parts.popitem()
    return Ready("log", pattern=value) if kind == "log" else Ready("exit", code=value)


READY = Table(
    Ready,
    Key("log", REGEX, "log", "", "a line of its output matches this regular expression"),
    Key("exit", integer(0, 255), "exit", "", "the command ends with this code"),
    Key("http", later("start.ready.http"), "", "", "an HTTP address answers"),
    Key("tcp", later("start.ready.tcp"), "", "", "a port accepts"),
    Key("exec", later("start.ready.exec"), "", "", "a probe command succeeds"),
    make=_make_ready,
)
_READY_WORDS = {"exec": Ready("exec"), "notify": Ready("notify")}


def _ready(value: object) -> Ready:
    if type(value) is dict:
        found: Ready = READY.read(value)
        return found
    if type(value) is str:
        if value in _READY_WORDS:
            return _READY_WORDS[value]
        number = value[3:]
        if value.startswith("fd:") and len(number) <= 3 and number and DIGITS.issuperset(number):
            if 3 <= int(number) <= 255:
                return Ready("fd", fd=int(number))
            raise Refused(f"cannot use {show(value)}: a descriptor to be ready on is 3 to 255")
    raise Refused(
        f'cannot use {show(value)}: write "exec", "notify", "fd:3", {{log = "regex"}} or '
        "{exit = 0}"
    )


# --- stopping ---


def _ladder(value: object) -> tuple[Rung, ...]:
    """Signals, each with the time to wait before the next.

    A last KILL that waits for nothing is what follows every ladder anyway, so it is no rung.
    """
    if type(value) is not list:
        raise Refused(f'cannot use {show(value)}: write a list, as in ["TERM", "10s", "KILL"]')
    if len(value) > 64:
        raise Refused("cannot use this ladder: it has more than 64 parts")
    rungs: list[Rung] = []
    faults: list[Fault] = []
    may_wait = False  # a time belongs behind a signal
    for index, part in enumerate(value):
        wait_ns = duration_text(part) if type(part) is str and len(part) <= 64 else None
        if wait_ns is None:
            try:
                rungs.append(Rung(_rung_signal(part), 0))
            except Refused as refused:
                faults.append(((index,), str(refused)))
            may_wait = True
        elif may_wait:
            if rungs:
                rungs[-1] = Rung(rungs[-1].signal, wait_ns)
            may_wait = False
        else:
            why = f"cannot wait {show(part)} here: a time belongs behind a signal"
            faults.append(((index,), why))
    if faults:
        raise Refused.of(faults)
    if rungs and rungs[-1] == Rung(9, 0):
        rungs.pop()
    return tuple(rungs)


def _rung_signal(part: object) -> int:
    if type(part) is not str or part.isdigit():
        raise Refused(
            f'cannot use {show(part)}: a signal or a time? write a name ("TERM") or a unit ("10s")'
        )
    try:
        return signal(part)
    except Refused:
        raise Refused(
            f'cannot use {show(part)}: it is neither a signal ("TERM") nor a time ("10s")'
        ) from None


COMMAND = Type(command, "command", "list of words, or text split like a shell's")
HOOKS = Type(_hooks, "hooks", "list of commands, each a list")
ENV = Type(_env, "env", "table of texts")
READINESS = Type(_ready, "ready", "word or table", READY)
LADDER = Type(_ladder, "ladder", "list of signals and durations")

"""How a table of keys reads a TOML table.

Law: a value is accepted as its key's type or refused with a sentence, and one bad key never hides
the next: `Table.fields` returns what was good beside every fault. A fault is a path below the table
that was read, and `cannot ...: reason; what to do`. Nothing here knows a file or a line.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

Where = tuple[str | int, ...]
Fault = tuple[Where, str]

MAX_FAULTS = 100  # of one unit; a hostile file earns no more of our time
_SHOWN = 60  # characters of a value that a message quotes


class Refused(Exception):
    """A value that cannot be used. `faults` is never empty."""

    def __init__(self, message: str, *where: str | int) -> None:
        super().__init__(message)
        self.faults: list[Fault] = [(where, message)]

    @staticmethod
    def of(faults: list[Fault]) -> Refused:
        refused = Refused(faults[0][1])
        refused.faults = faults
        return refused


class Type(Struct, frozen=True):
    """A kind of value. `parse` raises Refused; `form` and `detail` are what documents, JSON Schema
    and the way back to text go by; `words` say it to a reader."""

    parse: Callable[[object], Any]
    form: str
    words: str
    detail: Any = None


class Key(Struct, frozen=True):
    """One key. `field`: its attribute in the model. `default` is TOML text, "" for none.

    Of an unsupported key (`later`) only the name and the meaning count.
    """

    name: str
    type: Type
    field: str
    default: str
    meaning: str

    @property
    def later(self) -> bool:
        return self.type.form == "later"


class Table:
    """Keys that belong together, and the model type that they make.

    `make` takes the fields by name and may raise Refused for what they cannot be together.
    `required`: the one key that must be there, if any.
    """

    __slots__ = ("keys", "make", "required", "rows")

    def __init__(
        self,
        model: type,
        *keys: Key,
        make: Callable[..., Any] | None = None,
        required: str | None = None,
    ) -> None:
        self.keys = keys
        self.required = required
        self.make: Callable[..., Any] = make or model
        self.rows = {key.name: (key.field, key.type.parse) for key in keys}

    def fields(self, table: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
        """The fields of the good keys, and the faults of the others (after MAX_FAULTS the rest is
        not looked at)."""
        good: dict[str, Any] = {}
        faults: list[Fault] = []
        rows = self.rows
        for name, value in table.items():
            row = rows.get(name)
            try:
                if row is None:
                    faults += self.unknown(name, value)
                else:
                    good[row[0]] = row[1](value)
            except Refused as refused:
                faults += [((name, *where), message) for where, message in refused.faults]
            if len(faults) > MAX_FAULTS:
                break
        return good, faults

    def unknown(self, name: str, value: object) -> list[Fault]:
        """What to say of a key that this table lacks; those of other files say it otherwise."""
        return unknown_key(name, value, self.rows)

    def read(self, value: object) -> Any:
        """The model value of a TOML table. Raises Refused."""
        if type(value) is not dict:
            raise Refused(f"cannot use {show(value)}: a table of keys belongs here")
        good, faults = self.fields(value)
        if self.required is not None and self.required not in value:
            faults.append(((), f"cannot do without {self.required}; add that key"))
        if faults:
            raise Refused.of(faults)
        return self.make(**good)


class Late(Table):
    """A table that is loaded once a unit file has it: units without it cost nothing."""

    __slots__ = ("_load",)

    def __init__(self, load: Callable[[], Table]) -> None:
        self._load = load

    def __getattr__(self, name: str) -> Any:  # a slot that is not filled yet
        if name not in Table.__slots__:
            raise AttributeError(name)
        table = self._load()
        for slot in Table.__slots__:
            setattr(self, slot, getattr(table, slot))
        return getattr(self, name)


def each(values: list[Any], parse: Callable[[object], Any]) -> tuple[Any, ...]:
    """Every item parsed. Raises Refused with the faults of all of them."""
    good: list[Any] = []
    faults: list[Fault] = []
    for index, value in enumerate(values):
        try:
            good.append(parse(value))
        except Refused as refused:
            faults += [((index, *where), message) for where, message in refused.faults]
            if len(faults) > MAX_FAULTS:
                break
    if faults:
        raise Refused.of(faults)
    return tuple(good)


def rows(value: object, read: Callable[[object], Any], example: str) -> tuple[Any, ...]:
    """A list of tables, as in `example`, 64 at most. Raises Refused."""
    if type(value) is not list or len(value) > 64:
        raise Refused(f"cannot use {show(value)}: write a list, as in [{example}]")
    return each(value, read)


def named(values: dict[str, Any], parse: Callable[[str, object], Any]) -> tuple[Any, ...]:
    """Every item parsed, in the order of names, so that the order of lines is no change of the
    unit. Raises Refused with the faults of all of them."""
    good: list[Any] = []
    faults: list[Fault] = []
    for name, value in sorted(values.items()):
        try:
            good.append(parse(name, value))
        except Refused as refused:
            faults.append(((name,), str(refused)))
            if len(faults) > MAX_FAULTS:
                break
    if faults:
        raise Refused.of(faults)
    return tuple(good)


def later(path: str) -> Type:
    """The type of a key that a later version will know: it refuses everything."""
    message = f"cannot accept {path}: not supported yet; remove it"

    def refuse(_: object) -> None:
        raise Refused(message)

    return Type(refuse, "later", "not supported yet")


def unknown_key(name: str, value: object, known: Iterable[str]) -> list[Fault]:
    """What to say of a key that is none of `known`: where it belongs, or what was meant. In a
    section of systemd's each key has its answer."""
    from supervisor.config.nearest import nearest
    from supervisor.config.schema import paths
    from supervisor.config.systemd import SECTIONS, meaning

    homes = [path for path in paths() if path.rpartition(".")[2] == name]
    if name in homes:  # TOML's commonest accident: a key below a [table] that belongs above it
        hint = f"{name} belongs at the top, before the first [table]"
    elif homes:
        hint = f"did you mean {' or '.join(homes[:3])}?"
    elif theirs := meaning(name):
        hint = theirs
    else:
        guess = nearest(name, known)
        hint = f"did you mean {guess}?" if guess else "remove it"
    found: list[Fault] = [((name,), f"cannot use {show(name)}: there is no such key here; {hint}")]
    if name in SECTIONS and type(value) is dict:
        inner = [(key, meaning(key)) for key in list(value)[:MAX_FAULTS]]
        found += [((name, key), f"cannot use {show(key)}: {hint}") for key, hint in inner if hint]
    return found


def show(value: object) -> str:
    """A value as a message quotes it: short, on one line, with no control characters."""
    if type(value) is str:
        cut = value[:_SHOWN]
        return '"' + "".join(map(_visible, cut)) + ('"' if cut == value else '..."')
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return str(value) if value.bit_length() <= 64 else "a number of more than 64 bits"
    if type(value) is float:
        return repr(value)
    if type(value) is list:
        return "a list"
    if type(value) is dict:
        return "a table"
    return "nothing" if value is None else "a date or time"


def _visible(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else character.encode("unicode_escape").decode()

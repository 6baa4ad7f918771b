"""A Unit back to text: every effective key (`describe`), or a unit file of it (`to_toml`).

Law: what this writes, `load` reads to an equal Unit; a Hypothesis test holds it to that. Runs on
the schema's table: one function a form of value, and no key is named here but `env` and `listen`,
which are written as tables. Imported only when somebody asks.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from supervisor.config.address import ONLY_FOR
from supervisor.config.quantity import SIZE_UNITS
from supervisor.config.rules import OF_GROUPS
from supervisor.config.schema import UNIT
from supervisor.config.shapes import EDGE
from supervisor.config.table import Key, Table
from supervisor.model.sandbox import MappedRange, PortRule
from supervisor.model.unit import Edge, Listen, Logs, Ready, Reload, RestartLimit, Rung, Unit
from supervisor.model.values import duration_text, signal_name


def describe(unit: Unit) -> list[tuple[str, str]]:
    """(dotted key, TOML text of its value) of all keys, in the schema's order; those that are unset
    and have no default are left out, as is what a group cannot have."""
    rows: list[tuple[str, str]] = []
    for key in UNIT.keys:
        if key.later or (unit.kind == "group" and key.name not in OF_GROUPS):
            continue
        value = getattr(unit, key.field)
        if key.type.form in _NAMED:
            pairs = _NAMED[key.type.form](value)
            rows += [(f"{key.name}.{_name(name)}", quote(text)) for name, text in pairs]
        elif key.type.form == "tables":
            for index, item in enumerate(value):
                rows += _describe(key.type.detail, item, f"listen[{index}].")
        elif value is None:  # a section that is not there
            continue
        elif isinstance(key.type.detail, Table) and not _is_word(value):
            rows += _describe(key.type.detail, value, f"{key.name}.")
        elif value or key.default:
            rows.append((key.name, _text(key, value)))
    return rows


def _describe(table: Table, value: Any, above: str) -> Iterator[tuple[str, str]]:
    for key in table.keys:
        if key.later or (isinstance(value, Reload) and value.kind != key.name):
            continue
        if isinstance(value, Listen) and key.name in ONLY_FOR:
            families, _ = ONLY_FOR[key.name]
            if value.family not in families:
                continue
        if isinstance(value, Logs) and value.to != "files" and key.name != "to":
            continue
        field = _field(key, value)
        if key.default or key.type.form == "address" or field != _unset(key, value):
            yield above + key.name, _text(key, field)


def _unset(key: Key, value: Any) -> Any:
    """What the field of a key holds in a unit that does not have it."""
    fields, defaults = value.__struct_fields__, value.__struct_defaults__
    index = fields.index(key.field) - len(fields)
    return defaults[index] if -index <= len(defaults) else None


def to_toml(unit: Unit) -> str:
    """A unit file with the keys of `unit` that are not defaults. Its name and source are not in it:
    the file's name is the one, its place the other."""
    tables: list[str] = []
    top = ""
    for key in _changed(UNIT, unit, {"name": unit.name, "source": unit.source}):
        value = getattr(unit, key.field)
        if key.type.form in _NAMED:
            pairs = _NAMED[key.type.form](value)
            lines = [f"{_name(name)} = {quote(text)}\n" for name, text in pairs]
            tables.append(f"\n[{key.name}]\n" + "".join(lines))
        elif key.type.form == "tables":
            tables += [f"\n[[{key.name}]]\n" + _lines(key.type.detail, item) for item in value]
        elif isinstance(key.type.detail, Table) and not _is_word(value):
            tables.append(f"\n[{key.name}]\n" + _lines(key.type.detail, value))
        else:
            top += f"{key.name} = {_text(key, value)}\n"
    return (top + "".join(tables)).lstrip("\n")


def _lines(table: Table, value: Any) -> str:
    if isinstance(value, Listen):  # its address makes its defaults, so it comes first and always
        address = (value.family, value.host, value.port, value.path)
        first = f"address = {quote(address_text(value))}\n"
        keys = list(_changed(table, value, {"address": address}))
    else:
        first = ""
        keys = list(_changed(table, value, {}))
    return first + "".join(f"{key.name} = {_text(key, _field(key, value))}\n" for key in keys)


def _changed(table: Table, value: Any, written: dict[str, Any]) -> Iterator[Key]:
    """The keys without which the rest would not make `value`: some defaults follow from other keys.

    `written`: fields that are known already; it grows.
    """
    for key in table.keys:
        if key.later or key.field in written:
            continue
        field = getattr(value, key.field)
        if field != getattr(table.make(**written), key.field):
            written[key.field] = field
            yield key


def _field(key: Key, value: Any) -> Any:
    return address_text(value) if key.type.form == "address" else getattr(value, key.field)


def _is_word(value: Any) -> bool:
    """A table that is written as one word instead: reload = "restart"."""
    return isinstance(value, Reload) and value.kind == "restart"


# --- texts ---


def _text(key: Key, value: Any) -> str:
    return _FORMS[key.type.form](value, key.type.detail)


def quote(text: str) -> str:
    """A TOML basic string."""
    return '"' + "".join(map(_escaped, text)) + '"'


def toml_value(value: Any, *, key: bool = False) -> str:
    """TOML text of a value that came as JSON, on one line; `key`: of a name. What TOML has not
    becomes text, for the reader to refuse."""
    if key:
        return _name(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, dict):
        pairs = (f"{_name(name)} = {toml_value(item)}" for name, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    return quote(str(value))


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character < " " or character == "\x7f":
        return f"\\u{ord(character):04x}"
    return character


def _name(name: str) -> str:
    plain = name.replace("_", "").replace("-", "")
    return name if plain.isascii() and plain.isalnum() else quote(name)


def size_text(size_bytes: int) -> str:
    """In the largest unit of which it is a whole number; "0" without one."""
    for name, scale in SIZE_UNITS:
        if size_bytes and size_bytes % scale == 0:
            return f"{size_bytes // scale}{name}"
    return "0"


def address_text(listen: Listen) -> str:
    """Its `address`, as a unit file has it."""
    if listen.family in {"tcp", "udp"}:
        return f"{listen.family}:{listen.host}:{listen.port}"
    if listen.family in {"tcp6", "udp6"}:
        return f"{listen.family}:[{listen.host}]:{listen.port}"
    return f"{listen.family}:{listen.path}"


def _signal(number: int) -> str:
    name = signal_name(number)
    return quote(name.removeprefix("SIG")) if name.startswith("SIG") else str(number)


def _quoted(value: str, _: Any) -> str:
    return quote(value)


def _number(value: float, _: Any) -> str:
    return repr(value)


def _list(value: tuple[Any, ...], item: Any) -> str:
    return "[" + ", ".join(_FORMS[item.form](part, item.detail) for part in value) + "]"


def _words(value: tuple[str, ...], _: Any) -> str:
    return "[" + ", ".join(map(quote, value)) + "]"


def _hooks(value: tuple[tuple[str, ...], ...], _: Any) -> str:
    return "[" + ", ".join(_words(hook, None) for hook in value) + "]"


def _relation(value: tuple[Edge, ...], _: Any) -> str:
    return "[" + ", ".join(map(_edge, value)) + "]"


def _edge(edge: Edge) -> str:
    if edge == Edge(edge.unit):
        return quote(edge.unit)
    return _inline(EDGE, edge)


def _inline(table: Table, value: Any) -> str:
    pairs = [f"{key.name} = {_text(key, getattr(value, key.field))}" for key in table.keys]
    return "{" + ", ".join(pairs) + "}"


def _ready(ready: Ready, _: Any) -> str:
    if ready.kind == "fd":
        return quote(f"fd:{ready.fd}")
    if ready.kind == "log":
        return "{log = " + quote(ready.pattern) + "}"
    if ready.kind == "exit":
        return f"{{exit = {ready.code}}}"
    return quote(ready.kind)


def _ladder(rungs: tuple[Rung, ...], _: Any) -> str:
    parts: list[str] = []
    for rung in rungs:
        parts.append(_signal(rung.signal))
        if rung.wait_ns:
            parts.append(quote(duration_text(rung.wait_ns)))
    return "[" + ", ".join([*parts, '"KILL"']) + "]"


def _limit(limit: RestartLimit | None, table: Any) -> str:
    return '"none"' if limit is None else _inline(table, limit)


def _amount(name: str, value: int) -> str:
    """One half of a resource limit, unquoted."""
    from supervisor.model.rlimits import RLIMITS, UNLIMITED

    kind = RLIMITS[name][1]
    if value == UNLIMITED:
        return "unlimited"
    if kind in {"s", "us"}:
        return duration_text(value * (10**9 if kind == "s" else 1000))
    return size_text(value) if kind == "size" else str(value)


def _rlimit(value: tuple[int, int], name: Any) -> str:
    soft, hard = (_amount(name, part) for part in value)
    if soft != hard:
        return quote(f"{soft}:{hard}")
    return soft if soft.isdigit() else quote(soft)


def _rlimits(value: tuple[tuple[str, int, int], ...], _: Any) -> str:
    parts = [f"{name} = {_rlimit((soft, hard), name)}" for name, soft, hard in value]
    return "{" + ", ".join(parts) + "}"


def _entries(value: tuple[Any, ...], table: Any) -> str:
    entries = []
    for one in value:
        fields = [(key, getattr(one, key.field)) for key in table.keys]
        pairs = [f"{key.name} = {_text(key, field)}" for key, field in fields if field is not None]
        entries.append("{" + ", ".join(pairs) + "}")
    return "[" + ", ".join(entries) + "]"


def port_text(rule: PortRule) -> str:
    """A rule of `listen` or `connect`, as a unit file has it."""
    port = f"{rule.port or '*'}"
    if not rule.network:
        return f"{rule.protocol}:{port}"
    network = f"[{rule.network}]" if ":" in rule.network else rule.network
    return f"{network}:{port}" if rule.protocol == "tcp" else f"{rule.protocol}:{network}:{port}"


def _id_map(value: tuple[MappedRange, ...], _: Any) -> str:
    if not value:
        return '"auto"'
    return _words(tuple(f"{one.inside}:{one.outside}:{one.count}" for one in value), None)


# Tables whose keys are the unit's own: the name and text of each.
_NAMED: dict[str, Callable[[Any], Iterable[tuple[str, str]]]] = {
    "env": lambda value: value,
    "secrets": lambda value: ((one.name, one.file) for one in value),
}


def _instances(value: int, _: Any) -> str:
    return str(value) if value else '"cores"'


_FORMS: dict[str, Callable[[Any, Any], str]] = {
    "account": _quoted,
    "address": _quoted,
    "boolean": lambda value, _: "true" if value else "false",
    "capability": _quoted,
    "choice": _quoted,
    "command": _words,
    "cpus": _quoted,
    "decimal": _number,
    "duration": lambda value, _: quote(duration_text(value)),
    "entries": _entries,
    "hooks": _hooks,
    "id_map": _id_map,
    "instances": _instances,
    "integer": _number,
    "ladder": _ladder,
    "limit": _limit,
    "list": _list,
    "listener": _quoted,
    "mode": lambda value, _: quote(f"{value:03o}"),
    "names": _words,
    "negatable": _quoted,
    "path": _quoted,
    "place": _quoted,
    "percent": lambda value, _: quote(f"{value // 10}.{value % 10}%".replace(".0%", "%")),
    "port": lambda value, _: quote(port_text(value)),
    "rate": lambda value, _: quote(f"{size_text(value)}/s"),
    "ready": _ready,
    "regex": _quoted,
    "relation": _relation,
    "reload": lambda value, _: quote(value.kind),
    "rlimit": _rlimit,
    "rlimits": _rlimits,
    "signal": lambda value, _: _signal(value),
    "size": lambda value, _: quote(size_text(value)) if value else "0",
    "text": _quoted,
    "unit": _quoted,
    "users": lambda value, table: _inline(table, value),
}

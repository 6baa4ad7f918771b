"""Unit keys given on a command line: `restart.delay=0`, `env.PORT=8080`, `listen=tcp:8080`.

A shell has no types, so each text is tried as the TOML value it would be in a file, and as the text
itself; the key's own type decides which. What comes out is the table that `load.load_table` reads.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from supervisor.config.build import BadText, document
from supervisor.config.schema import walk
from supervisor.config.table import Key, Refused, show

_ADDS = frozenset(("list", "relation"))  # given again, such a key grows


def read_options(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The table of (dotted key, text) pairs. Raises Refused, its faults naming the key."""
    keys = dict(walk())
    table: dict[str, Any] = {}
    for path, text in pairs:
        try:
            _put(table, path, text, keys)
        except Refused as refused:
            raise Refused(str(refused), path) from None
    return table


def help_rows() -> list[tuple[str, str, str, str]]:
    """(dotted key, kind of value, default, meaning) of every key that a command line may set."""
    tables = ("table", "tables", "reload")
    return [
        (path, key.type.words, key.default, key.meaning)
        for path, key in walk()
        if not key.later and key.type.form not in tables and not path.startswith("listen.")
    ]


def _put(table: dict[str, Any], path: str, text: str, keys: dict[str, Key]) -> None:
    if path.startswith("env."):
        table.setdefault("env", {})[path[4:]] = text
        return
    if path == "listen":
        table.setdefault("listen", []).append({"address": text})
        return
    key = keys.get(path)
    if key is None:
        from supervisor.config.nearest import nearest

        guess = nearest(path, keys)
        hint = f"did you mean {guess}?" if guess else "see unboxed schema"
        raise Refused(f"cannot use {show(path)}: there is no such key; {hint}")
    *above, name = path.split(".")
    for part in above:
        table = table.setdefault(part, {})
        if type(table) is not dict:
            raise Refused(f"cannot set {path}: {part} is set as a whole; set one or the other")
    value = _value(key, text)
    if name in table:
        if key.type.form not in _ADDS:
            raise Refused(f"cannot set {path} twice; leave one out")
        value = [*_as_list(table[name]), *_as_list(value)]
    table[name] = value


def _value(key: Key, text: str) -> Any:
    try:
        typed = document(f"x = {text}".encode(errors="surrogatepass"))
    except BadText:
        typed = {}
    if len(typed) == 1:
        try:
            key.type.parse(typed["x"])
        except Refused as refused:
            complaint = refused
        else:
            return typed["x"]
        if type(typed["x"]) is not str:
            try:
                key.type.parse(text)
            except Refused:
                raise complaint from None
            return text
    key.type.parse(text)
    return text


def _as_list(value: Any) -> list[Any]:
    return value if type(value) is list else [value]

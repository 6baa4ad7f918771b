"""The JSON Schema (draft 2020-12) of a unit file, made from the schema's table, for editors."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from supervisor.config.schema import LISTEN, UNIT
from supervisor.config.shapes import EDGE, READY
from supervisor.config.table import Key, Table
from supervisor.model.rlimits import RLIMITS

_UNIT_NAME = {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"}
_DURATION = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(d|h|m|s|ms|us|ns))+$"},
    ]
}
_SIZE = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?([KMGT]iB|[kKMGT]B|B)$"},
    ]
}
_SIGNAL = {
    "anyOf": [{"type": "integer", "minimum": 1, "maximum": 64}, {"type": "string", "minLength": 2}]
}
_RATE = {
    "anyOf": [
        {"type": "integer", "minimum": 1},
        {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?([KMGT]iB|[kKMGT]B|B)/s$"},
    ]
}
_AMOUNT = "([0-9.]+[A-Za-z]*|unlimited)"
_RLIMIT = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": f"^{_AMOUNT}(:{_AMOUNT})?$"},
    ]
}
_IDS = {"type": "string", "pattern": "^[0-9]+:[0-9]+:[0-9]+$"}
_TEXT = {"type": "string"}
_WORDS = {"type": "array", "items": _TEXT}
_COMMAND = {"anyOf": [{"type": "string", "minLength": 1}, _WORDS]}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a unit file, for editors. It knows forms and names; `unboxed check` knows
    what keys cannot be together."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Unboxed unit file",
        **fragment(UNIT),
    }


def fragment(table: Table) -> dict[str, Any]:
    """The part of a schema that describes one table."""
    properties = {}
    for key in table.keys:
        if key.later:
            continue
        properties[key.name] = {"description": key.meaning, **_FORMS[key.type.form](key)}
    made = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**made, "required": [table.required]} if table.required else made


def _number(kind: str) -> Callable[[Key], dict[str, Any]]:
    def numeric(key: Key) -> dict[str, Any]:
        low, high = key.type.detail
        return {"type": kind, "minimum": low, "maximum": high}

    return numeric


def _list(key: Key) -> dict[str, Any]:
    item = key.type.detail
    one = _FORMS[item.form](Key("", item, "", "", ""))
    many = {"type": "array", "items": one, "uniqueItems": True}
    return {"anyOf": [_TEXT, many]} if one.get("type") == "string" else many


def _rlimits(_: Key) -> dict[str, Any]:
    names = dict.fromkeys(sorted(RLIMITS.keys() - {"core", "nofile"}), _RLIMIT)
    return {"type": "object", "additionalProperties": False, "properties": names}


def _relation(_: Key) -> dict[str, Any]:
    one = {"anyOf": [_UNIT_NAME, fragment(EDGE)]}
    return {"anyOf": [*one["anyOf"], {"type": "array", "items": one}]}


def _ready(_: Key) -> dict[str, Any]:
    words = {"type": "string", "pattern": "^(exec|notify|fd:[0-9]{1,3})$"}
    return {"anyOf": [words, {**fragment(READY), "minProperties": 1, "maxProperties": 1}]}


_FORMS: dict[str, Callable[[Key], dict[str, Any]]] = {
    "account": lambda _: {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9._-]{0,31}\\$?$"},
    "address": lambda _: {
        "type": "string",
        "pattern": "^(tcp6?|udp6?|unix(-datagram)?|abstract|fifo|netlink):.+$",
    },
    "boolean": lambda _: {"type": "boolean"},
    "choice": lambda key: {"enum": list(key.type.detail)},
    "command": lambda _: _COMMAND,
    "capability": lambda _: {"type": "string", "pattern": "^[A-Za-z_]+$"},
    "cpus": lambda _: {"type": "string", "pattern": "^[0-9][0-9, -]*$"},
    "decimal": _number("number"),
    "duration": lambda _: _DURATION,
    "env": lambda _: {
        "type": "object",
        "additionalProperties": {"anyOf": [_TEXT, {"type": "integer"}]},
    },
    "entries": lambda key: {"type": "array", "items": fragment(key.type.detail)},
    "hooks": lambda _: {"type": "array", "items": {**_WORDS, "minItems": 1}},
    "id_map": lambda _: {
        "anyOf": [{"const": "auto"}, _IDS, {"type": "array", "items": _IDS, "minItems": 1}]
    },
    "instances": lambda _: {
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": 1024}, {"const": "cores"}]
    },
    "integer": _number("integer"),
    "interfaces": lambda key: {
        "type": "object",
        "additionalProperties": fragment(key.type.detail),
    },
    "ladder": lambda _: _WORDS,
    "limit": lambda key: {"anyOf": [{"const": "none"}, fragment(key.type.detail)]},
    "list": _list,
    "listener": lambda _: {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,31}$"},
    "mode": lambda _: {"type": "string", "pattern": "^[0-7]{1,4}$"},
    "names": lambda _: {"anyOf": [_TEXT, _WORDS]},
    "negatable": lambda _: _TEXT,
    "path": lambda _: {"type": "string", "pattern": "^/"},
    "percent": lambda _: {"type": "string", "pattern": "^[0-9]+(\\.[0-9])?%$"},
    "place": lambda _: {"type": "string", "pattern": "^[/@]"},
    "port": lambda _: {"type": "string", "pattern": ":([0-9]{1,5}|\\*)$"},
    "rate": lambda _: _RATE,
    "ready": _ready,
    "regex": lambda _: {"type": "string", "minLength": 1},
    "relation": _relation,
    "reload": lambda key: {"anyOf": [{"const": "restart"}, fragment(key.type.detail)]},
    "rlimit": lambda _: _RLIMIT,
    "rlimits": _rlimits,
    "secrets": lambda _: {
        "type": "object",
        "additionalProperties": {"type": "string", "pattern": "^/"},
    },
    "signal": lambda _: _SIGNAL,
    "size": lambda _: _SIZE,
    "table": lambda key: fragment(key.type.detail),
    "tables": lambda _: {"type": "array", "items": fragment(LISTEN)},
    "text": lambda _: _TEXT,
    "unit": lambda _: _UNIT_NAME,
    "users": lambda key: fragment(key.type.detail),
}

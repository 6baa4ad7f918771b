"""Faults to Problems: which file, which line, which key. Imported only when there is a fault.

A unit is made of layers (its file and its drop-ins, later ones stronger), and a fault belongs to
the strongest layer that holds the key.
"""
from __future__ import annotations

from typing import Any

from msgspec import Struct
from tomli import TOMLDecodeError

from supervisor.config.lines import Lines
from supervisor.config.problem import Problem
from supervisor.config.table import MAX_FAULTS, Fault, Where, show


class Layer(Struct, frozen=True):
    """One file of a unit."""

    file: str
    text: str
    doc: dict[str, Any]


def problems(faults: list[Fault], layers: list[Layer]) -> tuple[Problem, ...]:
    """In order of file and line; at most MAX_FAULTS, and one that says so if there are more."""
    lines: dict[int, Lines] = {}
    found: list[tuple[int, int, Problem]] = []
    for where, message in faults[:MAX_FAULTS]:
        index = _layer(where, layers)
        layer = layers[index]
        if index not in lines:
            lines[index] = Lines(layer.text)
        line = lines[index].find(where) or 1
        found.append((index, line, Problem(layer.file, line, dotted(where), message)))
    found.sort(key=lambda row: row[:2])
    listed = [problem for _, _, problem in found]
    if len(faults) > MAX_FAULTS:
        why = f"cannot list all errors: there are more than {MAX_FAULTS}; correct these first"
        listed.append(Problem(layers[0].file, 0, "", why))
    return tuple(listed)


def doubt(layer: Layer, where: Where, message: str) -> Problem:
    """What one file says there, and perhaps should not."""
    return Problem(layer.file, Lines(layer.text).find(where) or 1, dotted(where), message)


def dotted(where: Where) -> str:
    """`restart.limit.count`, `listen[1].address`."""
    text = ""
    for part in where:
        if type(part) is int:
            text += f"[{part}]"
        else:
            name = str(part)
            plain = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
            text += ("." if text else "") + (name if plain and len(name) <= 60 else show(name))
    return text


def _layer(where: Where, layers: list[Layer]) -> int:
    """The strongest layer among those that hold most of the path; the first for an empty one."""
    best = best_depth = 0
    for index, layer in enumerate(layers):
        depth = _depth(where, layer.doc)
        if depth and depth >= best_depth:
            best, best_depth = index, depth
    return best


def _depth(where: Where, value: Any) -> int:
    depth = 0
    for part in where:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            break
        depth += 1
    return depth


_OPEN_QUOTE = "a text here has no closing quote"
_TOML_WORDS = {  # tomli's words where they do not help, in ours
    "Cannot overwrite a value": "this key is given twice; remove one",
    "Invalid value": "this is no TOML value; put texts in quotes",
    "Expected '=' after a key in a key/value pair": "a key and a value have = between them",
    "Invalid statement": "this is neither KEY = VALUE nor [TABLE]",
    "Unterminated string": _OPEN_QUOTE,
    "Illegal character '\\n'": _OPEN_QUOTE,
    """Expected "'\"""": _OPEN_QUOTE,
    """Expected "'''\"""": _OPEN_QUOTE,
}


def explain_toml(data: bytes, error: TOMLDecodeError) -> tuple[int, str]:
    """On which line, and why, `data` is no TOML."""
    line = error.lineno
    if data.startswith(b"\xef\xbb\xbf"):
        return 1, "cannot read it: it begins with a byte order mark; save it without one"
    for byte in data.split(b"\n")[line - 1].rstrip(b"\r"):
        if (byte < 32 and byte != 9) or byte == 127:
            why = f"this line holds the control character 0x{byte:02x}; remove it"
            return line, f"cannot read it: {why}"
    why = _TOML_WORDS.get(error.msg, error.msg[:1].lower() + error.msg[1:200])
    why = _slip(data.split(b"\n")[line - 1].decode(errors="replace")) or why
    if why is _OPEN_QUOTE and error.pos >= len(error.doc):  # the last quote is the one that opened
        last = max(map(error.doc.rfind, ("'", '"')))
        line = error.doc.count("\n", 0, last) + 1
    return line, f"cannot read it: {why}"


def _slip(line: str) -> str:
    """What a line that is no TOML was meant to be, if that can be told; else ""."""
    import re

    found = re.match(r"[ \t]*([\w.-]{1,60})[ \t]*=[ \t]*(?:(0[0-9]{1,20})\s*(?:#|$))?", line)
    if not found:
        return ""
    key, octal = found.groups()
    if octal:
        return f'numbers with a leading zero need quotes: {key} = "{octal}"'
    from supervisor.config.systemd import meaning

    theirs = meaning(key)
    return theirs and f"{theirs}; put texts in quotes"

"""`{instance}`, `{unit}` and `{port:NAME}`: the only three things that braces mean in a unit file.

Any other brace is text, because braces are common in arguments (JSON, find -exec). What may hold a
substitution: `texts(unit)`. They are filled in at launch, where ports are known.
"""
from __future__ import annotations

from collections.abc import Iterator

from supervisor.model.unit import Unit

_PORT = "{port:"


def ports_named(text: str) -> list[str]:
    """The NAME of every `{port:NAME}`; one without an end gives what is left of the text."""
    return [part.split("}", 1)[0] for part in text.split(_PORT)[1:]]


def texts(unit: Unit) -> Iterator[tuple[str, str]]:
    """(key, text) of everything in which substitutions are made."""
    for text in unit.command:
        yield "command", text
    yield "directory", unit.directory
    for name, text in unit.env:
        yield f"env.{name}", text
    for text in unit.env_files:
        yield "env_files", text
    for key, hooks in (("start.before", unit.start.before), ("start.after", unit.start.after)):
        for hook in hooks:
            for text in hook:
                yield key, text
    for text in unit.stop.command:
        yield "stop.command", text
    for text in unit.reload.command:
        yield "reload.command", text
    yield "root", unit.root
    for secret in unit.secrets:
        yield f"secrets.{secret.name}", secret.file
    if unit.sandbox is not None:
        for key in ("read", "write", "exec"):
            for text in getattr(unit.sandbox, key) or ():
                yield f"sandbox.{key}", text
        for opened in unit.sandbox.open:
            yield "sandbox.open", opened.path
    if unit.network is not None:
        for text in unit.network.unix or ():
            yield "network.unix", text

"""`{instance}`, `{unit}` and `{port:NAME}`: the only three things that braces mean in a unit file.

Any other brace is text, because braces are common in arguments (JSON, find -exec). What may hold a
substitution: `texts(unit)`. Names and numbers hold no brace, so replacing one after the other is
safe. Pure.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping

from supervisor.model.unit import Unit

_PORT = "{port:"


def expand(text: str, unit: str, instance: int, ports: Mapping[str, int]) -> str:
    """`text` with its substitutions. `ports`: of the unit's listeners, by name.

    A `{port:NAME}` that is not in `ports` stays as it is; config lets none pass.
    """
    if "{" not in text:
        return text
    text = text.replace("{instance}", str(instance)).replace("{unit}", unit)
    if _PORT in text:
        for name, port in ports.items():
            text = text.replace(f"{_PORT}{name}}}", str(port))
    return text


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

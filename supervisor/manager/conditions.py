"""[conditions]: facts of the host that decide whether a start is skipped."""
from __future__ import annotations

import os

from supervisor.kernel import host
from supervisor.model.pattern import matches
from supervisor.model.unit import Conditions


def unmet(conditions: Conditions) -> str:
    """The first condition that does not hold, in words; "" if all do."""
    for path in conditions.path_exists:
        if not _holds(path, os.path.exists):
            return f"conditions.path_exists = {path!r} does not hold"
    for want in conditions.virtualization:
        if not _holds(want, lambda word: host.virtualization() in _kinds(word)):
            return f"conditions.virtualization = {want!r} does not hold"
    for word in conditions.kernel_cmdline:
        if not _holds(word, lambda text: text in _cmdline()):
            return f"conditions.kernel_cmdline = {word!r} does not hold"
    for name in conditions.host:
        if not _holds(name, lambda text: matches(text, host.host_name())):
            return f"conditions.host = {name!r} does not hold"
    if conditions.first_boot is not None and conditions.first_boot != host.first_boot():
        return f"conditions.first_boot = {str(conditions.first_boot).lower()} does not hold"
    return ""


def _holds(text: str, test: object) -> bool:
    wanted = not text.startswith("!")
    return bool(test(text.removeprefix("!"))) == wanted  # type: ignore[operator]


def _kinds(word: str) -> tuple[str, ...]:
    return ("vm", "container") if word in ("yes", "true") else (word,)


def _cmdline() -> set[str]:
    words = host.kernel_cmdline()
    return {*words, *(word.partition("=")[0] for word in words)}

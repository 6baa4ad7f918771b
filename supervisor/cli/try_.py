"""`unboxed try -- COMMAND`: a transient unit, with keys of a unit file as options."""
from __future__ import annotations

from supervisor.cli.call import BAD_USAGE, DONE, Call, Failure
from supervisor.cli.lifecycle import finish, request
from supervisor.cli.server import Server, print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_ENDED = ("finished", "skipped")  # how the supervisor tells of a task that is over


def run(call: Call) -> int:
    keys = tree(call.keys)
    with Server(call, f"try {call.words[0]}", place=_place) as server:
        unit = server.call("Try", {"command": list(call.words), "keys": keys})["unit"]
        code, ended = DONE, False
        if not call.flag("no-wait"):
            results = request(server, "Start", {"units": [unit], "wait": True})
            shown = [one for one in results if not (one["ok"] and call.flag("json"))]
            code = finish("try", shown)
            ended = all(one["message"] in _ENDED for one in results)
    if call.flag("json"):
        print_json({"unit": unit})
    elif code == DONE and keys.get("logs", {}).get("to", "files") != "files":
        if not ended:
            print(f"`unboxed stop {unit}` ends it")
    elif code == DONE and ended:
        print(f"`unboxed logs {unit}` shows what it wrote")
    elif code == DONE:
        print(f"`unboxed logs -f {unit}` shows what it writes, `unboxed stop {unit}` ends it")
    return code


def _place(problem: dict[str, Any]) -> tuple[str, ...]:
    """Where a problem of a unit is that was made of options and a command line."""
    key = problem["key"]
    return ("the command line" if key in {"", "command"} else f"--{key}",)


def tree(keys: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """{"restart": {"when": "always"}} for ("restart.when", "always"). A key given twice makes a
    list, which only keys that take lists accept. Raises Failure."""
    root: dict[str, Any] = {}
    for path, text in keys:
        *tables, name = path.split(".") if not path.startswith("env.") else ("env", path[4:])
        here = root
        for table in tables:
            here = here.setdefault(table, {})
            if not isinstance(here, dict):
                raise Failure(
                    f"cannot use --{path}: {table} is a table to it, and was given as a value too;"
                    " give one of the two", BAD_USAGE)
        if not name or name in here:
            what = "it is given twice" if name else "it names no key"
            raise Failure(f"cannot use --{path}: {what}; nothing was started", BAD_USAGE)
        here[name] = value(path, text)
    return root


def value(path: str, text: str) -> Any:
    """`text` as the key wants it: as it stands if that is accepted, else as a TOML value (`2`,
    `["a", "b"]`, `true`); text again if neither is, for the supervisor to say what is wrong."""
    from supervisor.config.schema import walk
    from supervisor.config.table import Refused

    key = next((key for known, key in walk() if known == path), None)
    if key is None or key.later:
        return text
    for candidate in (text, *_toml(text)):
        try:
            key.type.parse(candidate)
        except Refused:
            continue
        return candidate
    return text


def _toml(text: str) -> list[Any]:
    from supervisor.config.build import BadText, document

    try:
        found = document(f"value = {text}".encode("utf-8", "surrogateescape"))
    except BadText:
        return []
    return [found["value"]] if len(found) == 1 else []

"""`unboxed set UNIT limits.KEY=VALUE...`: limits, changed in a drop-in and where the unit runs."""
from __future__ import annotations

from supervisor.cli.call import BAD_USAGE, DONE, FAILED, Call, Failure
from supervisor.cli.lifecycle import finish
from supervisor.cli.screen import clean
from supervisor.cli.server import Server, print_json
from supervisor.cli.try_ import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_TABLE = "limits"


def run(call: Call) -> int:
    unit, *words = call.words
    if not words:
        raise Failure(f"cannot set {unit}: no KEY=VALUE is given; as limits.memory=1GiB", BAD_USAGE)
    if call.flag("persist") and call.flag("runtime"):
        raise Failure(f"cannot set {unit}: --persist and --runtime exclude each other", BAD_USAGE)
    keys = {_TABLE: limits(words)}
    with Server(call, f"set limits of {unit}") as server:
        asked = {"unit": unit, "keys": keys, "persist": bool(call.flag("persist"))}
        answer = server.call("Set", asked)
    results = answer["results"]
    if call.flag("json"):
        print_json(answer)
        return DONE if all(one["ok"] for one in results) else FAILED
    code = finish("set limits of", results)
    if not results:
        print(f"{unit}: set; it does not run, and is started with it")
    print(f"it is in {clean(answer['file'])}")
    return code


def limits(words: Sequence[str]) -> dict[str, Any]:
    """{"memory": "1GiB"} for "limits.memory=1GiB"; None for "limits.memory=". Raises Failure."""
    found: dict[str, Any] = {}
    for word in words:
        path, equals, text = word.partition("=")
        table, _, name = path.partition(".")
        if not equals:
            raise Failure(f"cannot set {word}: write KEY=VALUE, as limits.memory=1GiB", BAD_USAGE)
        if table != _TABLE or not name:
            raise Failure(
                f"cannot set {path}: only keys of [limits] can be; change the unit file, then"
                " `unboxed reload`", BAD_USAGE)
        if name in found:
            raise Failure(f"cannot set {path}: it is given twice; nothing was changed", BAD_USAGE)
        found[name] = value(path, text) if text else None
    return found

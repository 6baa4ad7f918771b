"""`unboxed explain UNIT`: its files, what is behind each key (something of the kernel's, or the
supervisor alone), and the steps of its launch in their order: many, and so at the end."""
from __future__ import annotations

import json

from supervisor.cli.call import DONE, Call
from supervisor.cli.screen import Screen, clean, cut, table
from supervisor.cli.server import Server, print_json

_VALUE_COLUMNS = 32
_FILE = "FILE"


def run(call: Call) -> int:
    unit = call.words[0]
    with Server(call, f"explain {unit}") as server:
        answer = server.call("Explain", {"unit": unit})
    if call.flag("json"):
        print_json(answer)
        return DONE
    screen = Screen()
    files = [clean(step["detail"]) for step in answer["steps"] if step["step"] == _FILE]
    if files:
        print(screen.paint(f"Files of {unit}, later ones over earlier ones", "head"))
        print("\n".join(f"  {file}" for file in files) + "\n")
    launch = [step for step in answer["steps"] if step["step"] != _FILE]
    steps = [
        (str(number), clean(step["step"]), clean(str(step.get("detail") or "")))
        for number, step in enumerate(launch, 1)
    ]
    keys = [
        (clean(key["key"]), clean(_text(key.get("value"))), clean(key.get("mechanism") or ""))
        for key in answer["keys"]
    ]
    _show("Keys and their mechanisms", [row for row in keys if row[2]], screen)
    _show("Keys that the supervisor itself sees to", [row for row in keys if not row[2]], screen)
    print(screen.paint(f"Launch of {unit}, in this order", "head"))
    for row in table(("", "STEP", "DETAIL"), steps, right=(0,))[1:]:
        print(("  " + "  ".join(row)).rstrip())
    return DONE


def _show(title: str, keys: list[tuple[str, str, str]], screen: Screen) -> None:
    if not keys:
        return
    print(screen.paint(title, "head"))
    if screen.terminal:  # long commands and lists would push the mechanism off the screen
        keys = [(key, cut(text, _VALUE_COLUMNS), mechanism) for key, text, mechanism in keys]
    name = max(len(key) for key, _, _ in keys)
    value = max((len(text) for _, text, _ in keys if len(text) <= _VALUE_COLUMNS), default=0)
    for key, text, mechanism in keys:  # a long value shifts its own line, not all
        print(f"  {key:<{name}}  {text:<{value}}  {mechanism}".rstrip())
    print()


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

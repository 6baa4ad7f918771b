"""`unboxed why UNIT`: the transitions that led to the present state, each because of the next."""
from __future__ import annotations

from supervisor.cli.call import DONE, Call
from supervisor.cli.clock import clock
from supervisor.cli.screen import Screen, clean
from supervisor.cli.server import Server, print_json
from supervisor.cli.words import STATES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(call: Call) -> int:
    unit = call.words[0]
    with Server(call, f"explain why {unit}") as server:
        statuses = server.call("Status", {"units": [unit]})["instances"]
        chains = [
            (status, server.call("Why", {"unit": status["key"]})["chain"]) for status in statuses
        ]
    if call.flag("json"):
        print_json({"units": [
            {"key": status["key"], "state": status["state"], "chain": chain}
            for status, chain in chains
        ]})
        return DONE
    screen = Screen()
    for status, chain in chains:
        state = status["state"]
        print(f"{screen.paint(status['key'], 'head')} is "
              f"{screen.paint(state, STATES.get(state, ''))}")
        print("\n".join(chain_lines(chain, screen)))
    return DONE


def chain_lines(chain: list[dict[str, Any]], screen: Screen) -> list[str]:
    """The chain, the latest transition first and each cause below what it led to."""
    if not chain:
        return ["  nothing has happened to it yet"]
    ordered = sorted(chain, key=lambda transition: transition["id"], reverse=True)
    return [
        f"  {'because ' if number else ''}{transition_line(transition, screen)}"
        for number, transition in enumerate(ordered)
    ]


def transition_line(transition: dict[str, Any], screen: Screen) -> str:
    """"03:56:20.123  web  up -> backoff: exit 1"."""
    key = screen.paint(transition["key"], "head")
    change = f"{transition['from']} -> {transition['to']}"
    cause = clean(transition.get("cause") or "")
    when = screen.paint(clock(transition["time_ns"]), "faint")
    return f"{when}  {key}  {change}" + (f": {cause}" if cause else "")


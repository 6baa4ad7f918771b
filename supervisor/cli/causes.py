"""`unboxed why UNIT`: the transitions that led to the present state, each because of the next.

A unit that goes round in circles (a crash loop) repeats itself: the newest round is shown whole,
the equal ones before it as one line. Of a failure, what went well before it is only counted.
"""
from __future__ import annotations

import time

from supervisor.cli.call import DONE, Call, Failure
from supervisor.cli.clock import moment
from supervisor.cli.screen import Screen, clean
from supervisor.cli.server import Server, print_json
from supervisor.cli.words import SAID, STATES, pending, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ROUND = 12  # transitions that a round may have: more are a story, not a loop
_FEW = 6  # transitions before a failure that are shown all the same
_FIRST, _BECAUSE = "        ", "because "


def run(call: Call) -> int:
    unit = call.words[0]
    with Server(call, f"tell the causes of {unit}") as server:
        statuses = server.call("Status", {"units": [unit]})["instances"]
        chains = []
        for status in statuses:
            answer = server.call("Why", {"unit": status["key"]})
            # A supervisor that was not upgraded yet tells no status of the chain's own moment.
            chains.append((answer.get("status", status), answer["chain"]))
    if call.flag("json"):
        print_json({"units": [
            {"key": status["key"], "state": status["state"], "chain": chain}
            for status, chain in chains
        ]})
        return DONE
    screen = Screen()
    now_ns = time.time_ns()
    for number, (status, chain) in enumerate(chains):
        state = status["state"]
        said = screen.paint(SAID.get(state, f"is {state}"), STATES.get(state, ""))
        next_ = pending(status, now_ns)
        print("\n" * (number > 0) + screen.paint(status["key"], "head"), said
              + (f": {clean(next_)}" if next_ else ""))
        about = _about(chain) if state == "failed" else len(chain)
        whole = len(chain) - about <= _FEW
        ordered = _ordered(chain)
        print("\n".join(chain_lines(ordered if whole else ordered[:about], screen, now_ns)))
        if not whole:
            units = len({one["key"] for one in ordered[about:]})
            print("  " + screen.paint(
                f"… after {len(chain) - about} transitions of {units} units that went before"
                f" (`unboxed why {status['key']} --json` has all)", "faint"))
        if state == "failed" and chain:
            print("".join(_wrote(call, ordered[about - 1]["key"])), end="")
    return DONE


def _ordered(chain: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The latest transition first."""
    return sorted(chain, key=lambda transition: transition["id"], reverse=True)


def _about(chain: list[dict[str, Any]]) -> int:
    """How many of the latest transitions tell of a failure: those that failed for want of another,
    and that one's own since it began."""
    ordered = _ordered(chain)
    failed = next((n for n, one in enumerate(ordered) if one["to"] != "failed"), len(ordered))
    if not failed:
        return len(ordered)
    root = ordered[failed - 1]["key"]
    return next((failed + n for n, one in enumerate(ordered[failed:]) if one["key"] != root),
                len(ordered))


def _wrote(call: Call, key: str) -> list[str]:
    """The last line of its log, if there is one that we may read."""
    from supervisor.cli.logs import last_lines

    try:
        return [f"  {key} wrote last: {clean(line)}\n" for line in last_lines(call, key, 1)]
    except Failure:
        return []


def chain_lines(chain: list[dict[str, Any]], screen: Screen, now_ns: int) -> list[str]:
    """The chain, the latest transition first and each cause below what it led to."""
    if not chain:
        return ["  nothing has happened to it yet"]
    ordered = _ordered(chain)
    said = [(one["key"], one["from"], one["to"], one.get("cause")) for one in ordered]
    lines: list[str] = []
    at = 0
    while at < len(ordered):
        length, times = _round(said, at)
        lines += [
            f"  {_BECAUSE if lines or number else _FIRST}{transition_line(one, screen)}"
            for number, one in enumerate(ordered[at : at + length])
        ]
        if times > 1:
            latest, first = ordered[at + length], ordered[at + length * times - 1]
            more = "once more" if times == 2 else f"{times - 1} times more"
            lines.append("  " + screen.paint(
                f"… the same {more}, last {span(now_ns - latest['time_ns'])} ago, first at"
                f" {moment(first['time_ns'])}", "faint"))
        at += length * times
    return lines


def _round(said: list[Any], start: int) -> tuple[int, int]:
    """(length, times) of the round that begins at `start`; (1, 1) if nothing repeats there."""
    for length in range(1, min(_ROUND, (len(said) - start) // 2) + 1):
        one, at = said[start : start + length], start + length
        while said[at : at + length] == one:
            at += length
        times = (at - start) // length
        if times > 1:
            return length, times
    return 1, 1


def transition_line(transition: dict[str, Any], screen: Screen) -> str:
    """"03:56:20.123  web  up -> backoff: exit 1"."""
    key = screen.paint(transition["key"], "head")
    change = f"{transition['from']} -> {transition['to']}"
    cause = clean(transition.get("cause") or "")
    when = screen.paint(moment(transition["time_ns"]), "faint")
    return f"{when}  {key}  {change}" + (f": {cause}" if cause else "")

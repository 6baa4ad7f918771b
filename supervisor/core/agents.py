"""Who is an agent of whom, and what follows for the order: loaded when a unit has `attach`.

Law: an agent never costs its main anything. An attachment is an edge from the main to its agent,
so that the agent goes first and stops last, but the weakest one there is: it waits for nothing, it
gives way to whatever `needs` says, and of a cycle that it closes only the agents are refused. One
that shares the namespaces of its main is bound to it instead: it comes after it, leaves with it.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from supervisor.core.graph import ATTACH_CYCLE, Dep, cycles, within
from supervisor.model.pattern import is_glob, matches
from supervisor.model.unit import Unit, shares_process

Deps = dict[str, tuple[Dep, ...]]


def attached(units: Mapping[str, Unit], deps: Mapping[str, Iterable[Dep]]) -> dict[str, list[str]]:
    """Agent -> the units that it is attached to, in order of name. A group stands for its members.
    A pattern stands for all units that fit it but the agent itself."""
    found: dict[str, list[str]] = {}
    for name, unit in units.items():
        if not unit.attach:
            continue
        mine: set[str] = set()
        for word in unit.attach:
            if word in units:
                mine.update(n for n in within(word, units, deps) if units[n].kind != "group")
            elif is_glob(word):
                mine.update(n for n in units if units[n].kind != "group" and matches(word, n))
        found[name] = sorted(mine - {name})
    return found


def _no_main(mains: list[str], units: Mapping[str, Unit]) -> str:
    """Why these are not the one process whose namespaces can be shared."""
    if not mains:
        return "which has no unit file"
    if len(mains) > 1:
        return "which is a group of several"
    return "which has several instances" if units[mains[0]].instances != 1 else ""


def attach(
    units: Mapping[str, Unit], deps: Deps, broken: dict[str, str]
) -> tuple[Deps, dict[str, tuple[str, ...]]]:
    """`deps`, those of `needs`, with the edges of agents; and `attached`. Agents that close a
    cycle with one another are added to `broken`, and have no edges."""
    whole = attached(units, deps)
    edges: dict[str, list[Dep]] = {}  # main -> to its agents, and bonds the other way
    for agent in whole:
        first = _first(agent, deps)
        if shares_process(units[agent]):  # of which there is nothing before its main runs
            bonds = [Dep(main, "started", True, True, True, True) for main in whole[agent]]
            edges.setdefault(agent, []).extend(bonds)
            first |= set(whole[agent])
            if why := _no_main(whole[agent], units):
                words = f"it shares namespaces with {units[agent].attach[0]}, {why}"
                broken.setdefault(agent, words)
        for main in whole[agent]:
            if units[main].attach and main not in units[agent].attach:
                continue  # two agents with "*": neither goes first
            order = main not in first
            dep = Dep(agent, "started", units[agent].autostart, False, False, order, True)
            edges.setdefault(main, []).append(dep)
    while True:
        mixed = {
            name: (*deps.get(name, ()), *edges.get(name, ())) for name in {**deps, **edges}
        }
        closing: dict[str, str] = {}
        for path in cycles(mixed):
            refused = [
                after if dep.agent else before
                for before, after in pairwise(path)
                for dep in edges.get(before, ())
                if dep.unit == after and dep.order
            ]
            closing.update(dict.fromkeys(refused, ATTACH_CYCLE + " -> ".join(path)))
        if not closing:
            return mixed, {name: tuple(mains) for name, mains in whole.items()}
        for name, words in closing.items():
            broken.setdefault(name, words)
        edges = {
            name: [d for d in row if (d.unit if d.agent else name) not in closing]
            for name, row in edges.items()
        }


def _first(name: str, deps: Mapping[str, Iterable[Dep]]) -> set[str]:
    """What goes before a unit, because of what it or they need."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        fresh = {d.unit for d in deps.get(todo.pop(), ()) if d.order} - seen
        seen |= fresh
        todo += fresh
    return seen


def agents_first(names: Iterable[str], deps: Mapping[str, Iterable[Dep]]) -> dict[str, int]:
    """The place of each of `names` in an order in which every agent is before its mains."""
    done: dict[str, int] = {}
    for root in names:
        stack = [root]
        while stack:
            ahead = next(
                (d.unit for d in deps.get(stack[-1], ()) if d.agent and d.order
                 and d.unit not in done), "",
            )  # fmt: skip
            if ahead:
                stack.append(ahead)
            else:
                done.setdefault(stack.pop(), len(done))
    return done

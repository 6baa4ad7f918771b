"""The keys of agents, `attach` and `[agent]`: loaded when a unit has them, and for documents.

Law as in `values`: accepted exactly or refused with a sentence. Which units a name or glob stands
for, the whole set of units tells (core.agents); one that stands for none today is no error.
"""
from __future__ import annotations

from collections.abc import Collection

from supervisor.config.table import Fault, Key, Refused, Table, Type, show
from supervisor.config.values import BOOLEAN, DIGITS, LOWER, UNIT_NAME, choice, listed
from supervisor.model.pattern import is_glob
from supervisor.model.sandbox import Sandbox
from supervisor.model.unit import Agent, Unit

_GLOB = LOWER | DIGITS | frozenset("._-*?")


def _pattern(value: object) -> str:
    if type(value) is not str or not is_glob(value):
        found: str = UNIT_NAME.parse(value)
        return found
    if len(value) > 63 or not _GLOB.issuperset(value):
        raise Refused(
            f"cannot use {show(value)}: it is neither a unit name nor a pattern of some, such as "
            '"web*"'
        )
    return value


_PATTERNS = listed(Type(_pattern, "text", "unit name, or a pattern of some"))


def attach(value: object) -> tuple[str, ...]:
    found: tuple[str, ...] = _PATTERNS.parse(value)
    return found


AGENT = Table(
    Agent,
    Key(
        "receives",
        listed(choice("logs", "metrics", "endpoints", "cgroup", "pidfd")),
        "receives",
        "[]",
        "`logs`: what they print, as JSON Lines on its standard input; `endpoints`: a file that "
        "says which instances run and where they listen (`UNBOXED_ENDPOINTS`); `cgroup`, `pidfd`: "
        "descriptors of those that run, over a socket (`UNBOXED_AGENT_FD`); `metrics`: the "
        "supervisor's status socket (`UNBOXED_STATUS`)",
    ),
    Key(
        "cursor",
        BOOLEAN,
        "cursor",
        "false",
        "it says which lines it has done with (to `UNBOXED_ACK_FD`), and goes on there when it is "
        "started again; else it gets what is printed from its start on",
    ),
    Key(
        "share",
        listed(choice("pid", "tmp", "limits")),
        "share",
        "[]",
        "with the one unit that it is attached to: `pid`: the pid namespace of its `processes = "
        '"own"`; `tmp`: the /tmp and /var/tmp of its `tmp = "private"`; both are there once that '
        "runs, so it is started after that and ends with it; `limits`: it counts into its "
        "`[limits]`",
    ),
)


def contradictions(unit: Unit, given: Collection[str]) -> list[Fault]:
    """What the keys of an agent cannot be together. `given` as in rules.check."""
    faults: list[Fault] = []
    if unit.name in unit.attach:
        faults.append((("attach",), "cannot name the unit itself; remove it"))
    if unit.agent is None:
        return faults
    if not unit.attach and "agent" in given:
        why = 'cannot be an agent of nothing; write attach = ["web"] above the first [table]'
        faults.append((("agent",), why))
    faults += _shared(unit, unit.agent.share)
    if unit.agent.cursor and "logs" not in unit.agent.receives:
        why = 'cannot acknowledge lines that it does not get; add "logs" to receives'
        faults.append((("agent", "cursor"), why))
    return faults


def _shared(unit: Unit, share: Collection[str]) -> list[Fault]:
    where = ("agent", "share")
    faults: list[Fault] = []
    if share and (len(unit.attach) != 1 or set("*?[") & set(unit.attach[0])):
        faults.append((where, "cannot share with several units, or none; attach it to one by name"))
    box = unit.sandbox or Sandbox()
    if "pid" in share and box.processes is not None:
        why = "cannot have processes of its own and those of another; remove it, or share no pid"
        faults.append((("sandbox", "processes"), why))
    if "tmp" in share and box.tmp is not None:
        why = "cannot have a /tmp of its own and that of another; remove it, or share no tmp"
        faults.append((("sandbox", "tmp"), why))
    if "limits" in share and unit.limits is not None and unit.limits.slice:
        why = "cannot be in two budgets; remove it, or share no limits"
        faults.append((("limits", "slice"), why))
    return faults

"""Sets of units, plans for their processes and requests, as Hypothesis makes them up."""
from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor.model.unit import (
    Agent,
    Edge,
    Kind,
    Listen,
    Needs,
    Ready,
    Receives,
    Reload,
    Restart,
    RestartLimit,
    Rung,
    Start,
    Stop,
    Unit,
    Until,
    When,
)
from tests.model.kernel import QUICK, Behaviour

NAMES = ("boot", "b", "c", "d", "rescue")  # two that mean something to a machine
HOSTILE = st.sampled_from([1, 2**31 - 1, 2**32, 10**15, 2**62])  # where clocks like to break
_MS = 1_000_000
_SOON = st.sampled_from([1, 5, 10, 20, 40])  # ns: together with one another, or just before

behaviours = st.builds(
    Behaviour,
    exec_ns=_SOON,
    fails=st.sampled_from(["", "", "", "EXEC"]),
    refused=st.sampled_from([False, False, False, True]),
    skipped=st.sampled_from([False] * 5 + [True]),
    ready_ns=st.none() | _SOON,
    exit_ns=st.none() | _SOON | st.just(500 * _MS),
    status=st.sampled_from([0, 0, 1]),
    signal=st.sampled_from([0, 0, 11, 15]),
    term_ns=st.none() | _SOON,
    leaves=st.sampled_from([0, 0, 1, 2]),
    stray_ns=st.none() | _SOON,
    stray_term_ns=st.none() | _SOON,
)
hooks = st.builds(
    Behaviour,
    exec_ns=_SOON,
    fails=st.sampled_from(["", "", "", "EXEC"]),
    refused=st.sampled_from([False, False, False, True]),
    exit_ns=st.sampled_from([None, 5, 15, 15, 15]),
    status=st.sampled_from([0, 0, 0, 1]),
    leaves=st.sampled_from([0, 0, 1]),
    stray_term_ns=st.none() | _SOON,
)
_WHEN: list[When] = ["always", "on-failure", "on-failure", "on-abnormal", "never"]
_KINDS: list[Kind] = ["service", "service", "service", "task", "group"]
_UNTIL: list[Until] = ["ready", "ready", "started", "finished"]
_hook = (("hook",),)
_PORT = (Listen("http", "tcp", "127.0.0.1", 80),)


@st.composite
def units(draw: st.DrawFn, settling: bool = False) -> dict[str, Unit]:
    """Two to five units; edges lead from later names to earlier ones, so there is no cycle.

    `settling`: nothing in them goes on for ever (recycling) or depends on who comes first (rivals,
    restarts that a window of time counts), so what they end as can be compared."""
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    kind = st.sampled_from(_KINDS)
    kinds = {name: draw(kind) for name in names}
    found = {}
    for at, name in enumerate(names):
        rows: dict[str, list[Edge]] = {"requires": [], "wants": [], "after": [], "binds_to": []}
        for other in names[:at]:
            relation = draw(st.sampled_from([*rows, "", ""]))
            if relation:
                until = draw(st.sampled_from(_UNTIL))
                if until == "finished" and kinds[other] != "task":
                    until = "ready"
                order = relation == "after" or draw(st.sampled_from([True, True, True, False]))
                rows[relation].append(Edge(other, until, order))
        before = tuple(Edge(n) for n in names[at + 1 :] if draw(st.integers(0, 6)) == 0)
        others = [n for n in names if not settling and n != name]
        rivals = tuple(n for n in others if draw(st.integers(0, 15)) == 0)
        edges = {key: tuple(row) for key, row in rows.items()}
        needs = Needs(**edges, before=before, conflicts=rivals)
        found[name] = draw(_unit(name, kinds[name], needs, settling))
        if kinds[name] != "group" and draw(st.integers(0, 3)) == 0:  # cycles of these are refused
            mains = [n for n in names if n != name and draw(st.booleans())]
            receives: tuple[Receives, ...] = ("logs",) if draw(st.booleans()) else ()
            found[name] = replace(found[name], attach=tuple(mains), agent=Agent(receives))
    return found


@st.composite
def _unit(draw: st.DrawFn, name: str, kind: Kind, needs: Needs, settling: bool) -> Unit:
    if kind == "group":
        return Unit(name, kind="group", needs=needs)
    ready = draw(st.sampled_from(["exec", "exec", "notify", "fd", "log", "exit"]))
    return Unit(
        name,
        kind=kind,
        command=("run",),
        instances=draw(st.sampled_from([1, 1, 2, 3])),
        listen=draw(st.sampled_from([(), _PORT])),
        needs=needs,
        start=Start(
            ready=Ready(ready),  # type: ignore[arg-type]
            timeout_ns=draw(st.sampled_from([60, 300 * _MS])),
            before=draw(st.sampled_from([(), (), _hook, _hook * 2])),
            after=draw(st.sampled_from([(), (), _hook, _hook * 2])),
            watchdog_ns=draw(st.sampled_from([0, 0, 0, 50 * _MS])),
        ),
        restart=Restart(
            when=draw(st.sampled_from(_WHEN)),
            delay_ns=draw(st.sampled_from([0, 10, 10 * _MS])),
            limit=RestartLimit(
                draw(st.sampled_from([0, 1, 3])),
                (1_000_000 if settling else 1000) * _MS,
                "fail" if settling else draw(st.sampled_from(["fail", "fail", *NAMES])),
            ),
            max_age_ns=0 if settling else draw(st.sampled_from([0, 0, 0, 400 * _MS])),
            memory_budget_bytes=0 if settling else draw(st.sampled_from([0, 0, 0, 1 << 20])),
        ),
        stop=Stop(
            ladder=draw(
                st.sampled_from([
                    (Rung(15, 10 * _MS),),
                    (Rung(2, 5), Rung(15, 0), Rung(15, 30)),
                    (Rung(9, 10),),
                    (),
                ])
            ),
            scope=draw(st.sampled_from(["all", "main"])),
            command=draw(st.sampled_from([(), (), ("stop",)])),
            drain_ns=draw(st.sampled_from([None, 0, 25])),
        ),
        reload=Reload(draw(st.sampled_from(["signal", "command", "restart"]))),
    )


@st.composite
def plans(draw: st.DrawFn) -> Mapping[str, list[Behaviour]]:
    """What the runs of each unit do; the last one named repeats."""
    found = {name: draw(st.lists(behaviours, min_size=1, max_size=3)) for name in NAMES}
    for name in NAMES:
        for role in ("before", "after", "ready", "stop", "reload"):
            found[f"{name}:{role}"] = draw(st.lists(hooks, max_size=1)) or [QUICK]
    return found

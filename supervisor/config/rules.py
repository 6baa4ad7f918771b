"""What no single key can know: contradictions between the keys of one unit.

Law: a rule names the keys it looks at, and is not asked when one of them was refused already, so
that no error is the echo of another. Relations between units are `core.graph`'s.
"""
from __future__ import annotations

from collections.abc import Callable, Collection

from supervisor.config.address import INET
from supervisor.config.substitute import ports_named, texts
from supervisor.config.table import Fault, show
from supervisor.model.unit import Unit, receives

OF_GROUPS = frozenset(
    ("description", "documentation", "kind", "autostart", "needs", "conditions", "limits")
)
FIRST_PASSED_FD = 3  # SD_LISTEN_FDS_START


def check(unit: Unit, given: Collection[str], refused: Collection[str]) -> list[Fault]:
    """The contradictions in `unit`. `given`: top-level keys that were accepted; `refused`: those
    that were not, so that `unit` holds their defaults."""
    faults: list[Fault] = []
    for keys, rule in _RULES if not _isolated(unit) else (*_RULES, *_of_isolation()):
        if not refused or not any(key in refused for key in keys):
            faults += rule(unit, given)
    return faults


def _isolated(unit: Unit) -> bool:
    return unit.sandbox is not None or unit.network is not None or unit.user == "dynamic"


def _of_isolation() -> _Rules:
    from supervisor.config.isolation import RULES

    return RULES


def _command(unit: Unit, given: Collection[str]) -> list[Fault]:
    if unit.kind == "group" or unit.command:
        return []
    where = ("command",) if "command" in given else ()
    return [(where, 'cannot start without a command; write command = "/path/to/program"')]


def _group(unit: Unit, given: Collection[str]) -> list[Fault]:
    if unit.kind != "group":
        return []
    return [
        ((key,), f"cannot have {key} in a group: a group runs nothing itself; remove it")
        for key in given
        if key not in OF_GROUPS
    ]


def _task(unit: Unit, _: Collection[str]) -> list[Fault]:
    if unit.kind != "task" or unit.restart.when != "always":
        return []
    why = 'cannot be "always" in a task: its end is its result; write kind = "service"'
    return [(("restart", "when"), why)]


def _watchdog(unit: Unit, _: Collection[str]) -> list[Fault]:
    if not unit.start.watchdog_ns or unit.start.ready.kind == "notify":
        return []
    why = 'cannot be watched: only a unit with ready = "notify" can say that it is alive'
    return [(("start", "watchdog"), why)]


def _ready_fd(unit: Unit, _: Collection[str]) -> list[Fault]:
    ready, passed = unit.start.ready, len(unit.listen)
    if ready.kind != "fd" or ready.fd >= FIRST_PASSED_FD + passed:
        return []
    free = FIRST_PASSED_FD + passed
    why = f"cannot be fd:{ready.fd}: its listeners are passed there; write fd:{free} or higher"
    return [(("start", "ready"), why)]


def _ready_log(unit: Unit, _: Collection[str]) -> list[Fault]:
    where = unit.logs.to
    if unit.start.ready.kind != "log" or where == "files":
        return []
    why = f"cannot wait for a line: with logs.to = {show(where)} none is stored; remove one of them"
    return [(("start", "ready"), why)]


def _drain(unit: Unit, _: Collection[str]) -> list[Fault]:
    where = ("stop", "drain")
    if not unit.stop.drain_ns or receives(unit, "logs"):
        return []
    if not unit.listen:
        return [(where, "cannot drain: there is no [[listen]] to take it out of; remove it")]
    why = (
        "all instances share its queue, which cannot be taken from one of them; "
        "write reuse_port = true for it"
    )
    return [
        (where, f"cannot drain listener {listen.name}: {why}")
        for listen in unit.listen
        if not listen.reuse_port
    ]


def _listeners(unit: Unit, _: Collection[str]) -> list[Fault]:
    faults: list[Fault] = []
    names: set[str] = set()
    places: set[tuple[str, str, int, str]] = set()
    for index, listen in enumerate(unit.listen):
        if listen.name in names:
            why = f"cannot name it {listen.name}: another listener is; give each its own name"
            faults.append((("listen", index, "name"), why))
        names.add(listen.name)
        place = (listen.family, listen.host, listen.port, listen.path)
        if place in places and (listen.port or listen.family not in INET):
            why = "cannot listen there twice; remove one of the two"
            faults.append((("listen", index, "address"), why))
        places.add(place)
    return faults


def _needs(unit: Unit, _: Collection[str]) -> list[Fault]:
    needs = unit.needs
    faults: list[Fault] = []
    wanted: set[str] = set()
    for key, edges in (
        ("requires", needs.requires),
        ("wants", needs.wants),
        ("binds_to", needs.binds_to),
        ("after", needs.after),
        ("before", needs.before),
    ):
        for edge in edges:
            if edge.unit == unit.name:
                faults.append((("needs", key), "cannot name the unit itself; remove it"))
            elif key in {"requires", "wants", "binds_to"}:
                wanted.add(edge.unit)
    for name in needs.conflicts:
        if name == unit.name:
            faults.append((("needs", "conflicts"), "cannot name the unit itself; remove it"))
        elif name in wanted:
            why = f"cannot conflict with {name}, which it needs; remove one of the two"
            faults.append((("needs", "conflicts"), why))
    return faults


def _ports(unit: Unit, _: Collection[str]) -> list[Fault]:
    faults: list[Fault] = []
    ports: set[str] | None = None
    for key, text in texts(unit):
        if "{port:" not in text:
            continue
        if ports is None:
            ports = {listen.name for listen in unit.listen if listen.family in INET}
        where = tuple(key.split(".", 1))
        why = "no tcp or udp listener of this unit has that name"
        faults += [
            (where, f"cannot fill in {{port:{show(name)[1:-1]}}}: {why}")
            for name in ports_named(text)
            if name not in ports
        ]
    return faults


def _restart_then(unit: Unit, _: Collection[str]) -> list[Fault]:
    limit = unit.restart.limit
    if limit is None or limit.then != unit.name:
        return []
    return [(("restart", "limit", "then"), "cannot name the unit itself; name another")]


def _limits(unit: Unit, _: Collection[str]) -> list[Fault]:
    if unit.limits is None:
        return []
    from supervisor.config.limits import contradictions

    return contradictions(unit, unit.limits)


def _agent(unit: Unit, given: Collection[str]) -> list[Fault]:
    if not unit.attach and unit.agent is None:
        return []
    from supervisor.config.agent import contradictions

    return contradictions(unit, given)


_Rule = Callable[[Unit, Collection[str]], list[Fault]]
_Rules = tuple[tuple[tuple[str, ...], _Rule], ...]
_RULES: _Rules = (
    (("command", "kind"), _command),
    (("kind",), _group),
    (("kind", "restart"), _task),
    (("start",), _watchdog),
    (("start", "listen"), _ready_fd),
    (("start", "logs"), _ready_log),
    (("stop", "listen", "agent"), _drain),
    (("listen",), _listeners),
    (("needs",), _needs),
    (("listen",), _ports),
    (("restart",), _restart_then),
    (("limits", "kind", "pin", "restart"), _limits),
    (("attach", "agent", "sandbox", "limits"), _agent),
)

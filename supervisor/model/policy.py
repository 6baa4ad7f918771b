"""What a level and the keys of a unit come to: one value in which nothing is left to a default.

`resolve` is the only place that knows the levels. They are versioned: what LEVELS says of a level
may become stricter only with a new VERSION, which the change log names.
"""
from __future__ import annotations

from typing import Literal

from msgspec import Struct

from supervisor.model.sandbox import Network, OnViolation, Opened, Sandbox, Users
from supervisor.model.unit import Unit

VERSION = 1


class Policy(Struct, frozen=True, gc=False):
    """`promises` empty: system calls are not filtered; ("app",): the base list of level app.
    `read`, `write`, `exec` None: not limited. `read_only`: the whole tree but `write`.
    `capabilities` None: all that its user has. `devices` None: all."""

    level: Literal["off", "base", "app", "strict"]
    no_new_privileges: bool
    dynamic_user: bool
    promises: tuple[str, ...]
    read: tuple[str, ...] | None
    write: tuple[str, ...] | None
    exec: tuple[str, ...] | None
    view: Literal["hide", "deny"]
    read_only: bool
    hide_homes: bool
    open: tuple[Opened, ...]
    processes: Literal["host", "own", "hidden"]
    ipc: bool
    hostname: str  # "": the host's
    time: bool
    cgroup: bool
    private_tmp: bool
    state: tuple[str, ...]
    runtime: tuple[str, ...]
    cache: tuple[str, ...]
    logs: tuple[str, ...]
    users: Users | None
    devices: tuple[str, ...] | None
    gpus: tuple[str, ...]
    capabilities: tuple[str, ...] | None
    jit: bool
    scoped: bool  # no signals and no abstract sockets to strangers (Landlock scopes)
    on_violation: OnViolation
    require: Literal["all", "best"]
    network: Network
    root: str
    secrets: bool


def resolve(unit: Unit) -> Policy:
    """The policy of a unit, by its level and keys. Pure; knows nothing of this host."""
    box = unit.sandbox or Sandbox()
    app = box.level in ("app", "strict")
    strict = box.level == "strict"
    network = unit.network or Network()
    if strict:  # exactly what is listed
        network = Network(
            network.mode, network.listen or (), network.connect or (), network.unix or (),
            network.address,
        )  # fmt: skip
    promises = box.promises if box.promises is not None else ("app",) if app else ()
    if box.level == "off":
        capabilities: tuple[str, ...] | None = box.capabilities
    else:
        capabilities = box.capabilities or (None if _asks_for_root(unit, box) else ())
    limited = strict or box.read is not None or box.exec is not None
    writes = box.write if box.write is not None or not app else ()
    return Policy(
        box.level,
        box.level != "off",
        unit.user == "dynamic" or (app and not unit.user and box.users is None),
        promises,
        (box.read or ()) if limited else None,
        (writes or ()) if limited else writes,
        (box.exec if box.exec is not None else ("@self",)) if strict else box.exec,
        box.view or "hide",
        app or box.write is not None,
        app,
        box.open,
        box.processes or ("hidden" if app else "host"),
        box.ipc == "own",
        _hostname(unit.name, box.hostname),
        box.time == "own",
        box.cgroup == "own",
        box.tmp == "private" if box.tmp else app,
        box.state,
        box.runtime,
        box.cache,
        box.logs,
        box.users,
        box.devices if box.devices is not None else () if app or box.gpus else None,
        box.gpus,
        capabilities,
        box.jit is not False,
        app,
        box.on_violation,
        box.require,
        network,
        unit.root,
        bool(unit.secrets),
    )


def plain(unit: Unit) -> bool:
    """Whether nothing of the unit's isolation needs more than level base gives by itself."""
    return (
        unit.sandbox is None
        and unit.network is None
        and not unit.root
        and not unit.secrets
        and unit.user != "dynamic"
    )


def _asks_for_root(unit: Unit, box: Sandbox) -> bool:
    return unit.user in ("root", "0") and box.capabilities is None


def _hostname(name: str, value: str | None) -> str:
    if value is None or value == "host":
        return ""
    return name if value == "own" else value

"""What a level and the keys of a unit come to: one value in which nothing is left to a default.

`resolve` is the only place that knows the levels. They are versioned: what LEVELS says of a level
may become stricter only with a new VERSION, which the change log names.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from supervisor.model.sandbox import Network, OnViolation, Opened, Sandbox, Users
from supervisor.model.unit import Unit, shares, shares_process

VERSION = 1
_BASE = Sandbox()
_HOST = Network()


class Policy(Struct, frozen=True, gc=False):
    """`promises` empty: system calls are not filtered; ("app",): the base list of level app.
    `read`, `write`, `exec` None: not limited. `read_only`: the whole tree but `write`.
    `capabilities` None: all that its user has. `devices` None: all. A list of paths that names
    @state, @runtime, @cache, @logs or @tmp asks for that directory: it has the unit's name.
    `implied`: keys that the file does not write, and that level app gives where the host can.
    `insists`: view = "hide" is written, so that denied access is not enough. `share_pid`,
    `share_tmp`: with the one that it is an agent of."""

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
    processes: Literal["host", "own", "hidden", "shared"]
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
    implied: tuple[str, ...] = ()
    insists: bool = False
    share_pid: bool = False
    share_tmp: bool = False


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
    named = {*(box.read or ()), *(box.write or ()), *(box.exec or ())}

    def directories(word: str, names: tuple[str, ...]) -> tuple[str, ...]:
        return names or ((unit.name,) if word in named else ())

    # What a dynamic user left anywhere but in its directories would be whoever's has its id next
    # (CVE-2019-3843, CVE-2019-3844).
    dynamic = unit.user == "dynamic" or (app and not unit.user and box.users is None)
    writes = box.write if box.write is not None or not app else ()
    return Policy(
        level=box.level,
        no_new_privileges=box.level != "off",
        dynamic_user=dynamic,
        promises=promises,
        read=(box.read or ()) if limited else None,
        write=(writes or ()) if limited else writes,
        exec=(box.exec if box.exec is not None else ("@self",)) if strict else box.exec,
        view=box.view or "hide",
        read_only=app or dynamic or box.write is not None,
        hide_homes=app,
        open=box.open,
        processes=box.processes or _processes(app=app, shared=shares(unit, "pid")),
        ipc=box.ipc == "own",
        hostname=_hostname(unit.name, box.hostname),
        time=box.time == "own",
        cgroup=box.cgroup == "own",
        private_tmp=box.tmp == "private" if box.tmp else (
            app or dynamic or "@tmp" in named or shares(unit, "tmp")
        ),
        state=directories("@state", box.state),
        runtime=directories("@runtime", box.runtime),
        cache=directories("@cache", box.cache),
        logs=directories("@logs", box.logs),
        users=box.users,
        devices=box.devices if box.devices is not None else () if app or box.gpus else None,
        gpus=box.gpus,
        capabilities=capabilities,
        jit=box.jit is not False,
        scoped=app,
        on_violation=box.on_violation,
        require=box.require,
        network=network,
        root=unit.root,
        secrets=bool(unit.secrets),
        implied=_implied(box, named),
        insists=box.view == "hide",
        share_pid=shares(unit, "pid"),
        share_tmp=shares(unit, "tmp"),
    )


def _processes(*, app: bool, shared: bool) -> Literal["host", "hidden", "shared"]:
    if shared:
        return "shared"
    return "hidden" if app else "host"


def _implied(box: Sandbox, named: set[str]) -> tuple[str, ...]:
    """What a user of level app would rather do without than not start: what it gives is kept by its
    own user, the read-only tree and the promises, which are refused if they cannot be had."""
    if box.level != "app":
        return ()
    keys = {
        "sandbox.tmp": box.tmp is None and "@tmp" not in named,
        "sandbox.processes": box.processes is None,
        "sandbox.devices": box.devices is None and not box.gpus,
    }
    return tuple(key for key, unwritten in keys.items() if unwritten)


def plain(unit: Unit) -> bool:
    """Whether nothing of the unit's isolation needs more than level base gives by itself."""
    return (
        (unit.sandbox is None or unit.sandbox == _BASE)
        and (unit.network is None or unit.network == _HOST)
        and not unit.root
        and not unit.secrets
        and unit.user != "dynamic"
        and not shares_process(unit)
    )


def fill(policy: Policy, names: Mapping[str, str]) -> Policy:
    """The policy with `{instance}` and its like replaced in its paths and names. `names`: each
    with its braces."""

    def text(value: str) -> str:
        if "{" in value:
            for name, filled in names.items():
                value = value.replace(name, filled)
        return value

    def texts(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if values is None else tuple(map(text, values))

    network = policy.network
    return replace(
        policy,
        read=texts(policy.read),
        write=texts(policy.write),
        exec=texts(policy.exec),
        open=tuple(replace(one, path=text(one.path)) for one in policy.open),
        hostname=text(policy.hostname),
        state=texts(policy.state),
        runtime=texts(policy.runtime),
        cache=texts(policy.cache),
        logs=texts(policy.logs),
        devices=texts(policy.devices),
        network=replace(network, unix=texts(network.unix)),
        root=text(policy.root),
    )


def _asks_for_root(unit: Unit, box: Sandbox) -> bool:
    return unit.user in ("root", "0") and box.capabilities is None


def _hostname(name: str, value: str | None) -> str:
    if value is None or value == "host":
        return ""
    return name if value == "own" else value

"""What the keys of isolation cannot be together. Loaded when a unit has one of them.

Law as in `rules`, whose table this one goes behind: each rule names the top-level keys that it
looks at. A combination is refused where one key would undo another, or would do nothing at all.
"""
from __future__ import annotations

from collections.abc import Callable, Collection

from supervisor.config.sandbox import MAX_HOSTNAME
from supervisor.config.table import Fault
from supervisor.model.policy import resolve
from supervisor.model.sandbox import Network, Sandbox
from supervisor.model.unit import Unit

_FIRST_PASSED_FD = 3
_NONE = Sandbox()
_OPEN = Network()
_RESTRICTING = ("promises", "read", "write", "exec", "view", "jit")
_PATHS = ("read", "write", "exec")


def _level(unit: Unit, _: Collection[str]) -> list[Fault]:
    box = unit.sandbox or _NONE
    if box.level == "strict" and box.promises is None:
        why = (
            'cannot be "strict" without sandbox.promises: it would allow nothing; '
            '`unboxed learn` finds them, or write level = "app"'
        )
        return [(("sandbox", "level"), why)]
    if box.level != "off":
        return []
    why = 'cannot be together with level = "off", which restricts nothing; write level = "base"'
    return [
        (("sandbox", key), why)
        for key in _RESTRICTING
        if getattr(box, key) is not None and not (key == "jit" and box.jit)
    ]


def _without_effect(unit: Unit, _: Collection[str]) -> list[Fault]:
    """Keys that only say how another is meant, which is not there."""
    box = unit.sandbox or _NONE
    if box.level in {"app", "strict"}:
        return []
    faults: list[Fault] = []
    if box.on_violation != "errno" and box.promises is None:
        why = "cannot be without sandbox.promises: nothing is a violation; add that"
        faults.append((("sandbox", "on_violation"), why))
    if box.level != "off" and box.view and all(getattr(box, key) is None for key in _PATHS):
        why = "cannot be without read, write or exec: no path is kept from it; add one of these"
        faults.append((("sandbox", "view"), why))
    return faults


def _off_network(unit: Unit, _: Collection[str]) -> list[Fault]:
    network = unit.network or _OPEN
    if (unit.sandbox or _NONE).level != "off":
        return []
    why = 'cannot be together with sandbox.level = "off", which restricts nothing; write "base"'
    return [
        (("network", key), why)
        for key in ("listen", "connect", "unix")
        if getattr(network, key) is not None
    ]


def _dynamic(unit: Unit, _: Collection[str]) -> list[Fault]:
    box = unit.sandbox or _NONE
    faults: list[Fault] = []
    if unit.user == "dynamic":
        if box.level == "off":
            why = (
                'cannot be "off" with user = "dynamic": a program with that user\'s rights could '
                'be left behind for the next one who gets its id; write "base"'
            )
            faults.append((("sandbox", "level"), why))
        if box.users is not None:
            why = (
                'cannot be together with user = "dynamic": both choose who it is outside; remove '
                "one of them"
            )
            faults.append((("sandbox", "users"), why))
    if box.promises and "id" in box.promises and resolve(unit).dynamic_user:
        why = 'cannot promise "id" with a dynamic user, which can become nobody; name a user'
        faults.append((("sandbox", "promises", box.promises.index("id")), why))
    return faults


def _tmp(unit: Unit, _: Collection[str]) -> list[Fault]:
    box = unit.sandbox or _NONE
    if box.tmp != "shared" or not any("@tmp" in (getattr(box, key) or ()) for key in _PATHS):
        return []
    why = 'cannot be "shared" where @tmp is listed, which is a private one; write "/tmp" there'
    return [(("sandbox", "tmp"), why)]


def _name(unit: Unit, _: Collection[str]) -> list[Fault]:
    name = (unit.sandbox or _NONE).hostname or ""
    length = len(name.replace("{unit}", unit.name).replace("{instance}", "1000"))
    if length <= MAX_HOSTNAME:
        return []
    why = f"cannot be so long: filled in, it has more than {MAX_HOSTNAME} characters; shorten it"
    return [(("sandbox", "hostname"), why)]


def _gpus(unit: Unit, _: Collection[str]) -> list[Fault]:
    box = unit.sandbox or _NONE
    if not box.gpus or box.promises is None or {"device", "app"} & set(box.promises):
        return []
    why = 'cannot be used without the promise "device"; add it'
    return [(("sandbox", "gpus"), why)]


def _opened_behind_listeners(unit: Unit, _: Collection[str]) -> list[Fault]:
    free = _FIRST_PASSED_FD + len(unit.listen)
    return [
        (
            ("sandbox", "open", index, "fd"),
            f"cannot be {one.fd}: its listeners are passed there; write {free} or higher",
        )
        for index, one in enumerate((unit.sandbox or _NONE).open)
        if one.fd < free and unit.listen
    ]


def _opened_beside_readiness(unit: Unit, _: Collection[str]) -> list[Fault]:
    ready = unit.start.ready
    return [
        (
            ("sandbox", "open", index, "fd"),
            f"cannot be {one.fd}: start.ready is fd:{one.fd}; write another",
        )
        for index, one in enumerate((unit.sandbox or _NONE).open)
        if ready.kind == "fd" and ready.fd == one.fd
    ]


def _promised(unit: Unit, _: Collection[str]) -> list[Fault]:
    """Rules for sockets that no promise lets it make."""
    promises = (unit.sandbox or _NONE).promises
    network = unit.network or _OPEN
    if promises is None or "app" in promises:
        return []
    faults: list[Fault] = []
    for key, words in (("listen", ("inet",)), ("connect", ("inet", "dns")), ("unix", ("unix",))):
        if getattr(network, key) and not set(words) & set(promises):
            why = f'cannot be used without the promise "{words[0]}"; add it to sandbox.promises'
            faults.append((("network", key), why))
    return faults


def _mode(unit: Unit, _: Collection[str]) -> list[Fault]:
    network = unit.network or _OPEN
    faults: list[Fault] = []
    if network.mode == "none":
        why = 'cannot be together with mode = "none", in which there is nobody; remove one of them'
        faults += [
            (("network", key), why) for key in ("listen", "connect") if getattr(network, key)
        ]
    if network.address and network.mode != "private":
        why = 'cannot be without mode = "private", the network that it is in; add that'
        faults.append((("network", "address"), why))
    return faults


def _one_address(unit: Unit, _: Collection[str]) -> list[Fault]:
    if unit.instances == 1 or not (unit.network or _OPEN).address:
        return []
    why = "cannot be that of several instances; remove it, and each gets its own"
    return [(("network", "address"), why)]


_Rule = Callable[[Unit, Collection[str]], list[Fault]]
RULES: tuple[tuple[tuple[str, ...], _Rule], ...] = (
    (("sandbox",), _level),
    (("sandbox",), _without_effect),
    (("sandbox", "network"), _off_network),
    (("sandbox", "user"), _dynamic),
    (("sandbox",), _tmp),
    (("sandbox",), _name),
    (("sandbox",), _gpus),
    (("sandbox", "listen"), _opened_behind_listeners),
    (("sandbox", "start"), _opened_beside_readiness),
    (("sandbox", "network"), _promised),
    (("network",), _mode),
    (("network", "instances"), _one_address),
)

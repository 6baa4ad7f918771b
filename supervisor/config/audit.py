"""How exposed a unit is, on the scale of `systemd-analyze security`: 0.0 to 10.0, less is better.

The two figures can be compared: the checks and how they add up are systemd's (exposure.py). A check
that does not apply (None) counts on neither side, as there. Pure.
"""
from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from supervisor.config.exposure import CHECKS, look
from supervisor.model.report import AuditCheck, NextKey, UnitAudit
from supervisor.model.sandbox import Network, Sandbox, Users
from supervisor.model.unit import Unit

# From this many tenths on; systemd's words.
WORDS = (
    (100, "DANGEROUS"), (90, "UNSAFE"), (75, "EXPOSED"), (50, "MEDIUM"), (10, "OK"), (1, "SAFE"),
    (0, "PERFECT"),
)  # fmt: skip


class Check(NamedTuple):
    """`share`: what it adds to the exposure, in tenths of a point. `badness` of `range`, 0 is good;
    None: it does not apply."""

    name: str
    badness: int | None
    range: int
    share: float


class Next(NamedTuple):
    """The one key that lowers the exposure most, with the value for it; `tenths`: to what."""

    key: str
    value: str
    tenths: int


class Audit(NamedTuple):
    unit: str
    tenths: int
    checks: tuple[Check, ...]
    cheapest: Next | None

    @property
    def word(self) -> str:
        return next(word for least, word in WORDS if self.tenths >= least)


def audit(unit: Unit, *, root: bool) -> Audit:
    """`root`: of a supervisor that runs as root (what is not said in `user` depends on it)."""
    least, checks = _exposure(unit, root)
    found = Audit(unit.name, _tenths(least), checks, None)
    for key, value, changed in _keys(unit):
        exact, _ = _exposure(changed, root)
        if exact < least:
            least = exact
            found = found._replace(cheapest=Next(key, value, _tenths(exact)))
    return found


def told(one: Audit, *, checks: bool) -> UnitAudit:
    """As it is answered and printed."""
    cheapest = one.cheapest
    return UnitAudit(
        one.unit, one.tenths / 10, one.word,
        NextKey(cheapest.key, cheapest.value, cheapest.tenths / 10) if cheapest else None,
        tuple(
            AuditCheck(check.name, check.badness, check.range, round(check.share / 10, 3))
            for check in (one.checks if checks else ())
        ),
    )  # fmt: skip


def _tenths(exact: float) -> int:
    """Rounded up, as systemd does: nothing that is left is ever shown as nothing."""
    return -int(-exact // 1)


def _exposure(unit: Unit, root: bool) -> tuple[float, tuple[Check, ...]]:
    seen = look(unit, root=root)
    found = [(name, weight, most, test(seen)) for name, weight, most, test in CHECKS]
    whole = sum(weight for _, weight, _, badness in found if badness is not None)
    bad = sum(-(-badness * weight // most) for _, weight, most, badness in found if badness)
    checks = tuple(
        Check(name, badness, most, (badness or 0) * weight * 100 / most / whole)
        for name, weight, most, badness in found
    )
    return bad * 100 / whole, checks


def _keys(unit: Unit) -> list[tuple[str, str, Unit]]:
    """What could be written next, cheapest to live with first: of equal ones that is named."""
    box, network = unit.sandbox or Sandbox(), unit.network or Network()

    def boxed(**keys: object) -> Unit:
        return replace(unit, sandbox=replace(box, **keys))

    found = [
        ("sandbox.level", '"base"', boxed(level="base")) if box.level == "off" else None,
        ("sandbox.level", '"app"', boxed(level="app")) if box.level in ("off", "base") else None,
        ("user", '"dynamic"', replace(unit, user="dynamic")),
        ("sandbox.capabilities", "[]", boxed(capabilities=())),
        ("sandbox.devices", "[]", boxed(devices=())),
        ("sandbox.tmp", '"private"', boxed(tmp="private")),
        ("sandbox.processes", '"hidden"', boxed(processes="hidden")),
        ("sandbox.ipc", '"own"', boxed(ipc="own")),
        ("sandbox.jit", "false", boxed(jit=False)),
        ("sandbox.users.map", '"auto"', boxed(users=Users())),
        ("umask", '"077"', replace(unit, umask=0o077)),
        ("network.mode", '"none"', replace(unit, network=replace(network, mode="none"))),
    ]
    return [key for key in found if key is not None and key[2] != unit]

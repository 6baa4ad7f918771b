"""Which units claim one port of the host, so that only the first to come would have it.

A claim is a [[listen]], or a rule of network.listen, which is on all addresses. Two are no clash
where only one of the units can run (they conflict), where both listeners share (reuse_port), or
where a rule is about another network than the host's. Port 0 is no claim.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from supervisor.model.unit import Unit

_ANY = frozenset(("", "0.0.0.0", "::"))  # noqa: S104 - compared with, not bound to


class Claim(Struct, frozen=True, gc=False):
    """`where`: the path of its key in the unit file. `ip` "": both kinds. `text`: as written."""

    unit: str
    where: tuple[str | int, ...]
    text: str
    protocol: str
    ip: str
    host: str
    port: int
    shares: bool


def claims(unit: Unit) -> Iterator[Claim]:
    """The ports of the host that a unit has to itself."""
    for index, one in enumerate(unit.listen):
        if one.port:
            protocol, ip = one.family[:3], one.family[3:] or "4"
            host = f"[{one.host}]" if ip == "6" else one.host
            yield Claim(
                unit.name, ("listen", index, "address"), f"{one.family}:{host}:{one.port}",
                protocol, ip, one.host, one.port, one.reuse_port,
            )  # fmt: skip
    network = unit.network
    if network is not None and network.mode == "host":
        for index, rule in enumerate(network.listen or ()):
            if rule.port:
                yield Claim(
                    unit.name, ("network", "listen", index), f"{rule.protocol}:{rule.port}",
                    rule.protocol, "", "", rule.port, shares=False,
                )  # fmt: skip


def clashes(units: Mapping[str, Unit]) -> dict[str, tuple[Claim, Claim]]:
    """Of each unit that must not start: a claim of its own, and that of another one."""
    by_port: dict[tuple[str, int], list[Claim]] = {}
    for unit in units.values():
        if unit.listen or unit.network is not None:
            for claim in claims(unit):
                by_port.setdefault((claim.protocol, claim.port), []).append(claim)
    found: dict[str, tuple[Claim, Claim]] = {}
    for rivals in by_port.values():
        if len(rivals) == 1:
            continue
        for mine in rivals:
            for other in rivals:
                if mine.unit not in found and _clash(mine, other, units):
                    found[mine.unit] = mine, other
    return found


def broken(units: Mapping[str, Unit]) -> dict[str, str]:
    """Units that must not start, and why."""
    return {name: words(*both) for name, both in clashes(units).items()}


def words(mine: Claim, other: Claim) -> str:
    place = "[[listen]]" if other.where[0] == "listen" else "[network] listen"
    also = "" if other.text == mine.text else f" as {other.text}"
    return f"its port {mine.text} is claimed by {other.unit} too{also} ({place})"


def _clash(mine: Claim, other: Claim, units: Mapping[str, Unit]) -> bool:
    if mine.unit == other.unit or (mine.shares and other.shares):
        return False
    if mine.ip and other.ip and mine.ip != other.ip:
        return False
    if mine.host != other.host and not {mine.host, other.host} & _ANY:
        return False
    one, two = units[mine.unit].needs.conflicts, units[other.unit].needs.conflicts
    return other.unit not in one and mine.unit not in two

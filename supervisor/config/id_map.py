"""The table of `sandbox.users`: the ids of a user namespace, and what they are outside. Loaded with
that of [sandbox]."""
from __future__ import annotations

from supervisor.config.table import Fault, Key, Refused, Table, Type, each, show
from supervisor.config.values import DIGITS, text
from supervisor.model.sandbox import MappedRange, Users

MAX_ID = (1 << 32) - 2  # the last id; the one above it means "none"
MAX_RANGES = 340  # user_namespaces(7)


def _range(value: object) -> MappedRange:
    parts = text(value).split(":")
    if len(parts) != 3 or not all(0 < len(n) <= 10 and DIGITS.issuperset(n) for n in parts):
        raise Refused(
            f'cannot use {show(value)}: write "INSIDE:OUTSIDE:COUNT", as in "0:100000:65536"'
        )
    inside, outside, count = map(int, parts)
    if not count:
        raise Refused(f"cannot use {show(value)}: it maps no id; its last number is how many")
    if max(inside, outside) + count - 1 > MAX_ID:
        raise Refused(f"cannot use {show(value)}: it goes beyond {MAX_ID}, the last id there is")
    return MappedRange(inside, outside, count)


def _map(value: object) -> tuple[MappedRange, ...]:
    if value == "auto":
        return ()
    values = [value] if type(value) is str else value
    if type(values) is not list or not 0 < len(values) <= MAX_RANGES:
        raise Refused(
            f'cannot use {show(value)}: write "auto", or 1 to {MAX_RANGES} ranges such as '
            '"0:100000:65536"'
        )
    found: tuple[MappedRange, ...] = each(values, _range)
    faults: list[Fault] = []
    for index, one in enumerate(found):
        for before, other in enumerate(found[:index]):
            if _overlap(one, other):
                why = f"cannot map these ids: they are in {show(values[before])} too; remove one"
                faults.append(((index,), why))
                break
    if faults:
        raise Refused.of(faults)
    return found


def _overlap(one: MappedRange, other: MappedRange) -> bool:
    """Whether they share an id, inside or outside."""
    return (
        -one.count < one.inside - other.inside < other.count
        or -one.count < one.outside - other.outside < other.count
    )


USERS = Table(
    Users,
    Key(
        "map",
        Type(_map, "id_map", '`"auto"`, or list of `"INSIDE:OUTSIDE:COUNT"`'),
        "map",
        '"auto"',
        "ids inside and what they are outside, of users and groups alike; `auto`: 65,536 that no "
        "other unit has, or, without root, the supervisor's own as root inside",
    ),
)

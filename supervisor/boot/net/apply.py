"""network.toml, made so: look, plan, act, and again until nothing is left.

Law: what is as it should be is not touched. Acting changes more than it says (a link that goes down
loses its routes), so the plan is made again from what is then there; a row that the kernel refused
is not tried twice, and one that it takes without effect is given up after three times.
"""
from __future__ import annotations

import os
from collections.abc import Callable

from msgspec import Struct

from supervisor.boot.net import resolver
from supervisor.boot.net.act import act
from supervisor.boot.net.chosen import absent, choose, missing
from supervisor.boot.net.made import Made, load, replace_file, store
from supervisor.boot.net.netlink import Netlink
from supervisor.boot.net.places import Places
from supervisor.boot.net.plan import Row, after, plan
from supervisor.boot.net.seen import Seen, look
from supervisor.boot.net.wanted import Wanted, want
from supervisor.config.machine_network import MachineNetwork

_TIMES = 3  # that one row is carried out
_ROUNDS = 8

Tell = Callable[[str], None]


class Outcome(Struct, frozen=True):
    """`missing`: interfaces that are not there; `absent`: so are any, also those that may be;
    `dhcp`: the leases to ask for are others."""

    problems: list[str]
    missing: list[str]
    absent: bool = False
    dhcp: bool = False


def show(network: MachineNetwork, places: Places, netlink: Netlink) -> tuple[list[str], Outcome]:
    """What `apply` would do, as far as can be told before it is done."""
    seen, made = look(netlink), load(places.folder)
    chosen = choose(network, seen, dict(made.chosen))
    wanted = want(network, chosen)
    rows, problems = plan(wanted, seen, made)
    words = [row.describe() for row in rows]
    text, goes = _names(network, places, wanted)
    if text is not None:
        other = resolver.difference(text, places.resolv, places.folder, ours_goes=goes)
        words += [other] if other else []
    return words, Outcome(problems, missing(network, chosen, seen))


def apply(network: MachineNetwork, places: Places, netlink: Netlink, tell: Tell) -> Outcome:
    """Make it so, and `tell` each thing that is done. Raises OSError if the kernel cannot be asked
    or the record cannot be written."""
    seen, made = look(netlink), load(places.folder)
    chosen = choose(network, seen, dict(made.chosen))
    wanted = want(network, chosen)
    record = after(wanted, seen, made, chosen)
    both = made.plus(record)
    if both != made:
        store(places.folder, both)
    problems = _rounds(wanted, seen, both, netlink, tell)
    if record != both:
        store(places.folder, record)
    problems += _write_names(network, places, wanted, tell)
    return Outcome(
        problems, missing(network, chosen, seen), absent(network, chosen),
        _leases(network, places, wanted, made),
    )


def _rounds(
    wanted: Wanted, seen: Seen, made: Made, netlink: Netlink, tell: Tell
) -> list[str]:
    refused: dict[Row, str] = {}
    times: dict[Row, int] = {}
    lost: set[str] = set()  # links that cannot be made: nothing is said of what would be on them
    problems: list[str] = []
    for _ in range(_ROUNDS):
        rows, problems = plan(wanted, seen, made)
        rows = [row for row in rows if row not in refused and not _needs(row, lost)]
        if not rows:
            break
        for row in rows:
            if _needs(row, lost):
                continue
            times[row] = times.get(row, 0) + 1
            if times[row] > _TIMES:
                refused[row] = f"cannot {row.describe()}: the kernel takes it, and it has no effect"
            elif why := act(row, netlink, wanted):
                refused[row] = why
                lost |= {row.link} if row.do == "create" else set()
            else:
                tell(row.describe())
        seen = look(netlink)
    return [*problems, *refused.values()]


def _needs(row: Row, lost: set[str]) -> bool:
    above = row.value[2] if row.do == "create" else row.value if row.do == "join" else ""
    return row.link in lost or above in lost


def _names(
    network: MachineNetwork, places: Places, wanted: Wanted
) -> tuple[str | None, bool]:
    """The text of resolv.conf, "" for none, None if DHCP's answers decide; and if ours goes."""
    if network.dns:
        return resolver.text(network.dns, places.file), False
    return (None if wanted.dhcp else ""), True


def _write_names(
    network: MachineNetwork, places: Places, wanted: Wanted, tell: Tell
) -> list[str]:
    text, goes = _names(network, places, wanted)
    if text is None:
        return []
    words = resolver.difference(text, places.resolv, places.folder, ours_goes=goes)
    if not words:
        return []
    try:
        resolver.write(text, places.resolv, places.folder, ours_goes=goes)
    except OSError as error:
        return [f"cannot {words}: {(error.strerror or str(error)).lower()}"]
    tell(words)
    return []


def _leases(network: MachineNetwork, places: Places, wanted: Wanted, made: Made) -> bool:
    """Leave word to the unit `dhcp`, which is skipped without it. Whether that is news to one that
    may run already."""
    path = f"{places.folder}/dhcp"
    lines = ["no-dns" if network.dns else "dns"]
    lines += [f"{link} {metric}" for link, metric in wanted.dhcp.items()]
    text = "\n".join(lines) + "\n" if wanted.dhcp else ""
    try:
        with open(path, encoding="utf-8") as file:
            now = file.read()
    except OSError:
        now = ""
    if now == text:
        return False
    if text:
        os.makedirs(places.folder, mode=0o755, exist_ok=True)
        replace_file(path, text.encode())
    else:
        os.unlink(path)
    return bool(now) or bool(made.chosen)

"""A new manager takes over: journal, keeper's facts, sockets that are still open."""
from __future__ import annotations

from collections.abc import Sequence

from supervisor import __version__
from supervisor.core.resume import Child, Saved, resume
from supervisor.core.words import CLD_EXITED
from supervisor.core.world import ENDED
from supervisor.kernel.keeper import Child as KeeperChild
from supervisor.kernel.plan import ERRORS
from supervisor.manager.boot import boot
from supervisor.manager.facts import Facts, fetch
from supervisor.manager.journal import Header, Snapshot
from supervisor.manager.notices import Notices
from supervisor.manager.observer import SIGSYS, STATE_NAMES, ended_words, split_key
from supervisor.manager.performer import Performer
from supervisor.manager.supervisor import STREAM, Supervisor
from supervisor.model.state import Instance

_OF_AGENTS = ("feed", "ack", "door")  # kinds of names that the keeper has for them


def recover(
    sup: Supervisor, snapshot: Snapshot | None, facts: Facts, performer: Performer,
    notices: Notices, start: Sequence[str],
) -> None:  # fmt: skip
    """Go on where the last manager stopped. What its journal does not tell comes from the unit
    files and from what the keeper knows to be running. `start`: as for `boot`."""
    if snapshot is None or snapshot.header.limited or any(
        unit.limits is not None for unit in snapshot.units.values()
    ):
        from supervisor.manager.limiting import Limiting

        sup.limiting = Limiting(sup, adopt=True)
        sup.header.limited = True
    if snapshot is not None:
        sup.early_words.append(_succession(snapshot.header))  # the keeper told the console
    children: list[Child] = []
    feeds: list[Child] = []  # core knows nothing of these
    for child in facts.children:
        key, role = split_key(child.key)
        sup.launches[child.launch] = (key, role)
        ended = STATE_NAMES[child.state] == "EXITED_UNACKED"
        empty = ended and sup.tracker.empty(key)
        words = ""
        ours = role in ("ready", "feed")
        if ended and not ours and snapshot is not None and key in snapshot.instances:
            words = _end_words(sup, snapshot, snapshot.instances[key], child)
        (feeds if role == "feed" else children).append(
            Child(
                child.launch, child.key, child.pid, STATE_NAMES[child.state],  # type: ignore[arg-type]
                child.code, child.status, ended_words(child), empty,
                words,
            )
        )
        if ended:
            sup.acks.append(child.launch)
            sup.launches.pop(child.launch)
    if snapshot is None:
        sup.report("the journal is lost; going on from what the keeper knows to be running")
        saved = Saved([])
        boot(sup, start, lambda: _adopt(sup, performer, saved, children, facts.highest))
    else:
        _from_journal(sup, performer, snapshot, children, facts.highest, start)
    if sup.limiting is not None:
        sup.limiting.resume()
    sup.counters.inherit()
    sup.rewrite()
    _reopen(sup, facts, performer, notices, feeds)
    for key, unit in sup.launched.items():
        sup.noted(key, unit)
    sup.turn()


def _succession(header: Header) -> str:
    """Why there is another manager, as far as its journal knows; this one signs it."""
    before, header.release = header.release, __version__
    renewed, header.renewed = header.renewed, False
    number = f"this is manager number {header.starts}"
    if not renewed:
        return f"{number}: the one before it was killed or broke off; what it supervised went on"
    if before == __version__:
        return f"{number}: upgraded, to the same version {before}"
    return f"{number}: upgraded from version {before or 'unknown'} to {__version__}"


def _end_words(sup: Supervisor, snapshot: Snapshot, inst: Instance, child: KeeperChild) -> str:
    """Of what ended when there was no manager: for want of memory, or by its own sandbox."""
    ran = snapshot.launched.get(inst.key)
    units = snapshot.units if ran is None else {**snapshot.units, inst.unit: ran}
    words = ""
    if sup.limiting is not None:
        words = sup.limiting.ended_meanwhile(inst, units, child.code, child.status)
    unit = units.get(inst.unit)
    if not words and unit is not None and child.status == SIGSYS and child.code != CLD_EXITED:
        words = sup.violation(unit, child.pid, child.code, child.status)
    return words


def _from_journal(
    sup: Supervisor, performer: Performer, snapshot: Snapshot, children: list[Child], highest: int,
    start: Sequence[str],
) -> None:  # fmt: skip
    """Every launch is written down before it is sent: one that the journal does not know proves
    that its end is missing, as a checksum that is wrong does."""
    header, instances, world = snapshot.header, snapshot.instances, sup.world
    whole = snapshot.whole and highest <= header.next_launch
    if not whole:
        sup.report("the journal is damaged; going on from the rest, the unit files and the keeper")
        _believe(instances, children)
    world.history.extend(snapshot.history)
    sup.inherited = snapshot.history[-1].id if snapshot.history else 0
    saved = Saved(
        list(instances.values()), header.next_launch,
        max(header.next_transition, sup.inherited), header.closing_ns, snapshot.old,
    )  # fmt: skip
    if whole and header.booted:
        world.define(snapshot.units)
        _adopt(sup, performer, saved, children, highest)
    else:  # or the first manager was killed before it had read everything
        units = snapshot.units
        known = {key: units[i.unit] for key, i in instances.items() if i.unit in units}
        saved.old = {**known, **snapshot.old}
        boot(sup, start, lambda: _adopt(sup, performer, saved, children, highest))
    for key, inst in world.instances.items():
        if inst.phase in ENDED:
            continue
        if key in snapshot.launched:
            sup.launched[key] = snapshot.launched[key]
        elif inst.launch:
            sup.launched[key] = snapshot.units.get(inst.unit) or world.unit_of(inst)


def _believe(instances: dict[str, Instance], children: list[Child]) -> None:
    """A journal without its end tells of an earlier run than the keeper does: then it is wrong."""
    for child in children:
        key, role = split_key(child.key)
        inst = instances.get(key)
        if not role and inst is not None and inst.launch != child.launch:
            instances[key] = Instance(key, inst.unit, inst.index)


def _adopt(
    sup: Supervisor, performer: Performer, saved: Saved, children: list[Child], highest: int
) -> None:
    strays = resume(sup.world, saved, children, highest, sup.now())
    performer.spent.update(sup.world.instances)  # for all that we know
    for stray in strays:
        key, role = split_key(stray.key)
        sup.report(f"killing pid {stray.pid} ({stray.key}): nobody knows it any more")
        sup.keeper.signal(stray.launch, 9)
        if not role:
            sup.tracker.kill(key)


def _reopen(
    sup: Supervisor, facts: Facts, performer: Performer, notices: Notices, feeds: list[Child]
) -> None:
    """Watch again what the keeper kept for what still runs."""
    doors: dict[str, int] = {}
    for name in sorted(facts.stored):
        kind, _, key = name.partition(":")
        whose = key.removesuffix(ERRORS)
        if kind == "log" and whose != STREAM and whose not in sup.world.instances:
            sup.drop(name)  # of a unit that was forgotten just before that manager died
        if kind not in ("notify", "ready", "fdstore", *_OF_AGENTS):
            continue
        inst = sup.world.instances.get(key.partition(":")[0])
        if inst is None or inst.phase in ("down", "failed"):
            sup.drop(name)
            continue
        if kind in _OF_AGENTS and inst.launch not in sup.launches:
            sup.drop(name)  # of a run that has ended
            continue
        if kind in ("feed", "ack"):
            continue  # the keeper alone needs them
        fd, others = fetch(sup.keeper, name)
        facts.later += others
        if fd >= 0 and kind == "door":
            doors[key] = fd
            continue
        if fd >= 0 and kind == "notify":
            notices.watch(key, fd)
        elif fd >= 0 and kind == "fdstore":
            notices.poll(name, fd)
        elif fd >= 0:
            performer.watch_ready(key, fd)
    if feeds or doors or any(name.startswith("feed:") for name in sup.stored):
        sup.agents().resume(feeds, doors)

"""A new manager takes over: journal, keeper's facts, sockets that are still open."""
from __future__ import annotations

from supervisor.core.resume import Child, Saved, resume
from supervisor.core.world import RESTING
from supervisor.manager.boot import boot
from supervisor.manager.facts import Facts, fetch
from supervisor.manager.journal import Snapshot
from supervisor.manager.notices import Notices
from supervisor.manager.observer import STATE_NAMES, ended_words, split_key
from supervisor.manager.performer import Performer
from supervisor.manager.supervisor import Supervisor


def recover(
    sup: Supervisor, snapshot: Snapshot | None, facts: Facts, performer: Performer,
    notices: Notices,
) -> None:  # fmt: skip
    """Go on where the last manager stopped. Without a readable journal: from the unit files and
    what the keeper knows to be running."""
    world = sup.world
    now = sup.now()
    children = []
    for child in facts.children:
        key, role = split_key(child.key)
        sup.launches[child.launch] = (key, role)
        ended = STATE_NAMES[child.state] == "EXITED_UNACKED"
        empty = ended and sup.tracker.empty(key)
        children.append(
            Child(
                child.launch, child.key, child.pid, STATE_NAMES[child.state],  # type: ignore[arg-type]
                child.code, child.status, ended_words(child), empty,
            )
        )
        if ended:
            sup.acks.append(child.launch)
            sup.launches.pop(child.launch)
    if snapshot is None:
        sup.report("the journal is lost; going on from what the keeper knows to be running")
        boot(sup, (), lambda: _adopt(sup, Saved([]), children, facts.highest, now))
    else:
        world.define(snapshot.units)
        sup.launched.update(snapshot.launched)
        header = snapshot.header
        saved = Saved(
            list(snapshot.instances.values()), header.next_launch, header.next_transition,
            header.closing_ns, snapshot.old,
        )  # fmt: skip
        _adopt(sup, saved, children, facts.highest, now)
        for key, inst in world.instances.items():
            if inst.launch and key not in sup.launched:
                sup.launched[key] = world.unit_of(inst)
            if inst.phase in RESTING:
                sup.tracker.remove(key)  # it may have been killed, and is then spent
    sup.rewrite()
    _reopen(sup, facts, performer, notices)
    sup.turn()


def _adopt(sup: Supervisor, saved: Saved, children: list[Child], highest: int, now: int) -> None:
    for stray in resume(sup.world, saved, children, highest, now):
        key, role = split_key(stray.key)
        sup.report(f"killing pid {stray.pid} ({stray.key}): nobody knows it any more")
        sup.keeper.signal(stray.launch, 9)
        if not role:
            sup.tracker.kill(key)


def _reopen(sup: Supervisor, facts: Facts, performer: Performer, notices: Notices) -> None:
    """Watch again what the keeper kept: notify sockets and readiness pipes of what still runs."""
    for name in sorted(facts.stored):
        kind, _, key = name.partition(":")
        if kind not in ("notify", "ready"):
            continue
        inst = sup.world.instances.get(key)
        if inst is None or inst.phase in ("down", "failed"):
            sup.drop(name)
            continue
        fd, others = fetch(sup.keeper, name)
        facts.later += others
        if fd >= 0 and kind == "notify":
            notices.watch(key, fd)
        elif fd >= 0:
            performer.watch_ready(key, fd)

"""Assembles the manager: a fresh start, or the continuation of one that was killed."""
from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING

from supervisor import __version__
from supervisor.core.world import World
from supervisor.kernel import cgroup, host
from supervisor.kernel.keeper import Keeper, KeeperGone
from supervisor.kernel.tracking import SessionTracker, Tracker
from supervisor.manager import runtime
from supervisor.manager.boot import boot
from supervisor.manager.facts import BOOT_PLAN, Facts, fetch
from supervisor.manager.journal import Header, Journal, Snapshot, load
from supervisor.manager.launcher import Launcher
from supervisor.manager.notices import Notices
from supervisor.manager.observer import Observer, split_key
from supervisor.manager.performer import Performer
from supervisor.manager.recover import recover
from supervisor.manager.supervisor import Supervisor, say
from supervisor.model.paths import Paths, paths

if TYPE_CHECKING:
    from supervisor.manager.kernel_line import KernelLine

KEEPER_FD = 3
_USAGE = """cannot read the command line: {}; it is `unboxed run` that starts this program"""


class Arguments:
    """What `unboxed run` passes on."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.units: list[str] = []
        self.start: list[str] = []
        self.single: dict[str, str] = {}
        self.marks: dict[str, int] = {}  # when which step of the start was done
        self.quiet = False
        self.machine = False  # all of one is ours: kernel_line.py, machine.py
        words = iter(argv)
        for word in words:
            if word in ("--quiet", "--machine"):
                setattr(self, word[2:], True)
                continue
            value = next(words, None)
            if value is None or not word.startswith("--"):
                raise SystemExit(_USAGE.format(word))
            if word == "--units":
                self.units.append(value)
            elif word == "--start":
                self.start.append(value)
            elif word in ("--site", "--runtime-dir", "--state-dir", "--log-dir"):
                self.single[word] = value
            else:
                raise SystemExit(_USAGE.format(word))

    def paths(self) -> Paths:
        one = self.single.get
        return paths(
            os.environ, os.geteuid(), one("--runtime-dir"), one("--state-dir"), one("--log-dir"),
            self.units,
        )  # fmt: skip


def main(argv: Sequence[str], began_ns: int = 0) -> int:
    """Run until everything is stopped. Exit status 0; 1 if it could not begin. `began_ns`: when the
    program's own code began (monotonic)."""
    imported_ns = monotonic_ns()
    told = os.environ.pop("UNBOXED_BOOT_PLAN", "")
    arguments = Arguments(argv)
    arguments.marks = {"interpreter": began_ns or imported_ns, "imports": imported_ns}
    for step, when in zip(
        ("keeper", "machine"), os.environ.pop("UNBOXED_KEEPER_NS", "").split(), strict=False
    ):
        arguments.marks[step] = int(when)
    line = None
    if arguments.machine:
        from supervisor.manager.machine import begin

        line = begin(arguments)
    where = arguments.paths()
    keeper = Keeper(KEEPER_FD)
    try:
        facts = Facts(keeper)
        return _run(arguments, where, keeper, facts, line, told)
    except runtime.CannotBegin as exc:
        say(f"{exc}\n")
        if line is not None:
            from supervisor.manager.machine import cannot_begin

            cannot_begin(str(exc), os.getppid())
            return 1  # and the keeper tries again
        keeper.send("EXIT", 0, (1).to_bytes(4, "little"))
        keeper.flush()
        return 1
    except KeeperGone:
        return 0


def _run(
    arguments: Arguments, where: Paths, keeper: Keeper, facts: Facts, line: KernelLine | None,
    told: str,
) -> int:
    """`line`: the kernel's, of a machine that is ours. `told`: by unboxed-early, before us."""
    gc.disable()  # a start makes many objects and no garbage
    snapshot, journal = _journal(keeper, facts)
    plan = None
    if told and line is not None and snapshot is None and not (line.units or line.target):
        from supervisor.manager.boot_plan import begun

        plan = begun(told, keeper, facts)
    if "lock" not in facts.stored:  # no manager came so far yet: it is not known to be ours
        runtime.prepare(where, keeper, facts.stored)
    made = runtime.open_sockets(where, keeper, facts.stored)
    tracker, why_not, pids = _tracker(where, keeper, facts)
    header = snapshot.header if snapshot else Header(started_ns=time_ns(), release=__version__)
    header.seed = header.seed or int.from_bytes(os.urandom(8), "little")
    header.starts += 1
    world = World(header.seed, host.cores(), machine=line is not None)
    launcher = Launcher(
        keeper, tracker, where, facts.stored, tuple(sorted(os.sched_getaffinity(0))),
        runtime.watcher(where),
    )  # fmt: skip
    sup = Supervisor(where, keeper, tracker, world, journal, launcher, header, facts.stored)
    sup.pids = pids
    sup.tracking_note = why_not
    sup.marks = arguments.marks
    sup.mark("prepared")
    notices = Notices(sup)
    performer = Performer(sup, notices)
    sup.perform = performer.perform  # type: ignore[assignment]
    sup.rest_deadline, sup.signal_rest = performer.deadline, performer.signal_rest
    observer = Observer(sup)
    if line is not None:
        from supervisor.manager.machine import Machine

        sup.machine = Machine(sup, line)
    if plan is None and (snapshot is not None or facts.highest):
        recover(sup, snapshot, facts, performer, notices, arguments.start)
        if BOOT_PLAN in facts.stored:
            sup.drop(BOOT_PLAN)
    else:
        if sup.machine is not None:
            sup.machine.prepare()
        if plan is not None:
            plan.begin(sup, facts)
        journal.append([(b"B", {"marks": sup.marks})])  # this manager may not live to tell more
        boot(sup, arguments.start)
        if plan is not None:
            plan.end_strays(sup)
    from supervisor.manager.service import (  # control and event log: after the first starts
        serve,
        tell_parent,
    )

    serve(sup, observer, facts, made, quiet=arguments.quiet)
    gc.freeze()  # what exists now stays: the collector need not look at it again and again
    gc.enable()
    for frame in facts.later:
        observer.handle(frame)
    sup.turn()
    sup.loop.run(sup.deadline, sup.turn)
    if not sup.leave_soon:
        tell_parent("STOPPING=1")
        if sup.limiting is not None:
            sup.limiting.close()
        status = 0 if sup.machine is None else sup.machine.left()
        runtime.leave(sup.paths, keeper, tracker, status)
    os._exit(0)  # nothing is left to tidy that the kernel does not


def _journal(keeper: Keeper, facts: Facts) -> tuple[Snapshot | None, Journal]:
    if "state" in facts.stored:
        fd, others = fetch(keeper, "state")
        facts.later += others
        if fd >= 0:
            return load(fd)
    journal = Journal.create()
    keeper.put("state", journal.fd)
    facts.stored.add("state")
    return None, journal


def _tracker(
    where: Paths, keeper: Keeper, facts: Facts
) -> tuple[Tracker, str, dict[int, str]]:
    """Cgroups if this host lets us, else the keeper's own means; the reason; the live pids' map."""
    pids = {
        c.pid: c.key.partition(":")[0]
        for c in facts.children
        if not c.ended_ns and split_key(c.key)[1] not in ("ready", "feed")
    }
    fd, before = -1, ""
    if "cgroup" in facts.stored:
        fd, others = fetch(keeper, "cgroup")
        facts.later += others
    if fd >= 0:
        before = os.readlink(f"/proc/self/fd/{fd}")
        os.close(fd)
    found, why_not = cgroup.find(runtime.group_name(where), before)
    if found is None:
        return SessionTracker(os.getppid(), lambda: pids), why_not, pids
    if "cgroup" not in facts.stored:
        fd = os.open(found.base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        keeper.put("cgroup", fd)
        facts.stored.add("cgroup")
        os.close(fd)
        for key in found.leftovers():
            say(f"killing what an earlier supervisor left of {key}\n")
            found.end(key)
    return found, "", pids



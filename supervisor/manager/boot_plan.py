"""The compiled boot plan: what a boot starts first, sent by unboxed-early before the manager is up.

Law: a plan saves time and changes nothing else. What was sent and is not the very frame that would
be sent today is ended before anything is decided. Then the manager decides everything as it always
does; where it decides a launch that was sent, there is nothing left to send, and what it decides
nothing about is ended too. make_boot_plan.py makes a plan, programs/early.c sends it, and both say
what of.
"""
from __future__ import annotations

import os
from _struct import Struct  # one file less than struct
from typing import TYPE_CHECKING

from msgspec import to_builtins

from supervisor.core.world import COMING
from supervisor.kernel.keeper import Frame, Keeper, frames
from supervisor.kernel.wire import CHILD_STATES
from supervisor.manager.facts import BOOT_PLAN, Facts, fetch
from supervisor.manager.launcher import CannotLaunch
from supervisor.model.sandbox import Sandbox
from supervisor.model.unit import CORES, Unit

if TYPE_CHECKING:
    from supervisor.manager.supervisor import Supervisor
    from supervisor.model import action as do

MAGIC = b"UBPLAN1\0"
MOST = 16 << 20  # bytes of a plan
# Kind, bytes of the text with its NUL, bytes of the data; text and data follow.
RECORD = Struct("<III")
_EXECED, _FAILED = Struct("<iIQ"), Struct("<iIIi")
_UNKNOWN = 0xFFFF  # a step, of a launch that another manager was told of
# A unit that says more than these needs something opened or made, or is started as somebody else.
_KEYS = frozenset((
    "name", "source", "description", "documentation", "kind", "command", "autostart", "instances",
    "directory", "umask", "env", "needs", "conditions", "start", "restart", "stop", "reload",
    "logs", "sandbox",
))  # fmt: skip
_OPEN = Sandbox(level="off")
_PATIENCE_S = 5  # for the end of what was killed


class BootPlan:
    """One boot's: what of the last one's plan was sent, and what belongs into the next one."""

    def __init__(
        self, path: str, sent_ns: int, highest: int, sent: dict[int, bytes],
        executed: dict[str, int],
    ) -> None:
        """`sent`: number of a launch -> the payload of its frame; `highest` of all in the plan.
        `executed`: key -> when (monotonic ns), as far as that has come."""
        self.path = path
        self.sent_ns = sent_ns  # monotonic; 0: not known, or not in this boot
        self.sent = sent  # until the manager decided the same
        self.first: list[tuple[Unit, bytes]] = []  # what boot() launched so far
        self._highest = highest
        self._executed = executed
        self._slow = ""  # whom the boot waits for

    def begin(self, sup: Supervisor, facts: Facts) -> None:
        sup.boot_plan, self._facts = self, facts
        self._look = lambda: self._settle(sup)
        sup.settled.append(self._look)
        turn = sup.world.turn
        turn.next_launch = self._highest
        turn.taken = {key_of(payload): number for number, payload in self.sent.items()}
        if self.sent_ns:
            sup.marks["plan"] = self.sent_ns
        if self._executed:
            sup.journal.append([(b"B", {"early": self._executed})])

    def has_sent(
        self, sup: Supervisor, action: do.Launch, unit: Unit, payload: bytes, *, alone: bool
    ) -> bool:
        """Whether that launch was sent before there was a manager. `alone`: nothing was made for
        it."""
        transient = unit.source.startswith(f"{sup.paths.transient_units}/")
        alone = alone and not (action.role or transient or sup.header.booted)
        if alone and _follows(unit):
            self.first.append((unit, payload))
        return self.sent.pop(action.launch, None) is not None

    def compare(self, sup: Supervisor) -> None:
        """Units are known, and nothing was decided: end what would be launched otherwise today, so
        that it can be."""
        for number, payload in list(self.sent.items()):
            if payload != self._today(sup, key_of(payload)):
                self._end(sup, number)

    def _today(self, sup: Supervisor, key: str) -> bytes:
        inst = sup.world.instances.get(key)
        if inst is None or not _follows(unit := sup.world.unit_of(inst)):
            return b""
        try:
            return sup.launcher.frame(unit, inst, "", 0)
        except (CannotLaunch, OSError, UnicodeError):
            return b""

    def end_strays(self, sup: Supervisor) -> None:
        """Everything was decided: of the rest nobody wants anything, and of the plan neither."""
        for number in list(self.sent):
            self._end(sup, number)
        sup.world.turn.taken.clear()
        if BOOT_PLAN in self._facts.stored:
            sup.drop(BOOT_PLAN)

    def _end(self, sup: Supervisor, number: int) -> None:
        """Until nothing of it is left, and its name is free for another launch."""
        key = key_of(self.sent.pop(number))
        sup.report(f"ending {key}: it was started by a plan that is out of date")
        sup.world.turn.taken.pop(key, None)
        sup.keeper.signal(number, 9)
        sup.tracker.end(key)  # type: ignore[attr-defined]  # there are cgroups, or no plan
        if self._facts.hear(sup.keeper, "EXITED", number, _PATIENCE_S):
            sup.keeper.send("ACK", number)
            sup.pids = {pid: whose for pid, whose in sup.pids.items() if whose != key}

    def _settle(self, sup: Supervisor) -> None:
        """At the end of a turn. Once all that was to start has started, the next plan is made."""
        if not sup.header.booted:
            return
        instances = sup.world.instances
        slow = instances.get(self._slow)
        if slow is not None and slow.phase in COMING:
            return
        self._slow = next((key for key, i in instances.items() if i.phase in COMING), "")
        if self._slow:
            return
        sup.boot_plan = None
        sup.settled = [one for one in sup.settled if one is not self._look]
        if not sup.world.closing_ns:
            from supervisor.manager.make_boot_plan import keep

            keep(sup, self)


def begun(told: str, keeper: Keeper, facts: Facts) -> BootPlan | None:
    """The plan of a boot about which nothing is written down yet, by what unboxed-early said of it
    (UNBOXED_BOOT_PLAN) and what the keeper holds: the plan that was sent, whatever its path is now.
    None: it said nothing, or what runs is not of a plan."""
    when, _, path = told.partition(" ")
    if not path:
        return None
    known: dict[int, bytes] = {}
    if BOOT_PLAN in facts.stored:
        fd, others = fetch(keeper, BOOT_PLAN)
        facts.later += others
        known = launches(fd)
    if facts.highest > len(known):
        return None
    sent = {child.launch: known.get(child.launch, b"") for child in facts.children}
    if any(key_of(sent[child.launch]) != child.key for child in facts.children):
        return None
    facts.later = [  # what was refused at once is tried again
        frame for frame in facts.later if frame.op != "REFUSED" or frame.tag in sent
    ]
    facts.later[:0] = _missed(facts)
    executed = {
        key_of(sent[frame.tag]): int(_EXECED.unpack_from(frame.payload)[2])
        for frame in facts.later if frame.op == "EXECED" and frame.tag in sent
    }  # fmt: skip
    return BootPlan(path, int(when), len(known), sent, executed)


def launches(plan: str | int) -> dict[int, bytes]:
    """Number -> payload of the launches in a plan (a path, or an open file, which is closed); none
    if it cannot be read."""
    try:
        with open(plan, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = os.pread(file.fileno(), min(size, MOST), 0)
    except OSError:
        return {}
    found: dict[int, bytes] = {}
    at = len(MAGIC)
    while at + RECORD.size <= len(data):
        kind, text, size = RECORD.unpack_from(data, at)
        at += RECORD.size + text + size
        if kind == ord("S"):
            found.update((frame.tag, frame.payload) for frame in frames(data[at - size : at]))
    return found


def key_of(payload: bytes) -> str:
    """Whose launch it is."""
    return payload.split(b"\0", 1)[0].decode()


def _follows(unit: Unit) -> bool:
    """Whether its launch follows from its definition and facts that unboxed-early can look at."""
    conditions = unit.conditions
    word = "".join(unit.command[:1])  # a group has none
    searched = "" if "/" in word else word + dict(unit.env).get("PATH", "")
    return (
        word != "" and _KEYS.issuperset(to_builtins(unit)) and unit.sandbox in (None, _OPEN)
        and unit.start.ready.kind in ("exec", "exit") and not unit.start.before
        and "{" not in searched and unit.instances != CORES
        and conditions.kernel_cmdline == conditions.host == () and conditions.first_boot is None
        and {"container", "!container"}.issuperset(conditions.virtualization)
    )  # fmt: skip


def _missed(facts: Facts) -> list[Frame]:
    """What the keeper told another manager of these children, which did not live to write it
    down."""
    missed = []
    for child, row in zip(facts.children, facts.rows, strict=True):
        told = {frame.op for frame in facts.later if frame.tag == child.launch}
        ended = child.state == CHILD_STATES["EXITED_UNACKED"]
        if child.error:
            if "LAUNCH_FAILED" not in told:
                payload = _FAILED.pack(child.pid, _UNKNOWN, child.step, child.error)
                missed.append(Frame("LAUNCH_FAILED", child.launch, payload, ()))
        elif "EXECED" not in told and (ended or child.state == CHILD_STATES["RUNNING"]):
            payload = _EXECED.pack(child.pid, 0, child.started_ns)
            missed.append(Frame("EXECED", child.launch, payload, ()))
        if ended and "EXITED" not in told:
            missed.append(Frame("EXITED", child.launch, row.payload, ()))
    return missed

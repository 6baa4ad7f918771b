"""What a manager does for a whole machine (--machine): loaded for that alone.

Law: a machine that is to go down does so as and when it was asked to, whatever becomes of the
manager. World and the journal's header have both, so the next manager goes on with the same; and
the keeper is told at once (EXIT_BY) by when it ends everything with or without us. That moment only
ever comes closer. Nothing here polls: `sup.machine_ns` is 0 while nothing is to be looked at.

A `boot` that failed is repaired in the unit `rescue`; when that has ended, it is tried again.
"""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from supervisor.core import graph as graphs
from supervisor.core.stopping import KILL_GRACE_NS
from supervisor.core.world import ENDED
from supervisor.kernel.host import installed_program, read
from supervisor.manager.kernel_line import KernelLine, is_ours, kernel_line
from supervisor.model import event as ev
from supervisor.model.state import Instance, Power, Transition
from supervisor.model.unit import BOOT, RESCUE, SECOND_NS
from supervisor.model.values import duration_text

if TYPE_CHECKING:
    from supervisor.manager.main import Arguments
    from supervisor.manager.supervisor import Supervisor

# What the keeper is told to do with the machine: the status of EXIT and EXIT_BY.
ACTIONS: dict[Power, int] = {"poweroff": 0, "reboot": 1, "halt": 2, "kexec": 3}
DOING: dict[Power, str] = {
    "poweroff": "powering off", "reboot": "rebooting", "halt": "halting",
    "kexec": "booting the loaded kernel",
}
# Signals to PID 1. Ctrl-Alt-Del is SIGINT; from 37 on they are those that systemd has.
SIGNALS: dict[int, Power] = {
    2: "reboot", 30: "poweroff", 37: "halt", 38: "poweroff", 39: "reboot", 40: "kexec",
}
_INT, _QUIT, _TERM = 2, 3, 15
SLACK_NS = KILL_GRACE_NS + 5 * SECOND_NS  # from the end of the services' time to the keeper's
PACE_NS = 5 * SECOND_NS  # between two lines on what is waited for, or two short rescues
PATIENCE_NS = 2 * SECOND_NS  # before the first of those lines
_NAMED = 5  # units in such a line
_LONGEST_MS = (1 << 31) - 1


def begin(arguments: Arguments) -> KernelLine:
    """Before anything else: a console that never blocks us, and what the kernel's command line
    asks for."""
    try:  # an open file of our own: its flags are nobody else's
        fd = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.dup2(fd, 2)
        os.close(fd)
    except OSError:
        pass  # it is a socket, or not to be opened: written to as anywhere
    line = kernel_line()
    arguments.units[:0] = line.units
    arguments.start = line.target or arguments.start
    return line


def cannot_begin(reason: str, keeper_pid: int) -> None:
    """There can be no supervisor: somebody has to look at it. Returns when he has."""
    pid = os.fork()
    if not pid:
        try:
            os.setsid()
            os.execv(f"/proc/{keeper_pid}/exe", ["unboxed-init", "--rescue", reason])
        finally:
            os._exit(127)
    os.waitpid(pid, 0)
    from time import sleep

    sleep(PACE_NS / SECOND_NS)  # there may be no shell, or no console


class Machine:
    def __init__(self, sup: Supervisor, line: KernelLine) -> None:
        self._sup = sup
        self.quiet = line.quiet
        self._told: tuple[int, str] | None = None  # the keeper: by when, and what
        self._tell_ns = 0  # when to tell next what the shutdown waits for
        self._alone = False  # it was told that there is no rescue
        world = sup.world
        world.close_ns = line.close_ns or world.close_ns
        world.ending = sup.header.ending
        sup.listeners.append(self._moved)
        sup.settled.append(self.settle)
        sup.machine_ns = 1  # what an earlier manager left undone
        for problem in line.problems:
            sup.report(problem)

    def prepare(self) -> None:
        """Before units are read for the first time: a login on each console."""
        if not is_ours():
            return
        from supervisor.config.consoles import write

        try:
            write(self._sup.paths.transient_units)
        except OSError as exc:
            self._sup.report(f"cannot write the units of the consoles: {exc.strerror}; there is no"
                             " login on them")

    # --- down ---------------------------------------------------------------------------------

    def signalled(self, number: int, cause: str) -> None:
        """The keeper was sent a signal that is about the machine."""
        world, power = self._sup.world, SIGNALS.get(number)
        if number == _INT and world.closing_ns:
            self.down(world.ending or "reboot", cause, force=True)
        elif power is not None:
            why_not = self.why_not(power)
            if why_not:
                self._sup.report(f"{cause}: cannot {power}: {why_not}; nothing was done")
            else:
                self.down(power, cause)
        elif number == _TERM:
            self._renew(cause)
        elif number == _QUIT:
            self._sup.report(f"{cause}: it means nothing to a machine; nothing was done")

    def why_not(self, power: Power) -> str:
        """Why that cannot become of the machine, "" if it can."""
        if power != "kexec" or not is_ours() or read("/sys/kernel/kexec_loaded").strip() == "1":
            return ""
        return "no kernel is loaded for that (`kexec -l` loads one)"

    def down(
        self, power: Power, cause: str, within_ns: int = 0, *, force: bool = False
    ) -> None:
        """End the machine in order within that time (0: as usual); `force`: kill what is left of it
        now. Asked for again, the last action and the first deadline count."""
        sup = self._sup
        sup.report(cause)
        sup.world.end(power, cause, sup.now(), within_ns)
        if force:
            sup.world.kill_all(sup.now())
        self.settle()  # before the first unit is stopped

    def settle(self) -> None:
        """Also at the end of each turn. Whoever decided that the machine goes down: have it written
        down, and the keeper see to it."""
        sup, world = self._sup, self._sup.world
        if not world.closing_ns:
            return
        power = self.power
        due = world.closing_ns + SLACK_NS
        due = min(due, sup.header.exit_by_ns or due)
        if self._told == (due, power):
            return
        now = sup.now()
        before, self._told = self._told, (due, power)
        sup.header.ending, sup.header.exit_by_ns = power, due
        sup.header.closing_ns = world.closing_ns  # there may have been nothing to stop
        try:
            sup.journal.append([(b"H", sup.header)])
        except OSError:
            pass  # no memory: then the keeper alone knows
        wait = min(max(due - now, 0) // 1_000_000, _LONGEST_MS)
        payload = wait.to_bytes(4, "little") + ACTIONS[power].to_bytes(4, "little")
        sup.keeper.send("EXIT_BY", 0, payload)
        sup.flush()
        if before is None:
            left = duration_text(-((now - world.closing_ns) // SECOND_NS) * SECOND_NS)
            sup.report(f"{DOING[power]}: stopping everything in order, within {left}")
            self._tell_ns = sup.machine_ns = now + PATIENCE_NS
        elif before[1] != power:
            sup.report(f"{DOING[power]} instead")

    @property
    def power(self) -> Power:
        """What becomes of the machine when everything is stopped."""
        return self._sup.world.ending or "poweroff"

    def left(self) -> int:
        """Everything is stopped: the status for the keeper."""
        self._sup.report(f"everything is stopped; {DOING[self.power]}")
        return ACTIONS[self.power]

    def _tell(self, now: int) -> None:
        """Whom the shutdown waits for, and how long."""
        sup, world = self._sup, self._sup.world
        going = [
            inst for inst in world.instances.values()
            if inst.phase in ("stopping", "finishing", "killing") and not inst.stuck
        ]
        if not going:
            return
        going.sort(key=lambda inst: (inst.deadline_ns or now, inst.key))
        words = [f"{inst.key} ({inst.phase}{_left(inst, now, world.closing_ns)})"
                 for inst in going[-_NAMED:]]
        more = f" and {len(going) - _NAMED} others" if len(going) > _NAMED else ""
        left = max(world.closing_ns - now, 0) // SECOND_NS
        sup.report(f"{DOING[self.power]}: waiting for {', '.join(words)}{more};"
                   f" all is killed in {left} s")

    def _renew(self, cause: str) -> None:
        """As `unboxed upgrade`: keeper and manager are replaced by what is installed now."""
        sup = self._sup
        if sup.world.closing_ns:
            sup.report(f"{cause}: the machine is going down; nothing was done")
            return
        from supervisor.manager.renewal import renew

        path = installed_program(sup.keeper_pid)
        sup.report(f"{cause}: going on with the installed version")

        def answered(err: int) -> None:
            if err:
                sup.report(f"cannot execute {path}: {os.strerror(err)}; nothing was changed")

        renew(sup, path, answered)

    # --- rescue -------------------------------------------------------------------------------

    def _moved(self, fresh: list[Transition]) -> None:
        if any(moved.key in (BOOT, RESCUE) for moved in fresh):
            self._care(self._sup.now())

    def look(self, now: int) -> None:
        """What is due at `sup.machine_ns`."""
        self._sup.machine_ns = 0
        if self._sup.world.closing_ns:
            if self._tell_ns <= now:
                self._tell(now)
                self._tell_ns = now + PACE_NS
            self._sup.machine_ns = self._tell_ns
        else:
            self._care(now)

    def _care(self, now: int) -> None:
        """See to a boot that failed: by what is, not by what happened, for a manager may have died
        in between."""
        sup, world = self._sup, self._sup.world
        boot = world.instances.get(BOOT)
        if boot is None or boot.phase != "failed" or world.closing_ns:
            return
        rescue = world.instances.get(RESCUE)
        if rescue is None:
            if not self._alone:
                self._alone = True
                sup.report(f"boot failed: {boot.cause}; there is no unit {RESCUE} to repair it in:"
                           " add unboxed.rescue to the kernel's command line")
            return
        if rescue.phase not in ENDED:
            return  # it is being repaired
        if rescue.since_ns <= boot.since_ns:
            world.start([RESCUE], f"boot failed: {boot.cause}", now)
            return
        due = max(rescue.started_ns, boot.since_ns) + PACE_NS
        if now < due:  # it was of no use: no reason to begin anew all the time
            sup.machine_ns = due
            return
        cause = f"{RESCUE} has ended"
        sup.report(f"{cause}: the boot goes on")
        for name in graphs.closure(world.graph, [BOOT]):
            for key in world.keys.get(name, ()):
                if world.instances[key].phase == "failed":
                    world.deliver(key, ev.Reset(cause), now)
        world.start([BOOT], cause, now)


def _left(inst: Instance, now: int, latest: int) -> str:
    """", 5 s": until the next thing is done about it."""
    left = -((now - min(inst.deadline_ns, latest)) // SECOND_NS) if inst.deadline_ns else 0
    return f", {left} s" if left > 0 else ""

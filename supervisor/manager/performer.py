"""Does what core asks for. A failed action comes back as an event; nothing here decides."""
from __future__ import annotations

import os
from _socket import SHUT_RD, socket

from supervisor.core.world import ENDED
from supervisor.kernel.tracking import SessionTracker
from supervisor.manager.conditions import unmet
from supervisor.manager.launcher import CannotLaunch, is_isolated
from supervisor.manager.loop import PRIORITY, READ
from supervisor.manager.notices import Notices
from supervisor.manager.supervisor import SHORTAGES, Supervisor
from supervisor.model import action as do
from supervisor.model import event as ev
from supervisor.model.unit import Conditions, Unit

_ALWAYS = Conditions()
_LOOKS = 8
REST_NS = 100_000_000  # the exits of a thousand services take about as long


class Performer:
    def __init__(self, sup: Supervisor, notices: Notices) -> None:
        self._sup = sup
        self._notices = notices
        self._watched: dict[str, list[int]] = {}
        self._rest: dict[str, tuple[int, int, list[int]]] = {}  # key -> due, main, signals
        self.spent: set[str] = set()  # instances whose group may be spent, see _kill_all
        self.ready_pipes: dict[str, int] = {}  # key -> read end, until something is written
        self._table = {
            do.Launch: self._launch, do.Signal: self._signal, do.KillAll: self._kill_all,
            do.Watch: self._watch, do.Drain: self._drain, do.Freeze: self._freeze,
            do.Measure: self._measure, do.Release: self._release,
        }  # fmt: skip

    def perform(self, action: do.Action) -> None:
        self._sup.current = action.key
        try:
            self._table[type(action)](action)  # type: ignore[operator]
        except OSError as exc:
            kind = type(action).__name__.lower()
            self._sup.report(f"cannot {kind} {action.key}: {exc.strerror or exc}; going on")

    # --- launching ----------------------------------------------------------------------------

    def _launch(self, action: do.Launch) -> None:
        sup = self._sup
        inst = sup.world.instances[action.key]
        unit = sup.world.unit_of(inst)
        if action.role in ("", "before"):  # a new run: signals for the last one are not for it
            self._rest.pop(action.key, None)
        if action.role in ("", "before") and inst.phase == "launching":
            first = action.hook == 0 and (action.role == "before" or not unit.start.before)
            held = sup.boot_plan is not None and action.launch in sup.boot_plan.sent
            conditions = _ALWAYS if held else unit.conditions
            if first and conditions is not _ALWAYS and (words := unmet(conditions)):
                sup.deliver(action.key, ev.Skipped(action.launch, words))
                return
        sup.removed.discard(action.key)
        if action.key in self.spent:
            self.spent.discard(action.key)
            sup.tracker.remove(action.key)
        was = sup.launched.get(action.key, unit)
        if was is not unit and not action.role:
            self._redefined(was, unit, action.key)
        sent: list[int] = []
        try:
            joins: tuple[str, ...] = ()
            if action.role != "ready" and (unit.limits is not None or sup.limiting is not None):
                joins = sup.limits().prepare(inst, unit, action.role, action.hook)
            payload = sup.launcher.frame(unit, inst, action.role, action.hook, joins)
            if not action.role and unit.start.ready.kind == "fd":
                sent.append(self._ready_pipe(action.key))
            if not action.role and unit.agent is not None:
                sent += sup.agents().open(inst, unit)
        except (CannotLaunch, OSError, UnicodeError) as exc:  # a home that is no UTF-8, say
            words = (exc.strerror if isinstance(exc, OSError) else "") or str(exc)
            cause = exc.__cause__ if isinstance(exc, CannotLaunch) else exc
            short = isinstance(cause, OSError) and cause.errno in SHORTAGES
            for fd in sent:
                os.close(fd)
            sup.deliver(action.key, ev.LaunchFailed(action.launch, words, False, short))
            return
        finally:
            for key, fd in sup.launcher.opened.items():
                self._notices.watch(key, fd)
            sup.launcher.opened.clear()
        sup.launches[action.launch] = (action.key, action.role)
        sup.noted(action.key, unit)
        if not action.role:
            sup.launched[action.key] = unit
        plan = sup.boot_plan
        if plan is None or not plan.has_sent(sup, action, unit, payload, alone=not joins):
            sup.keeper.send("SPAWN", action.launch, payload, tuple(sent))
        if sent:
            sup.flush()
            for fd in sent:
                os.close(fd)
        if not action.role and unit.agent is not None:
            sup.agents().launched(inst, unit)

    def _ready_pipe(self, key: str) -> int:
        """The write end for the service; the read end is watched, and kept by the keeper."""
        self.drop_ready(key)
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._sup.launcher.descriptors.keep(f"ready:{key}", reader)
        self.watch_ready(key, reader)
        return writer

    def watch_ready(self, key: str, reader: int) -> None:
        self.ready_pipes[key] = reader
        self._sup.loop.add(reader, READ, lambda events: self._on_ready(key, events))

    def _on_ready(self, key: str, events: int) -> None:
        """A byte means ready (s6 asks for a newline; anything will do). End of file means nothing:
        the exit tells. Nothing is read, so that a manager killed before the journal knows leaves
        the byte to the next one."""
        if events & READ:
            self._sup.deliver(key, ev.Ready())
            self._sup.commit()
            if self._sup.retry_ns:  # it could not be written down: the keeper keeps the byte
                self._sup.loop.remove(self.ready_pipes[key])
                return
        self.drop_ready(key)

    def drop_ready(self, key: str) -> None:
        reader = self.ready_pipes.pop(key, -1)
        if reader >= 0:
            self._sup.loop.remove(reader)
            os.close(reader)
            self._sup.drop(f"ready:{key}")

    # --- signals and ends ---------------------------------------------------------------------

    def _signal(self, action: do.Signal) -> None:
        """To all: the keeper reaches the main process and its group with one kill(2). Most services
        are no more than that and end at once; whoever is left is looked for when the main process
        has ended, or REST_NS later."""
        sup, key = self._sup, action.key
        everybody = action.scope == "all"
        if not action.launch:
            if everybody:
                sup.tracker.signal(key, action.signal, 0)
            return
        sup.keeper.signal(action.launch, action.signal, group=everybody)
        if everybody:
            inst = sup.world.instances.get(key)
            main = inst.pid if inst is not None else 0
            if key in self._rest:
                self._rest[key][2].append(action.signal)
            else:
                self._rest[key] = (sup.now() + REST_NS, main, [action.signal])

    def deadline(self) -> int:
        """When `signal_rest` has something to do, 0 for never."""
        for due, _, _ in self._rest.values():  # the oldest is first
            return due
        return 0

    def signal_rest(self, now: int) -> None:
        """Signal those who are not in their main process's group."""
        while 0 < self.deadline() <= now:
            self._signal_left(next(iter(self._rest)))

    def _signal_left(self, key: str) -> None:
        """Now, if there is anything that they were not sent yet."""
        _, main, numbers = self._rest.pop(key, (0, 0, ()))
        inst = self._sup.world.instances.get(key)
        if inst is not None and not inst.emptied:
            for number in numbers:
                self._sup.tracker.signal(key, number, main, group=True)

    def _kill_all(self, action: do.KillAll) -> None:
        """A group that was ever killed is spent: Linux 6.1 to 6.18 at least kill whatever is
        cloned into it later too, so the next launch needs a new one (docs/decisions/0007)."""
        self.spent.add(action.key)
        inst = self._sup.world.instances[action.key]
        for launch in (inst.launch, inst.job):
            if launch:
                self._sup.keeper.signal(launch, 9)
        self._sup.tracker.kill(action.key)

    def _watch(self, action: do.Watch) -> None:
        """Look now, and again whenever the kernel says that something changed."""
        key = action.key
        if not self._look(key):
            self._signal_left(key)
            if key not in self._watched:
                self._rearm(key)

    def _rearm(self, key: str) -> None:
        """Watch whoever is left. Those may end, and others be born, just before the watch begins:
        so look once more, and again as long as somebody is left but nobody was there to watch."""
        kind = READ if isinstance(self._sup.tracker, SessionTracker) else PRIORITY
        for _ in range(_LOOKS):
            self._unwatch(key)
            fds = self._watched[key] = self._sup.tracker.watch(key)
            for fd in fds:
                self._sup.loop.add(fd, kind, lambda _events: self._changed(key))
            if self._look(key) or fds:
                return

    def _changed(self, key: str) -> None:
        self._sup.current = key
        for fd in self._watched.get(key, ()):
            self._sup.tracker.heard(fd)
        if not self._look(key) and isinstance(self._sup.tracker, SessionTracker):
            if self._sup.world.instances[key].phase == "killing":
                self._sup.tracker.kill(key)  # who is left was born when the others were killed
            self._rearm(key)  # one of them ended

    def _look(self, key: str) -> bool:
        if not self._sup.tracker.empty(key):
            return False
        self._unwatch(key)
        self._sup.deliver(key, ev.Empty())
        return True

    def _unwatch(self, key: str) -> None:
        for fd in self._watched.pop(key, ()):
            self._sup.loop.remove(fd)
            os.close(fd)

    def _release(self, action: do.Release) -> None:
        """The instance is down: nothing that served its run is kept."""
        sup, key = self._sup, action.key
        self._unwatch(key)
        self.drop_ready(key)
        if key in sup.removed:
            sup.removed.discard(key)
        else:
            sup.tracker.remove(key)
        if sup.limiting is not None:
            sup.limiting.release(key)
        self.spent.discard(key)
        world, name = sup.world, key.partition("/")[0]
        unit = world.graph.units.get(name)
        ran = sup.launched.pop(key, unit)  # its definition may be another one today, or none
        for one in dict.fromkeys((ran, unit)):
            if one is not None and one.listen:
                self._close_listeners(one, key)
        if unit is not None and key not in world.keys[name] and name not in world.left:
            for other in world.keys[name]:  # it was the last to serve by the old definition
                sup.launcher.descriptors.drop_stale(unit, world.instances[other])
        if ran is None or _speaks(ran) or (unit is not None and _speaks(unit)):
            self._notices.close(key)
        if ran is not None and sup.launcher.is_boxed(key, ran):
            sup.launcher.release(ran, key, last=self._is_last(key))

    def _redefined(self, was: Unit, unit: Unit, key: str) -> None:
        """The run that begins has another definition than the last: what was opened for that one
        may belong to another user, or to nobody."""
        self._sup.launcher.descriptors.drop_stale(unit, self._sup.world.instances[key])
        if is_isolated(was) and not is_isolated(unit):
            self._sup.launcher.release(was, key, last=self._is_last(key))
        if _speaks(was) and (was.user, was.group, was.sandbox) != (
            unit.user, unit.group, unit.sandbox
        ):  # fmt: skip
            self._notices.close_socket(key)
        elif _speaks(was) and not _speaks(unit):
            self._notices.close(key)

    def _is_last(self, key: str) -> bool:
        """Whether nothing of the other instances of its unit runs."""
        world, name = self._sup.world, key.partition("/")[0]
        return all(world.instances[k].phase in ENDED for k in world.all_of(name) if k != key)

    def _close_listeners(self, unit: Unit, key: str) -> None:
        """A stopped service's address refuses connections; while one instance lives it is open."""
        name, over = unit.name, self._is_last(key)
        gone = [f"listen:{key}:"]
        if over:
            gone.append(f"listen:{name}:")
        elif key == name:  # it has the names of the listeners that others share
            gone = [f"listen:{key}:{one.name}:" for one in unit.listen if one.reuse_port]
        names = [s for s in self._sup.stored if s.startswith(tuple(gone))]
        for name in names:
            self._sup.drop(name)
        for one in unit.listen:
            if names and over and one.family in ("unix", "unix-datagram", "fifo"):
                try:
                    os.unlink(one.path)
                except OSError:
                    pass  # somebody was quicker

    # --- the rest -----------------------------------------------------------------------------

    def _drain(self, action: do.Drain) -> None:
        """shutdown(2) on its own (SO_REUSEPORT) listeners: the kernel hands new connections to the
        other instances. The socket is of no more use, so the next start binds a new one. An agent
        gets what is left of the logs."""
        inst = self._sup.world.instances[action.key]
        unit = self._sup.launched.get(action.key) or self._sup.world.unit_of(inst)
        if self._sup.attending is not None:
            self._sup.attending.feeds.drain(action.key)
        own = tuple(f"listen:{action.key}:{one.name}:" for one in unit.listen if one.reuse_port)
        for name in [s for s in self._sup.stored if own and s.startswith(own)]:
            self._sup.ask_descriptor("GET", name, _shut)
            self._sup.drop(name)

    def _freeze(self, action: do.Freeze) -> None:
        self._sup.tracker.freeze(action.key, frozen=action.frozen)
        self._sup.deliver(action.key, ev.Froze(action.frozen))

    def _measure(self, action: do.Measure) -> None:
        inst = self._sup.world.instances[action.key]
        used = self._sup.tracker.figures(action.key, inst.pid).memory_bytes
        if used is not None:
            self._sup.deliver(action.key, ev.Measured(used))


def _speaks(unit: Unit) -> bool:
    return unit.start.ready.kind == "notify"


def _shut(fd: int) -> None:
    if fd >= 0:
        sock = socket(fileno=fd)
        try:
            sock.shutdown(SHUT_RD)
        finally:
            sock.close()

"""What clients ask for, turned into requests to the world and answers from it."""
from __future__ import annotations

import os
from collections.abc import Callable

from supervisor.core import graph as graphs
from supervisor.kernel.host import installed_program, survives
from supervisor.manager import select
from supervisor.manager.explain import with_files
from supervisor.manager.reload_units import reload_units
from supervisor.manager.reports import Reports, state
from supervisor.manager.supervisor import Supervisor
from supervisor.manager.transient import Tried
from supervisor.manager.waiters import (
    FAILED,
    NOT_RUNNING,
    Test,
    Waiters,
    reloaded,
    started,
    stopped,
)
from supervisor.model import event as ev
from supervisor.model import report as say
from supervisor.model import request as ask
from supervisor.model.request import Call
from supervisor.model.state import Instance, Transition
from supervisor.model.values import signal_name

_NOT_PERMITTED = 4
_RESTING = ("down", "failed", "waiting", "backoff")


class Requests:
    """Implements model.request.Requests."""

    def __init__(self, sup: Supervisor, stop: Callable[[str], None]) -> None:
        """`stop`: begin the orderly shutdown of everything, for that cause."""
        self._sup = sup
        self._stop = stop
        self._reports = Reports(sup)
        self._tried = Tried(sup)
        self._waiters = Waiters(sup, self._reports, self._tried.told)
        self._streams: list[Call] = []
        sup.listeners.append(self._tell)
        sup.settled.append(self._waiters.look_all)

    # --- looking ------------------------------------------------------------------------------

    def status(self, call: Call, what: ask.Which) -> None:
        world = self._sup.world
        try:
            keys = select.keys(world, what.units) if what.units else sorted(world.instances)
        except select.NothingThere as nothing:
            self._no_unit(call, nothing.pattern)
            return
        except select.TooMuch as exc:
            call.fail(say.Failed(str(exc)))
            return
        rows = tuple(
            self._reports.instance(
                world.instances[key], usage=what.usage and index < ask.MOST_USAGES
            )
            for index, key in enumerate(keys)
        )
        call.reply(say.StatusReply(rows, self._reports.supervisor()))

    def figures(self, call: Call, what: ask.Named) -> None:
        from supervisor.manager.happened import figures

        found = self._chosen(call, what)
        if found is not None:
            call.reply(figures(self._sup, found))

    def describe(self, call: Call, what: ask.One) -> None:
        inst = self._one(call, what.unit)
        if inst is not None:
            call.reply(self._reports.describe(inst))

    def why(self, call: Call, what: ask.One) -> None:
        inst = self._one(call, what.unit)
        if inst is not None:
            chain = tuple(map(self._reports.transition, self._sup.world.why(inst.key)))
            call.reply(say.Causes(chain, self._reports.instance(inst)))

    def explain(self, call: Call, what: ask.One) -> None:
        inst = self._one(call, what.unit)
        if inst is not None:
            if call.permits(inst.unit):
                call.reply(with_files(self._sup, inst))
            else:
                self._refuse(call, f"explain {inst.key}")

    def audit(self, call: Call, what: ask.Named) -> None:
        from supervisor.manager.audits import audits

        found = self._seen(call, what)
        if found is not None:
            call.reply(audits(self._sup, list(dict.fromkeys(inst.unit for inst in found))))

    def ports(self, call: Call, what: ask.Named) -> None:
        from supervisor.manager.ports import ports

        found = self._seen(call, what)
        if found is not None:
            call.reply(ports(self._sup, found))

    def relations(self, call: Call, what: ask.Named) -> None:
        from supervisor.manager.relations import relations

        found = self._seen(call, what)
        if found is not None:
            names = dict.fromkeys(inst.unit for inst in found)
            call.reply(relations(self._sup.world.graph, names))

    def boot_report(self, call: Call, _what: ask.Nothing) -> None:
        from supervisor.manager.boot_report import boot_report

        try:
            call.reply(boot_report(self._sup, call.permits))
        except OSError as exc:
            call.fail(say.Failed(f"cannot report the boot: reading the journal: {exc.strerror}"))

    def _seen(self, call: Call, what: ask.Named) -> list[Instance] | None:
        """Those of the instances named (or of all) that the peer may see. None: answered."""
        every = self._chosen(call, what)
        return every and [inst for inst in every if call.permits(inst.unit)]

    def _chosen(self, call: Call, what: ask.Named) -> list[Instance] | None:
        """The instances named, or all. None: answered."""
        world = self._sup.world
        try:
            keys = select.keys(world, what.units) if what.units else list(world.instances)
        except select.NothingThere as nothing:
            self._no_unit(call, nothing.pattern)
            return None
        except select.TooMuch as exc:
            call.fail(say.Failed(str(exc)))
            return None
        return [world.instances[key] for key in keys]

    def events(self, call: Call, what: ask.Nothing) -> None:
        self._streams.append(call)
        call.closed = lambda: self._streams.remove(call)
        call.progress(say.EventReply(ready=True))

    def _tell(self, fresh: list[Transition]) -> None:
        if self._streams:
            for moved in fresh:
                reply = say.EventReply(event=self._reports.transition(moved))
                for call in list(self._streams):
                    call.progress(reply)

    # --- operating ----------------------------------------------------------------------------

    def start(self, call: Call, what: ask.Operate) -> None:
        sup, cause = self._sup, f"started by {call.who}"
        keys, results = self._selected(call, what.units, "start")
        if keys is None:
            return
        if sup.world.closing_ns:
            call.fail(say.Failed("cannot start: the supervisor is stopping; nothing was changed"))
            return
        keys = self._defined(keys, results)
        over = {key: self._tried.outcome(sup.world.instances[key]) for key in keys}
        ended = [one for one in over.values() if one is not None]  # those are there to run once
        results += ended
        keys = [key for key in keys if over[key] is None]
        self._tried.told([one.key for one in ended])
        names = select.whole_units(sup.world, what.units)
        if names is not None and not results:
            every = [m for n in names for m in graphs.members(sup.world.graph, n)]
            sup.world.start(list(dict.fromkeys(every)), cause, sup.now())
        else:
            for key in keys:
                sup.world.start_key(key, cause, sup.now())
        self._answer(call, what, keys, self._tried.test(started(sup, "start")), results)

    def _defined(self, keys: list[str], results: list[say.Result]) -> list[str]:
        """`keys` without surplus instances, which only stop, as a result says of those that were
        asked for by their own key."""
        world = self._sup.world
        surplus = [key for key in keys if world.is_surplus(key)]
        rest = [key for key in keys if key not in surplus]
        for key in () if rest else surplus:
            number = world.number(world.instances[key].unit)
            words = f"cannot start {key}: {number}; nothing was changed"
            results.append(say.Result(key, False, words, FAILED))
        return rest

    def stop(self, call: Call, what: ask.Operate) -> None:
        sup, cause = self._sup, f"stopped by {call.who}"
        keys, results = self._selected(call, what.units, "stop")
        if keys is None:
            return
        names = select.whole_units(sup.world, what.units)
        if names is not None and not results:
            sup.world.stop(names, cause, sup.now())
        else:
            for key in keys:
                sup.world.stop_key(key, cause, sup.now())
        self._answer(call, what, keys, stopped, results)

    def restart(self, call: Call, what: ask.Operate) -> None:
        sup = self._sup
        keys, results = self._selected(call, what.units, "restart")
        if keys is None:
            return
        if sup.world.closing_ns:
            call.fail(say.Failed("cannot restart: the supervisor is stopping; nothing was changed"))
            return
        sup.world.restart(keys, f"restarted by {call.who}", sup.now())
        self._answer(call, what, keys, started(sup, "restart"), results)

    def reload(self, call: Call, what: ask.Operate) -> None:
        sup = self._sup
        keys, results = self._running(call, what.units, "reload")
        if keys is None:
            return
        able = []
        for key in keys:
            inst = sup.world.instances[key]
            why_not = self._no_reload(inst)
            if why_not:
                words = f"cannot reload {key}: {why_not}; nothing was changed"
                results.append(say.Result(key, False, words, FAILED))
                continue
            able.append(key)
            reload = sup.world.unit_of(inst).reload
            if reload.kind == "signal":
                who = f"{call.who} with `unboxed reload`"
                sup.world.signalled(key, reload.signal, who, sup.now())
            sup.deliver(key, ev.Reloaded(f"reloaded by {call.who}"))
        self._answer(call, what, able, reloaded, results)

    def _no_reload(self, inst: Instance) -> str:
        """Why it cannot be reloaded, "" if it can."""
        if inst.phase != "up" or inst.goal == "down" or inst.again:
            return f"it is {state(inst)}"
        reload = self._sup.world.unit_of(inst).reload
        if reload.kind != "signal":
            return ""
        if not inst.launch:
            return (
                "its main process is not known, as it forked into the background; let it say"
                ' MAINPID, or give it a [reload] command or reload = "restart"'
            )
        if survives(inst.pid, reload.signal):
            return ""
        return (
            f"it does not handle {signal_name(reload.signal)}, which would end it; give it a"
            ' [reload] command, or reload = "restart"'
        )

    def kill(self, call: Call, what: ask.Kill) -> None:
        sup = self._sup
        keys, results = self._running(call, what.units, "kill")
        if keys is None:
            return
        for key in keys:
            who = f"{call.who} with `unboxed kill`"
            sup.world.signalled(key, what.signal, who, sup.now())
        sup.commit()  # what an exit is put down to is written down before it can happen
        for key in keys:
            inst = sup.world.instances[key]
            if inst.launch:
                sup.keeper.signal(inst.launch, what.signal)
            sup.tracker.signal(key, what.signal, inst.pid)
            results.append(say.Result(key, True, "signalled"))
        call.reply(say.Outcome(results=tuple(results)))

    def freeze(self, call: Call, what: ask.Operate) -> None:
        self._freeze(call, what, "freeze", frozen=True)

    def thaw(self, call: Call, what: ask.Operate) -> None:
        self._freeze(call, what, "thaw", frozen=False)

    def _freeze(self, call: Call, what: ask.Operate, verb: str, *, frozen: bool) -> None:
        sup = self._sup
        keys, results = self._running(call, what.units, verb)
        if keys is None:
            return
        for key in keys:
            try:
                sup.tracker.freeze(key, frozen=frozen)
            except OSError as exc:
                words = f"cannot {verb} {key}: {exc.strerror}; nothing was changed"
                results.append(say.Result(key, False, words, FAILED))
                continue
            words = f"{'frozen' if frozen else 'thawed'} by {call.who}"
            sup.deliver(key, ev.Froze(frozen, words))
            results.append(say.Result(key, True, "frozen" if frozen else "thawed"))
        sup.commit()
        call.reply(say.Outcome(results=tuple(results)))

    def reset_failed(self, call: Call, what: ask.Operate) -> None:
        keys, results = self._selected(call, what.units, "reset")
        if keys is None:
            return
        for key in keys:
            self._sup.deliver(key, ev.Reset(f"reset by {call.who}"))
            results.append(say.Result(key, True, "reset"))
        self._sup.commit()
        call.reply(say.Outcome(results=tuple(results)))

    # --- the supervisor itself ----------------------------------------------------------------

    def reload_units(self, call: Call, what: ask.Nothing) -> None:
        answer = reload_units(self._sup)
        if isinstance(answer, say.InvalidUnits):
            call.fail(answer)
        else:
            call.reply(answer)

    def set_keys(self, call: Call, what: ask.Set) -> None:
        from supervisor.manager.set_limits import set_limits

        unit = self._sup.world.graph.units.get(what.unit)
        if unit is None:
            self._no_unit(call, what.unit)
        elif not call.permits(unit.name):
            self._refuse(call, f"set limits of {unit.name}")
        else:
            answer = set_limits(self._sup, unit, what)
            if isinstance(answer, say.Changed):
                call.reply(answer)
            else:
                call.fail(answer)

    def exec_command(self, call: Call, what: ask.Exec) -> None:
        inst = self._one(call, what.unit)
        if inst is not None:
            self._sup.executions().begin(call, inst, what)

    def try_command(self, call: Call, what: ask.Try) -> None:
        made = self._tried.define(what.command, what.keys)
        if isinstance(made, str):
            self._sup.world.start([made], f"tried by {call.who}", self._sup.now())
            self._sup.commit()
            call.reply(say.Tried(made))
        else:
            call.fail(made)

    def learn(self, call: Call, what: ask.Learn) -> None:
        from supervisor.manager import learning

        sup = self._sup
        inst = self._one(call, what.unit)
        if inst is None:
            return
        if not call.permits(inst.unit):
            self._refuse(call, f"learn {inst.key}")
            return
        runs = inst.phase not in _RESTING
        if sup.world.closing_ns:
            why = "the supervisor is stopping"
        elif inst.key in sup.launcher.learning:
            why = "somebody else learns it"
        elif runs and not what.restart:
            why = "it runs; stop it before, or give --restart"
        else:
            why = learning.why_not(sup.world.unit_of(inst))
            path = learning.drop_in(sup, inst.unit)
            if not why and what.fresh and os.path.lexists(path):
                why = f"{path} is there already; --force overwrites it"
        if why:
            call.fail(say.Failed(f"cannot learn {inst.key}: {why}; nothing was changed"))
            return
        learning.Session(sup, call, inst)
        cause = f"learned by {call.who}"
        if runs:
            sup.world.restart([inst.key], cause, sup.now())
        else:
            sup.world.start_key(inst.key, cause, sup.now())
        sup.commit()

    def shutdown(self, call: Call, what: ask.Close) -> None:
        keys = [k for k, i in self._sup.world.instances.items() if i.phase not in _RESTING]
        self._stop(f"shut down by {call.who}")
        self._answer(call, what, keys, stopped, [])

    def shutdown_now(self, call: Call, what: ask.Nothing) -> None:
        self._stop(f"shut down at once by {call.who}")
        self._sup.world.kill_all(self._sup.now())
        self._sup.commit()
        call.reply(say.Done())

    def end(self, call: Call, what: ask.End) -> None:
        sup = self._sup
        if sup.machine is None:
            why_not = "this supervisor boots no machine"
        else:
            why_not = sup.machine.why_not(what.action)
        if why_not or sup.machine is None:
            call.fail(say.Failed(f"cannot {what.action}: {why_not}; nothing was changed"))
            return
        cause = f"{what.action} asked for by {call.who}"
        sup.machine.down(what.action, cause, what.timeout_ns, force=what.now)
        sup.commit()
        sup.machine.settle()
        call.reply(say.Ending(sup.realtime_ns(sup.world.closing_ns)))

    def upgrade(self, call: Call, what: ask.Nothing) -> None:
        """The keeper executes what is installed now; then this manager ends, and so the next one
        begins from what is installed now too."""
        from supervisor.manager.renewal import renew

        path = installed_program(self._sup.keeper_pid)

        def answered(err: int) -> None:
            if err:
                words = f"cannot upgrade: {path}: {os.strerror(err)}; nothing was changed"
                call.fail(say.Failed(words))
            else:
                call.reply(say.Done())

        renew(self._sup, path, answered)

    # --- helpers ------------------------------------------------------------------------------

    def _no_unit(self, call: Call, name: str) -> None:
        words = f"no unit matches '{name}'" if set("*?[") & set(name) else f"no unit {name}"
        words += "; `unboxed status` lists them"
        call.fail(say.NoSuchUnit(name, words))

    def _refuse(self, call: Call, what: str) -> None:
        reason = f"{call.who} has no role for that"
        call.fail(say.NotPermitted(reason, f"cannot {what}: {reason}; nothing was changed"))

    def _one(self, call: Call, name: str) -> Instance | None:
        """The instance of that key, or the first one of that unit."""
        world = self._sup.world
        key = name if name in world.instances else next(iter(world.keys.get(name, ())), "")
        if not key:
            self._no_unit(call, name)
            return None
        return world.instances[key]

    def _selected(
        self, call: Call, patterns: tuple[str, ...], verb: str
    ) -> tuple[list[str] | None, list[say.Result]]:
        """The keys that the peer may touch, and results for those it may not. None: answered."""
        world = self._sup.world
        try:
            keys = select.keys(world, patterns)
        except select.NothingThere as nothing:
            self._no_unit(call, nothing.pattern)
            return None, []
        except select.TooMuch as exc:
            call.fail(say.Failed(str(exc)))
            return None, []
        mine = [key for key in keys if call.permits(world.instances[key].unit)]
        if keys and not mine:
            self._refuse(call, f"{verb} {', '.join(patterns)}")
            return None, []
        words = f"{call.who} has no role for it; nothing was changed"
        refused = [
            say.Result(key, False, f"cannot {verb} {key}: {words}", _NOT_PERMITTED)
            for key in keys
            if key not in mine
        ]
        return mine, refused

    def _running(
        self, call: Call, patterns: tuple[str, ...], verb: str
    ) -> tuple[list[str] | None, list[say.Result]]:
        """As `_selected`, with a result for what does not run."""
        keys, results = self._selected(call, patterns, verb)
        running = []
        for key in keys or ():
            inst = self._sup.world.instances[key]
            if self._sup.world.unit_of(inst).kind == "group":
                continue
            if inst.phase in _RESTING:
                words = f"cannot {verb} {key}: it is not running; nothing was changed"
                results.append(say.Result(key, False, words, NOT_RUNNING))
            else:
                running.append(key)
        return (None if keys is None else running), results

    def _answer(
        self, call: Call, what: ask.Operate | ask.Close, keys: list[str], test: Test,
        results: list[say.Result],
    ) -> None:  # fmt: skip
        self._sup.commit()  # what is answered is written down
        if what.wait:
            self._waiters.add(call, keys, test, results)
        else:
            done = (say.Result(key, True, "asked for") for key in keys)
            call.reply(say.Outcome(results=(*results, *done)))

"""`unboxed exec`: commands that somebody runs among the processes of an instance.

Law: such a command is the unit's in everything but that nobody waits for it: born in its cgroup, so
that it is stopped and killed with the unit; in the namespaces of its main process; as its user,
under its sandbox. The core knows nothing of it. It ends with who asked for it: SIGTERM when the
client leaves, SIGKILL from the next manager when this one is gone, as nobody is left to be told.
"""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from supervisor.core.words import CLD_EXITED
from supervisor.kernel.calls import call as system_call
from supervisor.kernel.plan import PlanTooLong, Step, encode
from supervisor.kernel.plan import names as plan_names
from supervisor.manager.launcher import CannotLaunch
from supervisor.model import report as say
from supervisor.model.request import Call, Exec
from supervisor.model.state import Instance

if TYPE_CHECKING:
    from supervisor.manager.supervisor import Supervisor

_STANDARD = 3
_SIGTERM = 15
_TIOCSCTTY = 0x540E
_UNTIL = "cannot execute a command in {key}: {reason}; nothing was started"


class Executions:
    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup
        self._open: dict[int, Call] = {}  # launch -> who waits for its end

    def begin(self, call: Call, inst: Instance, what: Exec) -> None:
        """Answered by `began`, `failed` and `ended`. The descriptors of the call are taken."""
        if not call.permits(inst.unit):
            call.fail(say.NotPermitted("no role", _UNTIL.format(
                key=inst.key, reason=f"{call.who} has no role for that")))
            return
        if not inst.pid or inst.phase in ("down", "failed", "launching"):
            words = _UNTIL.format(key=inst.key, reason="it is not running")
            call.fail(say.NotRunning(inst.key, words))
            return
        fds, call.fds = call.fds, ()
        try:
            if len(fds) != _STANDARD:
                raise CannotLaunch(f"{len(fds)} descriptors came along, and it takes {_STANDARD}")
            self._launch(call, inst, what, fds)
        except (CannotLaunch, OSError, PlanTooLong, UnicodeError, ValueError) as exc:
            reason = (exc.strerror if isinstance(exc, OSError) else "") or str(exc)
            call.fail(say.Failed(_UNTIL.format(key=inst.key, reason=reason)))
        finally:
            for fd in fds:
                os.close(fd)

    def _launch(self, call: Call, inst: Instance, what: Exec, fds: tuple[int, ...]) -> None:
        sup = self._sup
        unit = sup.launched.get(inst.key) or sup.world.unit_of(inst)
        joins: tuple[str, ...] = ()
        if unit.limits is not None or sup.limiting is not None:
            joins = sup.limits().prepare(inst, unit, "exec", 0)
        steps, _, _ = sup.launcher.plan(unit, inst, "exec", 0, joins, other=what.command)
        steps = _with_terminal(steps, what.term)
        encoded = encode(steps, sup.keeper.max_frame)
        sup.commit()  # what was decided before has lower numbers, and must be sent before
        launch = sup.number()
        sup.launches[launch] = (inst.key, "exec")
        sup.launcher.name_steps(launch, plan_names(steps, encoded))
        self._open[launch] = call
        call.closed = lambda: self._left(launch)
        payload = f"{inst.key}:exec:{launch}".encode() + b"\0" + encoded
        sup.keeper.send("SPAWN", launch, payload, fds)
        sup.flush()

    def _left(self, launch: int) -> None:
        if self._open.pop(launch, None) is not None:
            self._sup.keeper.signal(launch, _SIGTERM, group=True)
            self._sup.flush()

    def began(self, launch: int, pid: int) -> None:
        call = self._open.get(launch)
        if call is not None:
            call.progress(say.Executed(pid=pid))

    def failed(self, launch: int, words: str) -> None:
        """Nothing was executed."""
        key, _ = self._sup.launches.get(launch, ("", ""))
        call = self._open.pop(launch, None)
        if call is not None:
            call.fail(say.Failed(_UNTIL.format(key=key or "the unit", reason=words)))

    def ended(self, launch: int, code: int, status: int) -> None:
        call = self._open.pop(launch, None)
        if call is not None:
            exited = code == CLD_EXITED
            call.reply(say.Executed(code=status) if exited else say.Executed(signal=status))


def _with_terminal(steps: list[Step], term: str) -> list[Step]:
    """The plan with the descriptors that were sent in place of /dev/null and the log."""
    found: list[Step] = []
    for step in steps:
        if step == Step("OPEN", (0, 0, "/dev/null")):
            found += [Step("SENT_FD", (fd, fd)) for fd in range(_STANDARD)]
            if term:
                words = "its own terminal"
                found.append(system_call("ioctl", 0, _TIOCSCTTY, 0, words=words))
        elif step.name == "ENV" and term:
            kept = [one for one in step.args if not str(one).startswith("TERM=")]
            found.append(Step("ENV", (*kept, f"TERM={term}")))
        else:
            found.append(step)
    return found

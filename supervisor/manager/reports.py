"""The state as clients see it: coarse states, wall-clock times, words."""
from __future__ import annotations

from supervisor import __version__
from supervisor.core.world import RESTING
from supervisor.kernel.host import read, read_long
from supervisor.kernel.listen import label
from supervisor.kernel.tracking import Figures, statm_bytes
from supervisor.manager.supervisor import Supervisor
from supervisor.model import report
from supervisor.model.state import Instance, Phase
from supervisor.model.state import Transition as Moved
from supervisor.model.unit import Unit

_PLAIN: dict[Phase, report.State] = {
    "waiting": "waiting", "launching": "starting", "starting": "starting", "up": "running",
    "stopping": "stopping", "killing": "stopping", "finishing": "stopping", "backoff": "backoff",
    "failed": "failed", "down": "stopped",
}  # fmt: skip
_NO_FIGURES = Figures(None, None, None)


def state(inst: Instance) -> report.State:
    """Goal, phase and flags as one word."""
    if inst.phase == "down":
        return "finished" if inst.finished else "skipped" if inst.skipped else "stopped"
    if inst.phase == "killing" and inst.stuck:
        return "unkillable"
    if inst.phase == "up":
        if inst.goal == "down" or inst.again:
            return "stopping"
        return "frozen" if inst.frozen else "reloading" if inst.reloading else "running"
    return "frozen" if inst.frozen else _PLAIN[inst.phase]


class Reports:
    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup

    def instance(
        self, inst: Instance, *, figures: bool = True, usage: bool = False
    ) -> report.InstanceStatus:
        sup = self._sup
        unit = sup.world.unit_of(inst)
        runs = unit.kind != "group" and inst.phase not in RESTING
        limiting = sup.limiting
        used: Figures | report.Usage = _NO_FIGURES
        all_used = self._usage(inst) if usage and runs else None
        if all_used is not None:
            used = all_used
        elif figures and runs:
            used = sup.tracker.figures(inst.key, inst.pid)
            if limiting is not None:
                used = limiting.figures(inst.key, used)
        limit = unit.restart.limit
        since = inst.since_ns or inst.defined_ns
        since = sup.realtime_ns(since) if since else sup.header.started_ns
        deadline = sup.realtime_ns(inst.deadline_ns) if inst.deadline_ns else None
        waiting = sup.world.waiting_for(inst) if inst.phase in ("waiting", "up") else ()
        return report.InstanceStatus(
            key=inst.key, unit=inst.unit, state=state(inst), goal=inst.goal, phase=inst.phase,
            since_ns=since, pid=inst.pid, ready=inst.phase == "up",
            restarts=inst.restarts, recent_restarts=len(inst.recent_ns),
            restart_limit=limit.count if limit is not None else None, last_exit=inst.last_exit,
            reason=inst.cause, status_text=inst.status_text, memory_bytes=used.memory_bytes,
            cpu_ns=used.cpu_ns, tasks=used.tasks, tracking=sup.tracker.name,  # type: ignore[arg-type]
            next_try_ns=deadline if inst.phase == "backoff" else None,
            deadline_ns=deadline, waiting_for=tuple(waiting), stale=self.stale(inst, unit),
            removed=inst.unit not in sup.world.graph.units,
            description=unit.description,
            missing_limits=limiting.missing(inst.key) if limiting is not None else (),
            missing_sandbox=sup.launcher.not_enforced(self._ran(inst, unit), inst) if runs else (),
            attached=sup.world.graph.agents.get(inst.unit, ()),
            agents=sup.world.graph.agents_of.get(inst.unit, ()),
            behind_bytes=sup.attending.behind(inst) if sup.attending is not None else None,
            usage=all_used,
        )  # fmt: skip

    def _usage(self, inst: Instance) -> report.Usage:
        from supervisor.manager.figures import figures

        return figures(self._sup, inst)

    def _ran(self, inst: Instance, unit: Unit) -> Unit:
        """The definition that its present run began with."""
        return unit if inst.phase in RESTING else self._sup.launched.get(inst.key, unit)

    def stale(self, inst: Instance, unit: Unit) -> bool:
        """Whether it runs by another definition than today's, but for their number."""
        began = self._sup.launched.get(inst.key)
        if began is None or began is unit or began == unit:
            return False
        from msgspec.structs import replace

        return replace(began, instances=unit.instances) != unit

    def supervisor(self) -> report.SupervisorStatus:
        import os

        sup = self._sup
        return report.SupervisorStatus(
            version=__version__, pid=os.getpid(), keeper_pid=sup.keeper_pid,
            manager_starts=sup.header.starts, tracking=sup.tracker.name,  # type: ignore[arg-type]
            started_ns=sup.header.started_ns, units=len(sup.world.graph.units),
            ending=sup.world.ending or None,
        )  # fmt: skip

    def progress(self, inst: Instance) -> report.Progress:
        sup = self._sup
        return report.Progress(
            key=inst.key, state=state(inst), phase=inst.phase,
            waiting_for=tuple(sup.world.waiting_for(inst)),
            deadline_ns=sup.realtime_ns(inst.deadline_ns) if inst.deadline_ns else None,
            reason=inst.cause,
        )  # fmt: skip

    def transition(self, moved: Moved) -> report.Transition:
        return report.Transition(
            moved.id, moved.key, self._sup.realtime_ns(moved.time_ns), moved.source, moved.target,
            moved.cause, moved.cause_id,
        )  # fmt: skip

    def describe(self, inst: Instance) -> report.UnitDescription:
        from supervisor.config.render import describe

        sup = self._sup
        unit = sup.world.unit_of(inst)
        base = getattr(sup.tracker, "base", "")
        history = [m for m in sup.world.history if m.key == inst.key][-50:]
        return report.UnitDescription(
            status=self.instance(inst, usage=True), tree=self._tree(inst),
            listeners=tuple(
                report.ListenerStatus(one.name, label(one), _queue(one.family, one.port))
                for one in self._ran(inst, unit).listen
            ),
            definition=dict(describe(unit)),
            cgroup=f"{base}/{sup.tracker.group(inst.key)}" if base else "",
            history=tuple(map(self.transition, history)),
        )  # fmt: skip

    def _tree(self, inst: Instance) -> tuple[report.ProcessStatus, ...]:
        rows = []
        for pid in sorted(self._sup.tracker.pids(inst.key)):
            stat = read(f"/proc/{pid}/stat", 1024)
            if stat:
                command = read(f"/proc/{pid}/cmdline", 4096).replace("\0", " ").strip()
                fallback = stat[stat.find("(") : stat.rfind(")") + 1]
                ppid = int(stat[stat.rfind(")") + 2 :].split()[1])
                rows.append(
                    report.ProcessStatus(pid, ppid, command or fallback, statm_bytes(pid))
                )
        return tuple(rows)


_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp
_LISTENING_BYTES = 1 << 18  # of that table, where listening sockets come first: 1,700 of them


def _queue(family: str, port: int) -> int | None:
    """Connections waiting in the accept queue of a TCP port, as the kernel's table has it."""
    if family not in ("tcp", "tcp6"):
        return None
    total = None
    for line in read_long(f"/proc/net/{family}", _LISTENING_BYTES).splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
            total = (total or 0) + int(fields[4].partition(":")[2], 16)
    return total

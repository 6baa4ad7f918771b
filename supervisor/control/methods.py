"""The fixed table of methods: what each needs, takes and answers, and who answers it.

Law: a client's text is only ever a key of this table. Nothing is looked up by attribute.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from supervisor.control.access import ADMIN, OBSERVE, OPERATE, Role
from supervisor.model import report, request
from supervisor.model.request import Call, Requests

INTERFACE = "io.unboxed.Supervisor"

Sees = Callable[[str], bool]  # whether the peer may see everything of the unit of that name
Redact = Callable[[Any, Sees], Struct]
Handler = Callable[[Call, Any], None]


class Method(Struct, frozen=True, gc=False):
    """`redact` makes of an answer what a peer without a role on the units in it may see; None: such
    a peer may not call it. `streams`: to be called with `more` only. `words`: for messages."""

    role: Role
    ask: type[Struct]
    answer: type[Struct]
    words: str
    redact: Redact | None = None
    streams: bool = False


def _as_it_is(answer: Struct, _sees: Sees) -> Struct:
    return answer


def _instance(status: report.InstanceStatus, sees: Sees) -> report.InstanceStatus:
    """Without the service's own words: they are as private as its log."""
    if not status.status_text or sees(status.unit):
        return status
    return replace(status, status_text="")


def _status(answer: report.StatusReply, sees: Sees) -> Struct:
    return report.StatusReply(
        tuple(_instance(status, sees) for status in answer.instances), answer.supervisor
    )


def _causes(answer: report.Causes, sees: Sees) -> Struct:
    return report.Causes(answer.chain, _instance(answer.status, sees))


def _description(answer: report.UnitDescription, sees: Sees) -> Struct:
    if sees(answer.status.unit):
        return answer
    return replace(
        answer,
        status=_instance(answer.status, sees),
        tree=tuple(replace(process, command="") for process in answer.tree),
        definition=None,
    )


_OPERATE = (OPERATE, request.Operate, report.Outcome)

METHODS: Mapping[str, Method] = {
    "Status": Method(OBSERVE, request.Which, report.StatusReply, "show status", _status),
    "Figures": Method(OBSERVE, request.Named, report.FiguresReply, "show figures", _as_it_is),
    "Describe": Method(OBSERVE, request.One, report.UnitDescription, "describe", _description),
    "Events": Method(
        OBSERVE, request.Nothing, report.EventReply, "follow events", _as_it_is, streams=True
    ),
    "Why": Method(OBSERVE, request.One, report.Causes, "tell why", _causes),
    "Explain": Method(OBSERVE, request.One, report.Explanation, "explain"),
    "Audit": Method(OBSERVE, request.Named, report.Audits, "audit"),
    "Ports": Method(OBSERVE, request.Named, report.PortsReply, "show ports"),
    "Relations": Method(
        OBSERVE, request.Named, report.RelationsReply, "show relations", _as_it_is
    ),
    "BootReport": Method(OBSERVE, request.Nothing, report.BootReportReply, "report the boot"),
    "Rights": Method(OBSERVE, request.Nothing, report.RightsReply, "show rights", _as_it_is),
    "Start": Method(*_OPERATE, "start"),
    "Stop": Method(*_OPERATE, "stop"),
    "Restart": Method(*_OPERATE, "restart"),
    "Reload": Method(*_OPERATE, "reload"),
    "Kill": Method(OPERATE, request.Kill, report.Outcome, "kill"),
    "Freeze": Method(*_OPERATE, "freeze"),
    "Thaw": Method(*_OPERATE, "thaw"),
    "ResetFailed": Method(*_OPERATE, "reset"),
    "ReloadUnits": Method(ADMIN, request.Nothing, report.UnitsReloaded, "reload unit files"),
    "Set": Method(ADMIN, request.Set, report.Changed, "set limits"),
    "Exec": Method(ADMIN, request.Exec, report.Executed, "execute a command", streams=True),
    "Try": Method(ADMIN, request.Try, report.Tried, "try a command"),
    "Learn": Method(ADMIN, request.Learn, report.LearnReply, "learn", streams=True),
    "Shutdown": Method(ADMIN, request.Close, report.Outcome, "shut down"),
    "ShutdownNow": Method(ADMIN, request.Nothing, report.Done, "shut down at once"),
    "End": Method(ADMIN, request.End, report.Ending, "end the machine"),
    "Upgrade": Method(ADMIN, request.Nothing, report.Done, "upgrade"),
}


def handlers(requests: Requests) -> dict[str, Handler]:
    """Who answers each method of the table, but for Rights, which Dispatcher knows itself."""
    return {
        "Status": requests.status,
        "Figures": requests.figures,
        "Describe": requests.describe,
        "Events": requests.events,
        "Why": requests.why,
        "Explain": requests.explain,
        "Audit": requests.audit,
        "Ports": requests.ports,
        "Relations": requests.relations,
        "BootReport": requests.boot_report,
        "Start": requests.start,
        "Stop": requests.stop,
        "Restart": requests.restart,
        "Reload": requests.reload,
        "Kill": requests.kill,
        "Freeze": requests.freeze,
        "Thaw": requests.thaw,
        "ResetFailed": requests.reset_failed,
        "ReloadUnits": requests.reload_units,
        "Set": requests.set_keys,
        "Exec": requests.exec_command,
        "Try": requests.try_command,
        "Learn": requests.learn,
        "Shutdown": requests.shutdown,
        "ShutdownNow": requests.shutdown_now,
        "End": requests.end,
        "Upgrade": requests.upgrade,
    }

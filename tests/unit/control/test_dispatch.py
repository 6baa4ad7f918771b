import json
from typing import Any

import pytest

from supervisor.control.access import OBSERVE, OPERATE, Access, Peer, Rule
from supervisor.control.call import OpenCall
from supervisor.control.dispatch import Dispatcher
from supervisor.control.wire import read_call
from supervisor.model import report
from supervisor.model.request import Kill, Operate, Which
from tests.control_kit import DESCRIPTION, INTERFACE, STATUS, Desk, instance, message

ROOT = Peer(0, frozenset({0}), "control")
PUBLIC = Peer(1000, frozenset({1000}), "status")
MEMBER = Peer(1000, frozenset({1000, 50}), "control")


class Line:
    """One client: what it asks, and what it is sent."""

    def __init__(self, peer: Peer = ROOT, access: Access | None = None) -> None:
        self.peer = peer
        self.desk = Desk()
        self.dispatcher = Dispatcher(self.desk, access or Access(900, 50), "9.9")
        self.sent: list[dict[str, Any]] = []
        self.ended = False

    def ask(self, method: str, parameters: Any = None, **flags: Any) -> dict[str, Any]:
        """The last thing that was sent in answer."""
        envelope = read_call(message(method, parameters, **flags)[:-1])
        call = self.dispatcher.prepare(envelope, self.peer, self._send)
        if isinstance(call, OpenCall):
            call.run()
        else:
            self._send(call, True)
        return self.sent[-1] if self.sent else {}

    def _send(self, data: bytes, last: bool) -> None:
        if data:
            self.sent.append(json.loads(data[:-1]))
        self.ended = last


def error(reply: dict[str, Any]) -> str:
    return str(reply.get("error")).rpartition(".")[2]


def test_typed_parameters_reach_the_method_that_was_named() -> None:
    line = Line()
    line.ask("Stop", {"units": ["web*", "db/1"], "wait": False})
    line.ask("Kill", {"units": ["web"], "signal": 9})
    line.ask("Status")
    assert [(name, ask) for name, _, ask in line.desk.calls] == [
        ("Stop", Operate(("web*", "db/1"), wait=False)), ("Kill", Kill(("web",), 9)),
        ("Status", Which()),
    ]


@pytest.mark.parametrize("method, name", [
    ("Nonsense", "MethodNotFound"), ("start", "MethodNotFound"), ("__class__", "MethodNotFound"),
    ("org.varlink.service.Start", "MethodNotFound"), ("org.other.Start", "InterfaceNotFound"),
    (".Start", "InterfaceNotFound"), (f"{INTERFACE}.", "MethodNotFound"),
    (f"{INTERFACE}.Start.x", "InterfaceNotFound"), (f"{INTERFACE}.desk", "MethodNotFound"),
])
def test_what_is_not_in_the_table_is_not_found(method: str, name: str) -> None:
    line = Line()
    assert error(line.ask(method)) == name
    assert line.desk.calls == []


@pytest.mark.parametrize("parameters", [
    {}, {"units": []}, {"units": "web"}, {"units": ["web"], "pid": 1}, [], "web",
    {"units": ["web"], "wait": 1}, {"units": ["x" * 129]},
])
def test_parameters_are_checked_strictly(parameters: Any) -> None:
    line = Line()
    reply = line.ask("Start", parameters)
    assert error(reply) == "InvalidParameter"
    assert reply["parameters"]["message"]
    assert line.desk.calls == []


@pytest.mark.parametrize("signal", [0, 65, -9, 2**70, "TERM"])
def test_only_signals_that_exist_pass(signal: Any) -> None:
    assert error(Line().ask("Kill", {"units": ["web"], "signal": signal})) == "InvalidParameter"


def test_a_stream_must_be_asked_for_with_more() -> None:
    line = Line()
    assert error(line.ask("Events")) == "ExpectedMore"
    assert line.ask("Events", more=True) == {"parameters": {"ready": True}}


def test_nobody_may_change_the_protocol() -> None:
    assert Line().ask("Status", upgrade=True)["parameters"]["parameter"] == "upgrade"


def test_the_service_tells_what_it_is() -> None:
    line = Line(PUBLIC)
    info = line.ask("org.varlink.service.GetInfo")["parameters"]
    assert info["version"] == "9.9"
    assert info["interfaces"] == ["org.varlink.service", INTERFACE]
    for interface in info["interfaces"]:
        reply = line.ask("org.varlink.service.GetInterfaceDescription", {"interface": interface})
        assert f"\ninterface {interface}\n" in reply["parameters"]["description"]
    for wrong in ("../../../etc/passwd", "org.other", ""):
        reply = line.ask("org.varlink.service.GetInterfaceDescription", {"interface": wrong})
        assert error(reply) == "InterfaceNotFound"
    reply = line.ask("org.varlink.service.GetInterfaceDescription")
    assert (error(reply), reply["parameters"]["parameter"]) == ("InvalidParameter", "interface")


def test_a_oneway_call_is_done_and_not_answered() -> None:
    line = Line()
    line.ask("Stop", {"units": ["web"]}, oneway=True)
    assert [name for name, _, _ in line.desk.calls] == ["Stop"]
    assert (line.sent, line.ended) == ([], True)


def test_progress_goes_to_those_who_asked_for_more() -> None:
    progress = report.Outcome(progress=(report.Progress("web", "starting", "starting"),))
    for more in (True, False):
        line = Line()
        line.desk.held = {"Start"}
        line.ask("Start", {"units": ["web"]}, more=more)
        (_, call, _), = line.desk.calls
        call.progress(progress)
        call.reply(report.Outcome(results=()))
        call.reply(report.Outcome(results=()))
        call.progress(progress)
        call.fail(report.Failed("too late"))
        assert [reply.get("continues") for reply in line.sent] == [True, None][1 - more:]
        assert line.ended


def test_a_refusal_has_its_name_and_its_message() -> None:
    line = Line()
    line.desk.held = {"Start"}
    line.ask("Start", {"units": ["web"]})
    line.desk.calls[0][1].fail(report.NoSuchUnit("web", "cannot start web: no such unit"))
    assert line.sent == [{
        "error": f"{INTERFACE}.NoSuchUnit",
        "parameters": {"unit": "web", "message": "cannot start web: no such unit"},
    }]


def test_a_handler_that_raises_fails_its_call_and_is_heard_of() -> None:
    line = Line()
    line.desk.answers.clear()
    with pytest.raises(KeyError):
        line.ask("Start", {"units": ["web"]})
    assert error(line.sent[-1]) == "Failed"
    assert line.sent[-1]["parameters"]["message"] == (
        "cannot start: KeyError inside the supervisor; it goes on, and its own log tells more")


def test_what_is_private_is_seen_by_those_with_a_role_on_that_unit_only() -> None:
    access = Access(900, 50, (Rule(1000, None, OBSERVE, ("web",)),))
    both = report.StatusReply(
        (instance("web", status_text="secret"), instance("db/1", status_text="secret")),
        STATUS.supervisor,
    )
    for peer, seen in ((ROOT, ["secret", "secret"]), (MEMBER, ["secret", ""]), (PUBLIC, ["", ""])):
        line = Line(peer, access)
        line.desk.answers["Status"] = both
        reply = line.ask("Status")["parameters"]
        assert [row["status_text"] for row in reply["instances"]] == seen
        assert [row["key"] for row in reply["instances"]] == ["web", "db/1"]


def test_command_lines_and_definitions_never_cross_the_status_socket() -> None:
    whole = Line(ROOT).ask("Describe", {"unit": "web"})["parameters"]
    public = Line(PUBLIC).ask("Describe", {"unit": "web"})["parameters"]
    assert json.dumps(whole).count("secret") == 3
    assert "secret" not in json.dumps(public)
    assert public["tree"] == [{"pid": 42, "ppid": 1, "command": "", "memory_bytes": 4096}]
    assert (public["definition"], public["cgroup"]) == (None, DESCRIPTION.cgroup)
    assert public.keys() == whole.keys()


def test_explain_is_for_those_with_a_role_on_that_unit() -> None:
    access = Access(900, 50, (Rule(1000, None, OPERATE, ("web*",)),))
    line = Line(MEMBER, access)
    assert "steps" in line.ask("Explain", {"unit": "web/0"})["parameters"]
    assert error(line.ask("Explain", {"unit": "db"})) == "NotPermitted"
    assert error(Line(PUBLIC, access).ask("Explain", {"unit": "web"})) == "NotPermitted"
    assert len(line.desk.calls) == 1


def test_a_call_knows_which_units_its_peer_may_change() -> None:
    line = Line(MEMBER, Access(900, 50, (Rule(1000, None, OPERATE, ("web*",)),)))
    line.ask("Restart", {"units": ["*"]})
    call = line.desk.calls[0][1]
    assert [call.permits(unit) for unit in ("web", "web2/1", "db")] == [True, True, False]
    assert (call.uid, call.who) == (1000, "uid 1000")


def test_new_rules_count_from_the_next_call_on() -> None:
    line = Line(MEMBER)
    assert "parameters" in line.ask("Stop", {"units": ["web"]})
    line.dispatcher.access = Access(900, 50, (Rule(1000, None, OBSERVE),))
    reply = line.ask("Stop", {"units": ["web"]})
    assert reply["parameters"]["message"] == (
        "cannot stop: it needs the role operate, and uid 1000 has observe; nothing was done")


def test_everybody_is_told_what_they_may_do() -> None:
    rules = (Rule(1000, None, OBSERVE), Rule(None, 50, OPERATE, ("web*",)))
    told = Line(MEMBER, Access(900, 50, rules)).ask("Rights")["parameters"]
    assert told == {"uid": 1000, "grants": [
        {"role": "observe", "units": ["*"]}, {"role": "operate", "units": ["web*"]},
    ]}
    assert Line(ROOT).ask("Rights")["parameters"]["grants"] == [{"role": "admin", "units": ["*"]}]


@pytest.mark.parametrize("uid", [0, 900, 1000])
def test_on_the_status_socket_nobody_may_do_anything(uid: int) -> None:
    peer = Peer(uid, frozenset({uid, 50}), "status")
    assert Line(peer).ask("Rights")["parameters"] == {"uid": uid, "grants": []}

"""What goes over the wire, against the documents of those who receive it."""
from __future__ import annotations

import json
import re
from typing import Any

import pytest

from supervisor.agents.shipper.intake import Line
from supervisor.agents.shipper.loki import Loki
from supervisor.agents.shipper.otlp import Otlp
from supervisor.agents.shipper.syslog import Syslog
from tests.unit.agents.shipper_kit import TIME_NS, line, settings

LOST = line("12 bytes were lost: full", stream="lost", loss={"bytes": 12, "reason": "full"})


class Answers:
    """In place of a connection."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answer = b""
        self.error: Exception | None = None

    def send(self, body: bytes, _: float) -> bytes:
        self.bodies.append(json.loads(body))
        if self.error:
            raise self.error
        return self.answer


def loki(answers: Answers, **more: Any) -> Loki:
    made = Loki(settings("loki", **more))
    made._post = answers  # type: ignore[assignment]
    return made


def otlp(answers: Answers, **more: Any) -> Otlp:
    made = Otlp(settings("otlp", **more))
    made._post = answers  # type: ignore[assignment]
    return made


# --- Loki ---

def test_loki_gets_a_stream_for_each_source_in_order() -> None:
    answers = Answers()
    lines = [line("<3>a"), line("b", seq=9), line("c", stream="error"), line("d", instance=1)]
    assert loki(answers, labels={"cluster": "x"}).send(lines, 1) == 0
    labels = {"cluster": "x", "host": "here", "unit": "web"}
    assert answers.bodies == [{"streams": [
        {"stream": {**labels, "instance": "0", "stream": "output"}, "values": [
            [str(TIME_NS), "a", {"seq": "7", "level": "error"}],
            [str(TIME_NS + 1), "b", {"seq": "9"}],
        ]},
        {"stream": {**labels, "instance": "0", "stream": "error"},
         "values": [[str(TIME_NS), "c", {"seq": "7"}]]},
        {"stream": {**labels, "instance": "1", "stream": "output"},
         "values": [[str(TIME_NS), "d", {"seq": "7"}]]},
    ]}]


def test_loki_gets_no_metadata_where_it_takes_none() -> None:
    answers = Answers()
    loki(answers, metadata=False).send([line(partial=True)], 1)
    assert answers.bodies[0]["streams"][0]["values"] == [[str(TIME_NS), "hello"]]


def test_lines_of_one_time_have_times_of_their_own_and_the_same_when_tried_again() -> None:
    answers = Answers()
    one = loki(answers)
    answers.error = ConnectionError()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            one.send([line("a"), line("a"), line("a")], 1)
    answers.error = None
    one.send([line("a"), line("a"), line("a")], 1)
    one.send([line("a"), line("a", time_ns=TIME_NS + 100)], 1)
    times = [[int(value[0]) - TIME_NS for value in body["streams"][0]["values"]]
             for body in answers.bodies]
    assert times == [[0, 1, 2], [0, 1, 2], [0, 1, 2], [3, 100]]


def test_a_clock_that_was_set_back_is_believed() -> None:
    answers = Answers()
    loki(answers).send([line("a"), line("b", time_ns=TIME_NS - 5_000_000_000)], 1)
    assert answers.bodies[0]["streams"][0]["values"][1][0] == str(TIME_NS - 5_000_000_000)


# --- OTLP ---

def test_otlp_gets_a_resource_for_each_instance() -> None:
    answers = Answers()
    assert otlp(answers, labels={"a": "b"}).send([line("level=warn x"), line(instance=1)], 1) == 0
    first, second = answers.bodies[0]["resourceLogs"]
    assert first["resource"] == {"attributes": [
        {"key": "a", "value": {"stringValue": "b"}},
        {"key": "host.name", "value": {"stringValue": "here"}},
        {"key": "service.name", "value": {"stringValue": "web"}},
        {"key": "service.instance.id", "value": {"stringValue": "web/0"}},
    ]}
    assert first["scopeLogs"] == [{"scope": {"name": "unboxed"}, "logRecords": [{
        "timeUnixNano": str(TIME_NS), "observedTimeUnixNano": str(TIME_NS),
        "body": {"stringValue": "level=warn x"}, "severityNumber": 13, "severityText": "warning",
        "attributes": [
            {"key": "unboxed.seq", "value": {"intValue": "7"}},
            {"key": "log.iostream", "value": {"stringValue": "stdout"}},
        ],
    }]}]
    assert "severityNumber" not in second["scopeLogs"][0]["logRecords"][0]


def test_otlp_is_told_of_losses_and_pieces() -> None:
    answers = Answers()
    otlp(answers).send([LOST, line(partial=True, stream="error")], 1)
    lost, part = answers.bodies[0]["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert lost["severityNumber"] == 13
    assert {"key": "unboxed.lost_bytes", "value": {"intValue": "12"}} in lost["attributes"]
    assert {"key": "unboxed.partial", "value": {"boolValue": True}} in part["attributes"]
    assert {"key": "log.iostream", "value": {"stringValue": "stderr"}} in part["attributes"]


@pytest.mark.parametrize("answer, refused", [
    (b"", 0), (b"{}", 0), (b"<html>", 0), (b"[]", 0), (b'{"partialSuccess":{}}', 0),
    (b'{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"why"}}', 3),
    (b'{"partialSuccess":{"rejectedLogRecords":2}}', 2),
    (b'{"partialSuccess":{"rejectedLogRecords":"many"}}', 0),
])
def test_what_a_collector_refuses_of_a_batch_is_counted(answer: bytes, refused: int) -> None:
    answers = Answers()
    answers.answer = answer
    one = otlp(answers)
    assert one.send([line()], 1) == refused
    assert one.refused_why == ("why" if refused == 3 else "")


# --- syslog ---

FRAME = re.compile(rb"(\d+) ")


def frames(data: bytes) -> list[bytes]:
    """RFC 6587, 3.4.1."""
    found = []
    while data:
        head = FRAME.match(data)
        assert head
        end = head.end() + int(head[1])
        assert end <= len(data)
        found.append(data[head.end() : end])
        data = data[end:]
    return found


def syslog(line_: Line, **more: Any) -> str:
    (text,) = frames(Syslog(settings("syslog", scheme="tcp", **more))._frame(line_))
    return text.decode()


def test_a_syslog_message_is_that_of_rfc_5424() -> None:
    assert syslog(line("<2>caf\u00e9 \u2603"), labels={"site": "a"}) == (
        "<26>1 2026-11-21T13:00:00.123456Z here web 0 output"
        ' [unboxed@32473 unit="web" instance="0" seq="7" site="a"] caf\u00e9 \u2603')


def test_a_syslog_frame_counts_octets() -> None:
    one = Syslog(settings("syslog", scheme="tcp"))
    lines = [line(message) for message in ("", "\u2603" * 3, "a\0b\r", "x" * 100_000)]
    found = frames(b"".join(map(one._frame, lines)))
    assert [text.partition(b"] ")[2].decode() for text in found] == [
        one_line.message for one_line in lines]


@pytest.mark.parametrize("which, facility, priority", [
    (line(), 0, 6), (line(), 23, 190), (line("<0>x"), 3, 24), (LOST, 1, 12),
])
def test_a_priority_is_made_of_facility_and_severity(
    which: Line, facility: int, priority: int
) -> None:
    assert syslog(which, facility=facility).startswith(f"<{priority}>1 ")


def test_names_and_values_cannot_break_out_of_their_fields() -> None:
    text = syslog(line(unit="a b\n", partial=True), host_name="h \u00e9", labels={"k": '"]\\'})
    assert " h__ a_b_ 0 output [unboxed@32473 " in text
    assert r' k="\"\]\\"] hello' in text
    assert ' partial="true"' in text

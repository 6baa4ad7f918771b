"""Messages as programs send them, and whatever else comes: always one line of JSON."""
from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.agents.receive import journal, syslog
from supervisor.agents.receive.entry import LINE_BYTES, line, stamp
from supervisor.agents.receive.kernel import parse as kernel
from supervisor.model.structured import facts


def big(value: bytes) -> bytes:
    return len(value).to_bytes(8, "little") + value


# --- syslog ---


@pytest.mark.parametrize("data,expected", [
    (b"<30>Nov 21 13:00:00 sshd[123]: Accepted publickey",  # glibc, musl
     {"priority": 6, "facility": "daemon", "ident": "sshd", "said_pid": 123,
      "message": "Accepted publickey"}),
    (b"<11>Nov  1 03:00:00 cron: cannot: fork", {
        "priority": 3, "facility": "user", "ident": "cron", "message": "cannot: fork"}),
    (b"<13>hello\n\0", {"priority": 5, "facility": "user", "message": "hello"}),
    (b"<191>uwsgi: up", {"priority": 7, "facility": "local7", "ident": "uwsgi", "message": "up"}),
    (b"no header", {"priority": 5, "facility": "user", "message": "no header"}),
    (b"<192>x", {"priority": 5, "facility": "user", "message": "<192>x"}),
    (b"<6>", {"priority": 6, "facility": "kern", "message": ""}),
    (b"", {"priority": 5, "facility": "user", "message": ""}),
    (b"<14>a\nb\xff", {"priority": 6, "facility": "user", "message": "a\nb\\xff"}),
])
def test_the_old_form_has_a_priority_a_name_and_a_text(
    data: bytes, expected: dict[str, Any]
) -> None:
    assert syslog.parse(data) == expected


def test_the_new_form_has_a_time_and_structured_data() -> None:
    found = syslog.parse(
        b'<165>1 2026-11-21T13:00:00.003Z host evntslog 8 ID47 [ex@1 iut="3" q="a\\"]b"][y]'
        b" \xef\xbb\xbfAn event")
    assert found == {
        "priority": 5, "facility": "local4", "time": "2026-11-21T13:00:00.003Z",
        "ident": "evntslog", "msgid": "ID47", "said_pid": 8, "ex@1.iut": "3", "ex@1.q": 'a"]b',
        "message": "An event"}
    assert syslog.parse(b"<34>1 - - - - - -")["message"] == ""
    assert syslog.parse(b"<34>1 - - - - - [x")["message"] == "1 - - - - - [x", "it is none"


# --- the kernel ---


def test_a_record_of_the_kernel_has_its_number_its_time_and_its_facts() -> None:
    found = kernel(
        b"30,339,5140900,-,caller=T1;eth0: \\x5cup\\x0a\n SUBSYSTEM=net\n DEVICE=n2\n", 10**18)
    assert found == (339, {
        "priority": 6, "facility": "daemon", "ident": "kernel", "seq": 339,
        "time": "2001-09-09T01:46:45.140900Z", "message": "eth0: \\up\n", "subsystem": "net",
        "device": "n2"})
    part = kernel(b"6,1,0,c;first ", 0)
    assert part is not None
    assert part[1]["continues"] is True
    assert kernel(b"nonsense", 0) is None


# --- the journal's socket ---


def test_fields_of_a_line_and_of_any_bytes() -> None:
    found = journal.parse(
        b"MESSAGE\n" + big(b"two\nlines") + b"\nPRIORITY=3\nSYSLOG_IDENTIFIER=app\nCODE_LINE=7\n"
        b"SYSLOG_FACILITY=4\nSYSLOG_PID=9\nDATA\n" + big(b"\xff\0") + b"\n")
    assert {key: value for key, value in found.items() if value is not None} == {
        "priority": 3, "facility": "auth", "ident": "app", "said_pid": 9, "message": "two\nlines",
        "CODE_LINE": "7", "DATA": "\\xff\0"}


def test_trusted_names_and_what_is_no_name_are_left_out_and_counted() -> None:
    found = journal.parse(b"_UID=0\nmessage=x\n=y\nMESSAGE=z\nPRIORITY=99\n" + b"A" * 65 + b"=1\n")
    assert (found["message"], found["priority"], found["left_out"]) == ("z", 6, 4)
    assert "_UID" not in found
    assert "message" in found


@pytest.mark.parametrize("data", [
    b"MESSAGE\n", b"MESSAGE\n\1", b"MESSAGE\n" + b"\xff" * 8, b"MESSAGE\n" + big(b"abc")[:-1],
    b"OK=1\nMESSAGE\n" + (2**63).to_bytes(8, "little") + b"x",
])
def test_what_is_cut_short_does_not_count(data: bytes) -> None:
    assert journal.parse(data)["message"] == ""


def test_many_and_large_fields_are_bounded() -> None:
    data = b"".join(b"F%d=" % number + b"x" * 20_000 + b"\n" for number in range(300))
    found = journal.parse(data + b"MESSAGE=late\n")
    assert found["left_out"] >= 300 - 128
    assert len(line(found)) <= LINE_BYTES


# --- lines ---

BYTES = st.binary(max_size=2000) | st.builds(
    b"".join, st.lists(st.sampled_from([
        b"<14>", b"1 ", b"- ", b"[a", b' b="', b'"', b"]", b"\\", b"MESSAGE", b"=", b"\n", b"\0",
        b"PRIORITY=", b"9", b"7,", b"1,", b"-;", b" A=b\n", b"Nov 21 13:00:00 ", b"x[1]: ",
        b"\x05" + b"\0" * 7, b"\xff", "→".encode(), b"\x1b"]), max_size=60))


@settings(max_examples=150, deadline=None)
@given(BYTES)
def test_whatever_comes_becomes_one_line_that_can_be_read_back(data: bytes) -> None:
    entries = [syslog.parse(data), journal.parse(data)]
    if found := kernel(data, 0):
        entries.append(found[1])
    for entry in entries:
        made = line({"source": "x", **entry})
        assert made.endswith(b"\n")
        assert made.count(b"\n") == 1
        assert json.loads(made)["message"] == entry["message"]
        priority, fields = facts(made[:-1])
        assert priority == entry["priority"]
        assert fields["source"] == "x"


@pytest.mark.parametrize("piece", ["x", "\0", "→", "\U0001f600", "\ud800"])
def test_a_line_is_never_longer_than_the_logger_keeps_in_one_piece(piece: str) -> None:
    text = piece * 200_000
    made = line({"priority": 3, "message": text, "FIELD": "y" * 50_000, "A": "b"})
    assert len(made) <= LINE_BYTES
    found = json.loads(made)
    assert text.encode("utf-8", "backslashreplace").startswith(
        found["message"].encode("utf-8", "backslashreplace"))
    assert found["cut"] == len(text.encode("utf-8", "backslashreplace"))
    assert found["priority"] == 3


@pytest.mark.parametrize("read", [journal.parse, syslog.parse])
@pytest.mark.parametrize("piece", [b"\x01", b"\xff", b"x"])
def test_a_message_as_it_is_read_is_never_too_long(
    piece: bytes, read: Callable[[bytes], dict[str, Any]]
) -> None:
    text = line(read(b"MESSAGE=" + piece * 48_000))
    assert len(text) <= LINE_BYTES
    assert len(json.loads(text)["message"]) > 1000


def test_a_hostile_header_takes_no_longer_than_any_other() -> None:
    head = b"<14>1 - - - - - "
    for tail in (b"[a" * 40_000, b'[a b="' + b"\\" * 80_000, b'[a b="c"' * 10_000, b"[" * 80_000,
                 b"[a" + b' b="c"' * 20_000, b"[a]" * 40_000):
        began = time.monotonic()
        syslog.parse(head + tail)
        assert time.monotonic() - began < 2


def test_times_are_in_utc() -> None:
    assert stamp(1_795_000_000_123_456_789) == "2026-11-18T11:06:40.123456Z"

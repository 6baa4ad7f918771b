"""The shipper between real pipes and a real HTTP server that does not always do as it should."""
from __future__ import annotations

import os
import select
import ssl
import time
from pathlib import Path

import pytest

from tests.scenario.agents import shipping
from tests.scenario.agents.shipping import Receiver, Shipper, fed, status

FAST = "batch_seconds = 0.05\ntimeout_seconds = 0.5\n"


def loki(port: int, more: str = FAST) -> str:
    return f'to = "loki"\nurl = "http://127.0.0.1:{port}"\nhost_name = "here"\n{more}'


def test_lines_are_delivered_in_order_and_then_acknowledged(tmp_path: Path) -> None:
    with Receiver() as receiver, Shipper(tmp_path, loki(receiver.port)) as shipper:
        shipper.feed(*map(fed, range(3)))
        shipper.wait_acknowledged("web@3")
        shipper.feed(*map(fed, range(3, 20_000)))
        shipper.wait_acknowledged(f"web@{20_000:x}")
        assert receiver.loki_lines() == [f"line {number}" for number in range(20_000)]
        first = receiver.requests[0]
        assert first.path == "/loki/api/v1/push"
        assert first.headers["content-encoding"] == "gzip"
        assert first.headers["content-type"] == "application/json"
        assert first.body["streams"][0]["stream"] == {
            "host": "here", "unit": "web", "instance": "0", "stream": "output"}
        assert max(len(request.body["streams"][0]["values"])
                   for request in receiver.requests) < 6_000
        assert shipper.said() == ""


@pytest.mark.parametrize("answers, words", [
    ([status(500, b"out of memory")], "it answers 500 Internal Server Error: out of memory"),
    ([status(503)] * 2, "it answers 503 Service Unavailable"),
    ([status(401, b"who?")], "it answers 401 Unauthorized: who?"),
    ([status(302, Location="http://127.0.0.1:1/")], "it answers 302 Found"),
    ([shipping.hang_up], "Remote end closed connection without response"),
    ([shipping.half_an_answer], "what it answers is no HTTP"),
    ([shipping.garbage], "what it answers is no HTTP"),
    ([shipping.silence], "it does not answer in time"),
])
def test_what_is_not_taken_is_sent_until_it_is(
    tmp_path: Path, answers: list[shipping.Answer], words: str
) -> None:
    count = len(answers)
    with Receiver(*answers) as receiver, Shipper(tmp_path, loki(receiver.port)) as shipper:
        shipper.feed(fed(0), fed(1))
        shipper.wait_said(words)
        assert shipper.acknowledged() == ""
        shipper.wait_acknowledged("web@2")
        assert receiver.loki_lines() == ["line 0", "line 1"] * (count + 1)
        shipper.wait_said("again, after")
        assert shipper.said().count("\n") == 2


def test_a_receiver_that_asks_for_patience_gets_it(tmp_path: Path) -> None:
    patience = status(429, Retry_After="2")
    with Receiver(patience) as receiver, Shipper(tmp_path, loki(receiver.port)) as shipper:
        began = time.monotonic()
        shipper.feed(fed(0))
        shipper.wait_acknowledged("web@1")
        assert time.monotonic() - began >= 2
        assert len(receiver.requests) == 2


def test_a_receiver_that_comes_late_gets_all(tmp_path: Path) -> None:
    with shipping.free_port() as port:
        shipper = Shipper(tmp_path, loki(port))
    with shipper:
        shipper.feed(*map(fed, range(100)))
        shipper.wait_said("Connection refused; ")
        with Receiver(port=port) as receiver:
            shipper.wait_acknowledged("web@64")
            assert receiver.loki_lines() == [f"line {number}" for number in range(100)]


def test_a_connection_that_was_closed_while_idle_is_no_failure(tmp_path: Path) -> None:
    with (
        Receiver(shipping.last_answer, shipping.last_answer) as receiver,
        Shipper(tmp_path, loki(receiver.port)) as shipper,
    ):
        for number in range(3):
            shipper.feed(fed(number))
            shipper.wait_acknowledged(f"web@{number + 1:x}")
        assert receiver.loki_lines() == ["line 0", "line 1", "line 2"]
        assert shipper.said() == ""


def test_what_is_refused_for_good_is_told_and_not_sent_again(tmp_path: Path) -> None:
    never = status(400, b"entry too far behind")
    with Receiver(never) as receiver, Shipper(tmp_path, loki(receiver.port)) as shipper:
        shipper.feed(fed(0), fed(1))
        shipper.wait_acknowledged("web@2")
        shipper.feed(fed(2))
        shipper.wait_acknowledged("web@3")
        assert receiver.loki_lines() == ["line 0", "line 1", "line 2"]
        assert "cannot deliver 2 lines to http://127.0.0.1:" in shipper.said()
        assert "it answers 400 Bad Request: entry too far behind; they are not" in shipper.said()


def test_what_is_too_large_is_sent_in_parts(tmp_path: Path) -> None:
    too_large = status(413)
    with Receiver(too_large) as receiver, Shipper(tmp_path, loki(receiver.port)) as shipper:
        shipper.feed(*map(fed, range(4)))
        shipper.wait_acknowledged("web@4")
        found = [len(request.body["streams"][0]["values"]) for request in receiver.requests]
        assert found == [4, 2, 2]
        assert shipper.said() == ""


def test_headers_and_a_token_go_with_each_request(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    more = f"""{FAST}gzip = false
        headers = {{X-Scope-OrgID = "tenant"}}
        auth = {{bearer = "{tmp_path}/token"}}"""
    with Receiver() as receiver, Shipper(tmp_path, loki(receiver.port, more)) as shipper:
        shipper.feed(fed(0))
        shipper.wait_acknowledged("web@1")
        headers = receiver.requests[0].headers
        assert (headers["x-scope-orgid"], headers["authorization"]) == ("tenant", "Bearer s3cret")
        assert "content-encoding" not in headers


def test_a_collector_may_refuse_a_part(tmp_path: Path) -> None:
    partial = status(
        200, b'{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too long"}}')
    with Receiver(partial) as receiver:
        settings = f'to = "otlp"\nurl = "http://127.0.0.1:{receiver.port}"\n{FAST}'
        with Shipper(tmp_path, settings) as shipper:
            shipper.feed(fed(0), fed(1))
            shipper.wait_acknowledged("web@2")
            (request,) = receiver.requests
            assert request.path == "/v1/logs"
            records = request.body["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
            assert [record["body"]["stringValue"] for record in records] == ["line 0", "line 1"]
            shipper.wait_said("cannot deliver 1 lines to http://127.0.0.1:")
            assert "too long; they are not sent again" in shipper.said()


# --- the end ---

def test_at_the_end_of_input_the_rest_is_delivered(tmp_path: Path) -> None:
    slow = "batch_seconds = 60\n"
    with Receiver() as receiver, Shipper(tmp_path, loki(receiver.port, slow)) as shipper:
        shipper.feed(fed(0), fed(1))
        shipper.end_input()
        assert shipper.wait() == 0
        assert shipper.acknowledged() == "web@2"
        assert receiver.loki_lines() == ["line 0", "line 1"]
        assert shipper.said() == "shipper: delivered 2 lines; 0 were refused\n"


def test_a_sigterm_delivers_what_was_read(tmp_path: Path) -> None:
    slow = "batch_seconds = 60\nbatch_lines = 2\n"
    with Receiver() as receiver, Shipper(tmp_path, loki(receiver.port, slow)) as shipper:
        shipper.feed(fed(0), fed(1))
        shipper.wait_acknowledged("web@2")  # it can take a signal
        shipper.feed(fed(2))
        while shipping_reads(shipper):
            time.sleep(0.01)
        shipper.terminate()
        assert shipper.wait() == 0
        assert shipper.acknowledged() == "web@3"
        assert receiver.loki_lines() == ["line 0", "line 1", "line 2"]


def shipping_reads(shipper: Shipper) -> bool:
    """Whether something is left in its pipe."""
    import fcntl

    return bool(int.from_bytes(fcntl.ioctl(shipper.lines, 0x541B, bytes(4)), "little"))


@pytest.mark.parametrize("how", ["SIGTERM", "end of input"])
def test_the_end_does_not_wait_for_a_receiver_that_is_away(tmp_path: Path, how: str) -> None:
    with shipping.free_port() as port:
        settings = loki(port, FAST + "end_seconds = 0.5\n")
        with Shipper(tmp_path, settings) as shipper:
            shipper.feed(fed(0))
            shipper.wait_said("cannot deliver")
            began = time.monotonic()
            if how == "SIGTERM":
                shipper.terminate()
            else:
                shipper.end_input()
                shipper.terminate()
            assert shipper.wait() == 0
            assert time.monotonic() - began < 5
            assert shipper.acknowledged() == ""
            assert "1 lines were not delivered; they are sent at the next start" in shipper.said()


def test_memory_is_bounded_while_a_receiver_is_away(tmp_path: Path) -> None:
    with shipping.free_port() as port, Shipper(tmp_path, loki(port)) as shipper:
        os.set_blocking(shipper.lines, False)
        number = written = 0
        while written < 50 << 20:
            if not select.select([], [shipper.lines], [], 1.0)[1]:
                break
            try:
                written += os.write(shipper.lines, fed(number, "x" * 2000))
            except BlockingIOError:
                continue
            number += 1
        assert written < 20 << 20  # it stopped reading: the log files are the buffer
        assert shipper.memory_kib() < 64 << 10


# --- TLS ---

@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    shipping.certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


@pytest.mark.parametrize("table, words", [
    ("", "certificate is not trusted: "),
    ('ca = "{home}/ca.pem"', ""),
    ('ca = "{home}/ca.pem"\nserver_name = "receiver.test"', ""),
    ('ca = "{home}/ca.pem"\nserver_name = "other.test"', "certificate is not trusted: "),
    ("verify = false", ""),
])
def test_a_receiver_is_who_its_certificate_says(
    tmp_path: Path, tls: ssl.SSLContext, table: str, words: str
) -> None:
    with Receiver(tls=tls) as receiver:
        settings = f'to = "loki"\nurl = "https://localhost:{receiver.port}"\n{FAST}'
        settings += "[tls]\n" + table.format(home=tmp_path) if table else ""
        with Shipper(tmp_path, settings) as shipper:
            shipper.feed(fed(0))
            if words:
                shipper.wait_said(words)
                assert receiver.requests == []
            else:
                shipper.wait_acknowledged("web@1")
                assert receiver.loki_lines() == ["line 0"]


@pytest.mark.parametrize("known", [True, False])
def test_a_receiver_may_ask_who_we_are(
    tmp_path: Path, tls: ssl.SSLContext, known: bool
) -> None:
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(tmp_path / "ca.pem")
    with Receiver(tls=tls) as receiver:
        settings = (f'to = "loki"\nurl = "https://localhost:{receiver.port}"\n{FAST}'
                    f'[tls]\nca = "{tmp_path}/ca.pem"\n')
        if known:
            settings += f'cert = "{tmp_path}/cert.pem"\nkey = "{tmp_path}/key.pem"\n'
        with Shipper(tmp_path, settings) as shipper:
            shipper.feed(fed(0))
            if known:
                shipper.wait_acknowledged("web@1")
            else:
                shipper.wait_said("cannot deliver to https://localhost:")
                assert receiver.requests == []
                assert shipper.acknowledged() == ""


# --- settings ---

def test_wrong_settings_end_it_with_their_line(tmp_path: Path) -> None:
    with Shipper(tmp_path, 'to = "loki"\nurl = "loki"\n') as shipper:
        assert shipper.wait() == 2
    at = f"{tmp_path}/shipper.toml:2"
    assert shipper.said().startswith(f"shipper: {at}: url: cannot use 'loki': write it like ")


def test_files_that_are_no_certificates_are_refused(tmp_path: Path) -> None:
    settings = 'to = "loki"\nurl = "https://localhost:1"\ntls = {ca = "/dev/null"}\n'
    with Shipper(tmp_path, settings) as shipper:
        assert shipper.wait() == 2
    assert "cannot use the TLS files: " in shipper.said()


def test_settings_can_be_checked(tmp_path: Path) -> None:
    with Shipper(tmp_path, loki(1), "--check") as shipper:
        assert shipper.wait() == 0
    assert shipper.said() == ""

"""The dashboard's server on a real socket: who has not got in keeps nobody out."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Receive, Scope, Send

from supervisor.agents.dashboard import server as module
from supervisor.agents.dashboard.server import QuietServer, listen

WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LATE_S = 0.5  # for the answer: longer than a request may take


async def slowly(_: Scope, receive: Receive, send: Send) -> None:
    await receive()
    head = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await asyncio.sleep(LATE_S)
    await send({"type": "http.response.body", "body": b"late"})


Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def meet(monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
    monkeypatch.setattr(module, "REQUEST_S", LATE_S / 5)

    async def run() -> None:
        server = QuietServer(slowly, lambda: None)
        sock = listen("127.0.0.1", 0)
        serving = asyncio.ensure_future(server.serve([sock]))
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        await asyncio.wait_for(act(reader, writer), 20)
        writer.close()
        server.end()
        await serving

    asyncio.run(run())


@pytest.mark.parametrize("begun", [b"", WHOLE[:-2]])
def test_who_does_not_ask_is_sent_away(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        assert await reader.read() == b""

    meet(monkeypatch, wait)


def test_an_answer_takes_its_time_and_the_next_request_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(WHOLE)
            assert (await reader.readuntil(b"late")).startswith(b"HTTP/1.1 200")
        writer.write(WHOLE[:-2])
        assert await reader.read() == b""

    meet(monkeypatch, twice)


def test_what_is_no_http_is_not_written_down(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def rave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x16\x03\x01\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")

    meet(monkeypatch, rave)
    assert capfd.readouterr().err == ""

"""A supervisor as clients see it: real sockets and the real wire form, answers from a test.

Law: it says only what the interface file allows; a test of the interface proves that elsewhere.
"""
from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

INTERFACE = "io.unboxed.Supervisor."
NOW_NS = time.time_ns()  # when the tests were gathered
MINUTE_NS = 60 * 10**9

Answer = Callable[[dict[str, Any]], Any]


class Outcome(NamedTuple):
    """Of one command line."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


class Refusal(Exception):
    """Answer with this error."""

    def __init__(self, name: str, **parameters: Any) -> None:
        super().__init__(name)
        self.name = name
        self.parameters = parameters


class FakeSupervisor:
    """`answers[METHOD]` is called with the parameters: a dict is the reply, an iterator gives the
    replies of a streaming call. `asked` lists what came, as (method, parameters)."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self.instances: list[dict[str, Any]] = []
        self.supervisor: dict[str, Any] = {
            "version": "0.1.0", "pid": 4000, "keeper_pid": 3999, "manager_starts": 1,
            "tracking": "cgroup", "started_ns": NOW_NS - 60 * MINUTE_NS, "units": 0,
        }
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Answer] = {"Status": self._status}
        self._listeners: list[socket.socket] = []

    def listen(self) -> None:
        for name in ("control", "status"):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(self.runtime / name))
            listener.listen(16)
            self._listeners.append(listener)
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            for request in _messages(connection):
                method = request["method"].removeprefix(INTERFACE)
                parameters = request.get("parameters") or {}
                self.asked.append((method, parameters))
                try:
                    self._answer(connection, method, parameters)
                except Refusal as refusal:
                    name = refusal.name if "." in refusal.name else INTERFACE + refusal.name
                    _send(connection, {"error": name, "parameters": refusal.parameters})

    def _answer(
        self, connection: socket.socket, method: str, parameters: dict[str, Any]
    ) -> None:
        if method not in self.answers:
            raise Refusal("org.varlink.service.MethodNotFound", method=method)
        answer = self.answers[method](parameters)
        if isinstance(answer, dict):
            _send(connection, {"parameters": answer})
            return
        replies = list(answer) if isinstance(answer, list) else answer
        held = None
        for reply in replies:
            if held is not None:
                _send(connection, {"parameters": held, "continues": True})
            held = None
            if isinstance(reply, dict) and ("progress" in reply or "ready" in reply
                                            or "event" in reply):
                _send(connection, {"parameters": reply, "continues": True})
            else:
                held = reply
        if held is not None:
            _send(connection, {"parameters": held})
        else:
            connection.shutdown(socket.SHUT_RDWR)

    def _status(self, parameters: dict[str, Any]) -> dict[str, Any]:
        wanted = parameters.get("units")
        found = [one for one in self.instances
                 if not wanted or one["key"] in wanted or one["unit"] in wanted]
        for name in wanted or ():
            if not any(name in (one["key"], one["unit"]) for one in found):
                raise Refusal("NoSuchUnit", unit=name, message=f"no unit is called {name}")
        return {"instances": found, "supervisor": self.supervisor}


def _messages(connection: socket.socket) -> Iterator[dict[str, Any]]:
    buffer = b""
    while data := connection.recv(65536):
        buffer += data
        while b"\0" in buffer:
            text, _, buffer = buffer.partition(b"\0")
            yield json.loads(text)


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\0")


def instance(key: str, state: str = "running", **fields: Any) -> dict[str, Any]:
    """An InstanceStatus."""
    return {
        "key": key, "unit": key.partition("/")[0], "state": state, "goal": "up", "phase": "up",
        "since_ns": NOW_NS - 3 * MINUTE_NS, "pid": 0, "ready": state == "running", "restarts": 0,
        "last_exit": "", "reason": "", "status_text": "", "memory_bytes": None, "cpu_ns": None,
        "tasks": None, "tracking": "cgroup", "next_try_ns": None, "deadline_ns": None,
        "waiting_for": [], "stale": False, "removed": False, "description": "", **fields,
    }


def transition(
    number: int, key: str, source: str, target: str, cause: str, cause_id: int = 0
) -> dict[str, Any]:
    return {"id": number, "key": key, "time_ns": NOW_NS, "from": source, "to": target,
            "cause": cause, "cause_id": cause_id}

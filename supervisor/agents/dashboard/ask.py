"""Calls to the supervisor that hold up nobody: each blocks in a thread of its own.

Law: at most WAITING of them at a time, and each ends by itself: a supervisor that hangs costs that
many threads, and whoever asks meanwhile is told at once.
"""
from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from supervisor.control.client import Client, ControlError, Silent, Unreachable, connect

WAITING = 24
ANSWER_S = 10.0

T = TypeVar("T")
Kind = Literal["control", "status"]


class Asker:
    """Of the supervisor of that runtime directory. `prefer` "status": its status socket in any
    case. `kind`: the socket of the last answer."""

    def __init__(self, runtime_dir: str, prefer: Kind) -> None:
        self.runtime_dir = runtime_dir
        self.kind: Kind = prefer
        self.denied = ""  # why it is not the control socket
        self._prefer: Kind = prefer
        self._under_way = 0

    def _connect(self) -> Client:
        """In a sandbox that shows the status socket alone, the other one is not there at all."""
        try:
            client = connect(self.runtime_dir, self._prefer)
        except Unreachable:
            if not os.path.exists(f"{self.runtime_dir}/status"):
                raise
            client = Client(self.runtime_dir, "status")
        self.kind, self.denied = client.kind, client.denied
        return client

    async def call(
        self, method: str, parameters: Mapping[str, Any] | None = None,
        timeout_s: float = ANSWER_S,
    ) -> dict[str, Any]:
        """Raises ControlError."""
        def ask() -> dict[str, Any]:
            with self._connect() as client:
                return client.call(method, parameters, timeout_s)

        return await self._in_thread(ask)

    async def operate(self, method: str, key: str) -> list[dict[str, Any]]:
        """Have it done, however long that takes; the results. Raises ControlError."""
        def ask() -> list[dict[str, Any]]:
            with self._connect() as client:
                for reply in client.stream(method, {"units": [key]}, ANSWER_S):
                    if reply.get("results") is not None:
                        return list(reply["results"])
            return []

        return await self._in_thread(ask)

    def events(self, heard: Callable[[dict[str, Any]], None]) -> None:
        """Blocks: every reply to Events, until the connection ends. Raises ControlError."""
        with self._connect() as client:
            for reply in client.stream("Events"):
                heard(reply)

    async def _in_thread(self, act: Callable[[], T]) -> T:
        if self._under_way >= WAITING:
            raise Silent(
                f"cannot ask the supervisor: {WAITING} questions wait for its answer already;"
                " ask again when it answers", 5)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            self._under_way -= 1
            if done.cancelled():
                return
            if error is None:
                done.set_result(result)  # type: ignore[arg-type] # None only if it is the result
            else:
                done.set_exception(error)

        def run() -> None:
            result, problem = None, None
            try:
                result = act()
            except ControlError as exc:
                problem = exc
            except Exception as exc:  # noqa: BLE001 - whoever waits must hear of it, not a thread
                problem = ControlError(f"cannot ask the supervisor: {type(exc).__name__}: {exc}")
            try:
                loop.call_soon_threadsafe(settle, result, problem)
            except RuntimeError:
                return  # the loop has ended: nobody waits

        self._under_way += 1
        threading.Thread(target=run, daemon=True).start()
        return await done

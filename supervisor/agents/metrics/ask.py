"""What a scrape asks the supervisor: small calls, so that nobody else waits long for an answer.

Law: on the status socket, as anybody may. The supervisor reads some ten small files for each unit,
so units are asked for by CHUNK. A manager that is replaced meanwhile is asked again, until
PATIENCE_S are over.
"""
from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from supervisor.control.client import Client, ControlError, Lost, Unreachable
from supervisor.model.paths import paths

CHUNK = 32  # units of one call: some 4 ms of the manager's time
PATIENCE_S = 5.0  # a Prometheus waits for 10 s, if it was not told otherwise
_BEGINS_S = 0.5
_CALL_S = 3.0
_AGAIN_S = 0.05
_AHEAD = 2
_GONE = "io.unboxed.Supervisor.NoSuchUnit"

Row = Mapping[str, Any]
Pair = tuple[Row, Row]  # InstanceFigures and InstanceStatus of one instance
Result = TypeVar("Result")


def runtime_dir(environ: Mapping[str, str]) -> str:
    """Where the supervisor's status socket is: an agent is told by UNBOXED_STATUS."""
    status = environ.get("UNBOXED_STATUS")
    return os.path.dirname(status) if status else paths(environ, os.geteuid()).runtime


def patiently(runtime: str, ask: Callable[[Client], Result]) -> Result:
    """What `ask` finds out, from the beginning again where the manager was replaced meanwhile.
    Raises ControlError if there is no answer in time."""
    began = time.monotonic()
    while True:
        try:
            with Client(runtime, "status") as client:
                return ask(client)
        except (Lost, Unreachable) as error:
            # The sockets outlive a manager, and the next one answers on them: where there are none
            # there is no supervisor, unless it begins just now.
            patience = PATIENCE_S if isinstance(error, Lost) else _BEGINS_S
            if time.monotonic() + _AGAIN_S > began + patience:
                raise
            time.sleep(_AGAIN_S)


def figures(client: Client) -> Row:
    """What `Figures` tells of all. Raises ControlError."""
    return client.call("Figures", {}, _CALL_S)


def statuses(client: Client, told: Row) -> Iterator[list[Pair]]:
    """Those of which figures were told and that are still there, some at a time. Two calls are on
    their way: while one answer is worked up here, the next is made there. Raises ControlError."""
    rows: dict[str, Row] = {row["key"]: row for row in told["instances"]}
    keys = list(rows)
    chunks = deque(keys[at : at + CHUNK] for at in range(0, len(keys), CHUNK))
    asked: deque[list[str]] = deque()
    while chunks or asked:
        while chunks and len(asked) < _AHEAD:
            asked.append(chunks.popleft())
            client.ask("Status", {"units": asked[-1], "usage": True})
        chunk = asked.popleft()
        try:
            found = client.answer(_CALL_S)["instances"]
        except ControlError as error:
            gone = error.parameters.get("unit")
            if error.name != _GONE or gone not in chunk:
                raise
            if rest := [key for key in chunk if key != gone]:
                chunks.append(rest)
        else:
            yield [(rows[row["key"]], row) for row in found if row["key"] in rows]

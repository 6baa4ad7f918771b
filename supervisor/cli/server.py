"""The supervisor, as verbs see it: calls that answer or raise Failure, and documents for --json."""
from __future__ import annotations

import os
import sys

from supervisor.cli.call import NOT_PERMITTED, NOT_RUNNING, Call, Failure
from supervisor.control.client import ANSWER_S, Client, ControlError, connect
from supervisor.model.paths import Paths, paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Self


class Server:
    """A connection for as long as the `with` block lasts. `doing` completes "cannot ..." where an
    error's message does not say so itself. `timeout_s`: for each answer of `call`. `place` tells
    where a problem with a unit is (default: its file, line and key)."""

    def __init__(
        self, call: Call, doing: str, timeout_s: float = ANSWER_S,
        place: Callable[[dict[str, Any]], tuple[str, ...]] | None = None,
    ) -> None:
        self._place = place or _place
        self._paths = call.asked()
        self._doing = doing
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        if self._paths.shared_tmp:
            _distrust(self._paths)
        try:
            self._client: Client = connect(self._paths.runtime)
        except ControlError as error:
            failure = self._failure(error)
            if failure.code == NOT_RUNNING:
                failure.text = _too_early(self._paths) or failure.text + _elsewhere(self._paths)
            raise failure from None
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._client.call(method, parameters, self._timeout_s)
        except ControlError as error:
            raise self._failure(error) from None

    def fileno(self) -> int:
        return self._client.fileno()

    def stream(
        self, method: str, parameters: dict[str, Any], fds: Sequence[int] = ()
    ) -> Iterator[dict[str, Any]]:
        """The replies of a call that goes on, however long it takes. `fds` are sent along."""
        try:
            yield from self._client.stream(method, parameters, timeout_s=None, fds=fds)
        except ControlError as error:
            raise self._failure(error) from None

    def _failure(self, error: ControlError) -> Failure:
        text = error.message
        verb, colon, rest = text.partition(": ")
        if not text.startswith("cannot "):
            text = f"cannot {self._doing}: {text}"
        elif colon and self._doing.startswith(verb.removeprefix("cannot ") + " "):
            text = f"cannot {self._doing}: {rest}"  # it named the method; we know the units too
        for problem in error.parameters.get("problems") or ():
            text += "\n" + ": ".join(filter(None, (*self._place(problem), problem["message"])))
        return Failure(text, error.code)


def _place(problem: dict[str, Any]) -> tuple[str, ...]:
    file, line = problem["file"], problem["line"]
    return f"{file}:{line}" if line else file, problem["key"]


def _too_early(where: Paths) -> str:
    """Where our own PID 1 is to start the supervisor, nobody else need do it."""
    from supervisor.cli.first_process import KEEPER, name

    if where.runtime != paths({}, 0).runtime or name() != KEEPER:
        return ""
    return (f"cannot reach the supervisor at {where.control}: PID 1 is {KEEPER}, and has not"
            " started it; the boot has not come so far, and goes on when the rescue shell ends")


def _elsewhere(where: Paths) -> str:
    """Where a user's own supervisor is not running, the system's may be what was meant."""
    system = paths({}, 0)
    if where.runtime != system.runtime and os.path.exists(system.status):
        return f"; the system's own is at --runtime-dir {system.runtime}"
    return ""


def _distrust(where: Paths) -> None:
    """In /tmp anybody could have made the directory and answer in the supervisor's place."""
    try:
        found = os.lstat(where.runtime)
    except OSError:
        return  # then there is no supervisor, which connecting will tell
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise Failure(
            f"cannot trust {where.runtime}: uid {found.st_uid} owns it with mode"
            f" {found.st_mode & 0o7777:o}; set XDG_RUNTIME_DIR, or name another --runtime-dir",
            NOT_PERMITTED)


def print_json(document: object, *, line: bool = False) -> None:
    """One document: indented on a terminal, on one line elsewhere (the encoder is ten times as fast
    without). `line`: it is one of many, each to be sent at once."""
    import json

    if sys.stdout.isatty() and not line:
        text = json.dumps(document, ensure_ascii=False, indent=2)
    else:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    print(text, flush=line)

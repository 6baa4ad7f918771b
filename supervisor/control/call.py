"""One call that a client waits on, until it is answered or the client leaves."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from supervisor.control.access import ADMIN, OBSERVE, Rights
from supervisor.control.methods import INTERFACE, Method
from supervisor.control.wire import write_error, write_reply
from supervisor.model.report import Refusal


class OpenCall:
    """See `model.request.Call`. `send(data, last)` writes to the client, and is None from when the
    call is over for it. `run()` has it answered; whoever made the call sets it."""

    __slots__ = ("_method", "_rights", "closed", "fds", "more", "oneway", "run", "send", "uid")

    run: Callable[[], None]

    def __init__(
        self, method: Method, rights: Rights, uid: int, *, more: bool, oneway: bool,
        send: Callable[[bytes, bool], None],
    ) -> None:
        self._method = method
        self._rights = rights
        self.uid = uid
        self.more = more
        self.oneway = oneway
        self.send: Callable[[bytes, bool], None] | None = send
        self.closed: Callable[[], None] | None = None
        self.fds: tuple[int, ...] = ()

    @property
    def who(self) -> str:
        return f"uid {self.uid}"

    def permits(self, unit: str) -> bool:
        if self._method.redact is not None:
            return True  # whoever gets this far may ask, and gets what it may see
        return self._rights.on(unit) >= self._method.role

    def reply(self, answer: Struct) -> None:
        if self.send is not None:
            self._last(b"" if self.oneway else write_reply(self._shown(answer)))

    def progress(self, answer: Struct) -> None:
        if self.send is not None and self.more and not self.oneway:
            self.send(write_reply(self._shown(answer), continues=True), False)

    def fail(self, refusal: Refusal) -> None:
        if self.send is not None:
            name = f"{INTERFACE}.{type(refusal).__name__}"
            self._last(b"" if self.oneway else write_error(name, refusal))

    def _last(self, data: bytes) -> None:
        send, self.send, self.closed = self.send, None, None
        if send is not None:
            send(data, True)

    def _shown(self, answer: Struct) -> Any:
        redact = self._method.redact
        if redact is None or self._rights.role == ADMIN:  # an admin is one for every unit
            return answer
        return redact(answer, lambda unit: self._rights.on(unit) >= OBSERVE)

"""The one place where the manager waits: epoll, callbacks, and the only broad `except`.

A callback that raises costs the unit that it worked for, never the process: the guard tells
`on_error`, which takes that one unit down and says so.
"""
from __future__ import annotations

from collections.abc import Callable
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, epoll
from time import monotonic_ns

from supervisor.kernel.host import more_files

Callback = Callable[[int], None]
READ, WRITE, PRIORITY = EPOLLIN, EPOLLOUT, EPOLLPRI
_MS_NS = 1_000_000
_MANY = 128  # descriptors; with fewer, no start is delayed by asking for more


class Loop:
    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self._epoll = epoll()
        self._callbacks: dict[int, Callback] = {}
        self._on_error = on_error
        self.running = True
        self._may_open_more = False

    def add(self, fd: int, events: int, callback: Callback) -> None:
        """Call `callback(events)` whenever `fd` has one of `events`, an error or a hang-up."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback
        if fd >= _MANY and not self._may_open_more:
            self._may_open_more = True
            more_files()

    def remove(self, fd: int) -> None:
        """Forget `fd`, which is still open; closing it is its owner's business."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def guard(self, call: Callable[[], None]) -> bool:
        """Whether all went well."""
        try:
            call()
        except Exception as exc:  # noqa: BLE001 - the one broad except: see above
            self._on_error(exc)
            return False
        return True

    def run(self, deadline: Callable[[], int], turn: Callable[[], None]) -> None:
        """Until `running` is false: wait for descriptors or `deadline()` (monotonic ns, 0 never),
        call back, and close each round with `turn()`. One that broke off is followed by another at
        once: what is done about it, and what it left undone, waits for no event."""
        whole = True
        while self.running:
            due = deadline()
            timeout = -1.0 if whole else 0.0
            if due and whole:
                timeout = max(0.0, (due - monotonic_ns() + _MS_NS - 1) / 1e9)
            for fd, events in self._epoll.poll(timeout):
                callback = self._callbacks.get(fd)
                if callback is not None:  # an earlier callback may have removed it
                    self.guard(lambda callback=callback, events=events: callback(events))  # type: ignore[misc]
            whole = self.guard(turn)


ERRORS = EPOLLERR | EPOLLHUP

"""A server of the control interface with a test for a manager, driven by a loop of its own.

`Loop.step` is one turn of an epoll loop, as the manager's: a test that plays the client with plain
non-blocking sockets steps it by hand. `Loop.thread` turns it in a thread, for clients that block.
"""
from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from supervisor.control.access import Access
from supervisor.control.methods import METHODS
from supervisor.control.server import Server
from supervisor.model import report
from supervisor.model.request import Call

INTERFACE = "io.unboxed.Supervisor"
SUPERVISOR = report.SupervisorStatus("0.1.0", 11, 10, 1, "cgroup", 5, 2)
TRANSITION = report.Transition(7, "web", 123, "launching", "starting", "executed", 6)


def instance(key: str = "web", **fields: Any) -> report.InstanceStatus:
    known: dict[str, Any] = {
        "unit": key.partition("/")[0], "state": "running", "goal": "up", "phase": "up",
        "since_ns": 1, "pid": 42, "ready": True,
    }
    return report.InstanceStatus(key, **{**known, **fields})


WEB = instance("web", status_text="secret words")
STATUS = report.StatusReply((WEB, instance("db")), SUPERVISOR)
DESCRIPTION = report.UnitDescription(
    WEB,
    (report.ProcessStatus(42, 1, "web --password secret", 4096),),
    (report.ListenerStatus("http", "tcp:127.0.0.1:80", 0),),
    {"env": {"PASSWORD": "secret"}},
    "unboxed/units/web",
    (TRANSITION,),
)
OUTCOME = report.Outcome(results=(report.Result("web", ok=True),))
ANSWERS: dict[str, Any] = {
    "Status": STATUS, "Describe": DESCRIPTION, "Events": report.EventReply(ready=True),
    "Figures": report.FiguresReply(
        (report.InstanceFigures("web", "web", 2, 1, report.Exits(failure=1)),),
        report.SupervisorFigures(
            "0.1.0", 5, 1, 9, 1, 1, 1, 4096, 3, report.ProcessFigures(11), report.ProcessFigures(10)
        ),
        (1_000_000,),
    ),
    "Why": report.Causes((TRANSITION,), WEB),
    "Explain": report.Explanation(
        (report.Step("exec", "/bin/web"),), (report.Mechanism("umask", "077", "umask(2)"),)
    ),
    "Audit": report.Audits((
        report.UnitAudit("web", 7.0, "MEDIUM", report.NextKey("sandbox.level", '"app"', 1.4)),
    )),
    "Ports": report.PortsReply((report.InstancePorts("web", "web", 42, "host"),)),
    "Relations": report.RelationsReply((report.Relation("web", "requires", "db", "ready"),)),
    "Learn": report.LearnReply(ended="it ended"),
    "ReloadUnits": report.UnitsReloaded(("a",), (), ("b",)), "Try": report.Tried("try-1"),
    "Exec": report.Executed(code=0), "ShutdownNow": report.Done(), "Upgrade": report.Done(),
    "End": report.Ending(1),
    **dict.fromkeys(
        ("Start", "Stop", "Restart", "Reload", "Kill", "Freeze", "Thaw", "ResetFailed", "Shutdown"),
        OUTCOME,
    ),
}  # fmt: skip


class Desk:
    """Answers every method at once, except those in `held`, which it leaves open, and those in
    `scripts`, which decide for themselves. `calls` keeps (method, call, ask)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Call, Any]] = []
        self.held: set[str] = set()
        self.scripts: dict[str, Callable[[Call], None]] = {}
        self.answers = dict(ANSWERS)

    def __getattr__(self, attribute: str) -> Callable[[Call, Any], None]:
        words = attribute.removesuffix("_command").removesuffix("_keys").split("_")
        method = "".join(word.title() for word in words)
        if method not in METHODS:
            raise AttributeError(attribute)

        def answer(call: Call, ask: Any) -> None:
            self.calls.append((method, call, ask))
            if method in self.scripts:
                self.scripts[method](call)
            elif method not in self.held:
                call.reply(self.answers[method])

        return answer


class Loop:
    def __init__(
        self, directory: Path, desk: Desk | None = None, access: Access | None = None
    ) -> None:
        self.directory = str(directory)
        self.desk = desk or Desk()
        self.epoll = select.epoll()
        self.watched: dict[int, int] = {}
        self.now_ns: int | None = None  # a clock that stands still; None: the real one
        self._posted: list[Callable[[], None]] = []
        self._end = -1  # in a process of its own: hung up when that is to end
        self._peers: list[Peer] = []
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.epoll.register(self._wake, select.EPOLLIN)
        directory.chmod(0o755)
        self.listeners = [_listen(directory / name) for name in ("control", "status")]
        self.server = Server(
            self.listeners[0].fileno(), self.listeners[1].fileno(), self.desk,
            access=access or Access(os.geteuid()), version="0.1.0",
            watch=self._watch, unwatch=self._unwatch, clock=self.clock,
        )

    def clock(self) -> int:
        return time.monotonic_ns() if self.now_ns is None else self.now_ns

    def _watch(self, fd: int, mask: int) -> None:
        if fd in self.watched:
            self.epoll.modify(fd, mask)
        else:
            self.epoll.register(fd, mask)
        self.watched[fd] = mask

    def _unwatch(self, fd: int) -> None:
        del self.watched[fd]
        self.epoll.unregister(fd)

    def step(self, wait_s: float = 0) -> int:
        """One turn; how many events it had."""
        deadline = self.server.next_deadline_ns()
        if deadline is not None:
            wait_s = min(wait_s, max(0, deadline - self.clock()) / 1e9)
        events = self.epoll.poll(wait_s)
        for fd, mask in events:
            if fd == self._end:
                os._exit(0)
            elif fd == self._wake:
                os.eventfd_read(fd)
                posted, self._posted = self._posted, []
                for action in posted:
                    action()
            else:
                self.server.on_event(fd, mask)
        deadline = self.server.next_deadline_ns()
        if deadline is not None and deadline <= self.clock():
            self.server.expire(self.clock())
        return len(events)

    def settle(self) -> None:
        """Turn until nothing is left to do."""
        while self.step():
            pass

    def post(self, action: Callable[[], None]) -> None:
        """Do it in the thread that turns the loop."""
        self._posted.append(action)
        os.eventfd_write(self._wake, 1)

    @contextlib.contextmanager
    def thread(self) -> Iterator[Loop]:
        ended: list[bool] = []

        def turn() -> None:
            while not ended:
                self.step(60)

        thread = threading.Thread(target=turn, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.post(lambda: ended.append(True))
            thread.join(10)

    @contextlib.contextmanager
    def process(self) -> Iterator[int]:
        """Turn it in a process of its own, for as long as that takes; its pid."""
        ended, end = os.pipe()
        child = os.fork()
        if not child:
            os.close(end)
            self.epoll.register(ended, 0)  # reports the hang-up
            self._end = ended
            try:
                while True:
                    self.step(60)
            except BaseException:  # noqa: BLE001 - a child of a test must not go on as a second test
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(ended)
        try:
            yield child
        finally:
            os.close(end)
            os.waitpid(child, 0)

    def close(self) -> None:
        self.server.close()
        for peer in self._peers:
            peer.close()
        for sock in self.listeners:
            sock.close()
        self.epoll.close()
        os.close(self._wake)

    def peer(self, kind: str = "control") -> Peer:
        """A client that has been accepted, or turned away."""
        peer = Peer(f"{self.directory}/{kind}")
        self._peers.append(peer)
        self.settle()
        return peer


class Peer:
    """A client of a loop that the test itself turns."""

    def __init__(self, path: str = "") -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.setblocking(False)
        self._inbox = b""
        if path:
            self.sock.connect(path)

    def send(self, method: str, parameters: Any = None, **flags: Any) -> None:
        self.sock.sendall(message(method, parameters, **flags))

    def replies(self) -> list[dict[str, Any]]:
        """All whole replies that are here."""
        with contextlib.suppress(BlockingIOError):
            while data := self.sock.recv(1 << 20):
                self._inbox += data
        *whole, self._inbox = self._inbox.split(b"\0")
        return [json.loads(text) for text in whole]

    def is_closed(self) -> bool:
        """Whether the server has closed the connection and everything before that was read."""
        try:
            return not self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.sock.close()


def message(method: str, parameters: Any = None, **flags: Any) -> bytes:
    call = {"method": method if "." in method else f"{INTERFACE}.{method}", **flags}
    if parameters is not None:
        call["parameters"] = parameters
    return json.dumps(call).encode() + b"\0"


def _listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(4096)
    path.chmod(0o666)
    return sock


def as_user(uid: int, groups: list[int], directory: str, act: Callable[[], Any]) -> Any:
    """What `act` returns (as JSON has it) in a child process that is that user, and no other, and
    whose working directory is `directory`, however closed the way there is. Needs root."""
    read, write = os.pipe()
    inside = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    child = os.fork()
    if not child:
        status = 1
        try:
            os.fchdir(inside)
            os.setgroups(groups)
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(write, json.dumps(act()).encode())
            status = 0
        except BaseException:  # noqa: BLE001 - a child of a test must not go on as a second test
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    os.close(inside)
    with os.fdopen(read, "rb") as result:
        told = result.read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(told)

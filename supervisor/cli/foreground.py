"""`run` on a terminal: the keeper as a child, its states and logs on the screen, Ctrl-C in order.

Law: the keeper lives in a session of its own, so Ctrl-C reaches this process alone, which turns the
first into an orderly stop and the second into a kill; should this process die by whatever means,
the kernel sends the keeper SIGTERM, and it stops in order by itself. One thread for each thing that
can be waited for puts what comes into one queue; the main thread alone writes to the terminal.
"""
from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

from supervisor.cli.call import DONE, FAILED, Call, Failure
from supervisor.cli.screen import Screen
from supervisor.cli.server import Server
from supervisor.cli.view import HOLD_NS, View
from supervisor.model.paths import Paths

PR_SET_PDEATHSIG = 1
_CONNECT_STEP_S = 0.02
_STATUS_STEP_S = 0.2  # at most that often is the supervisor asked for all states
_HOLD_S = HOLD_NS / 1e9
_TICK_S = 1.0  # while there is something to count down
_LOG_BACKLOG = 5_000  # lines that may wait for a slow terminal before reading on

_READY = "ready; try `unboxed status{}` on another terminal, Ctrl-C stops everything in order"

Item = tuple[str, Any]


def supervise(call: Call, argv: list[str], where: Paths, names: list[str]) -> int:
    """Run until the keeper has ended. `names`: of units, as far as they are known. Returns the exit
    code of `run`."""
    since_ns = time.time_ns()
    keeper = _start(argv)
    view = View(Screen(), names)
    queue: SimpleQueue[Item] = SimpleQueue()
    _catch(queue)
    watchers = Watchers(call, keeper, queue, since_ns)
    watchers.start()
    try:
        return _show(view, watchers, where)
    finally:
        view.close()


def _catch(queue: SimpleQueue[Item]) -> None:
    """Ctrl-C and SIGTERM become items. Through a pipe and a thread: Python runs a handler only when
    the main thread next runs, and one that is about to wait for the queue would sleep over it."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)

    def pass_on() -> None:
        while True:
            queue.put(("signal", os.read(reader, 1)[0]))

    threading.Thread(target=pass_on, daemon=True).start()


def _start(argv: list[str]) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def bind_to_parent() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call
            os._exit(FAILED)

    try:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=bind_to_parent,  # noqa: PLW1509 - no thread has been started yet
        )
    except OSError as error:
        raise Failure(
            f"cannot run {argv[0]}: {(error.strerror or str(error)).lower()}; set UNBOXED_INIT to"
            " a working unboxed-init") from None


def _show(view: View, watchers: Watchers, where: Paths) -> int:
    """The main loop: one item after the other, and the last line drawn again when all are done."""
    stops = 0
    ready = False
    while True:
        wait_s = _HOLD_S if view.holds else None if view.idle else _TICK_S
        try:
            kind, value = watchers.queue.get(timeout=wait_s)
        except Empty:
            view.draw(time.time_ns())
            if stops and wait_s == _TICK_S:
                watchers.wanted.set()  # deadlines move while things stop
            continue
        if kind == "signal":
            stops += 1
            view.stop(stops, time.time_ns())
            watchers.stop(stops)
        elif kind == "ended":
            watchers.finish()
            for late_kind, late in watchers.rest():
                _item(view, late_kind, late)
            return _ended(view, value, where, ready=ready, asked=stops > 0)
        elif kind == "ready":
            if not ready:
                view.note(_READY.format(_flag(where)), time.time_ns())
            ready = True
        else:
            _item(view, kind, value)
        if watchers.queue.empty() or view.full:
            view.draw(time.time_ns())


def _item(view: View, kind: str, value: Any) -> None:
    now_ns = time.time_ns()
    if kind == "event":
        view.transition(value, now_ns)
    elif kind == "status":
        view.answer(value, now_ns)
    elif kind == "log":
        at_ns, key, line = value
        view.log(at_ns, key, line, now_ns)
    elif kind == "said":
        view.note(value, now_ns)


def _flag(where: Paths) -> str:
    """What another terminal, without this one's variables, has to say to reach us."""
    from supervisor.model.paths import paths

    env = {name: value for name, value in os.environ.items() if name != "UNBOXED_RUNTIME_DIR"}
    if paths(env, os.geteuid()).runtime == where.runtime:
        return ""
    return f" --runtime-dir {where.runtime}"


def _ended(view: View, status: int, where: Paths, *, ready: bool, asked: bool) -> int:
    if status == 0:
        view.flush()
        view.note("everything has stopped", time.time_ns())
        return DONE
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
    view.close()
    if not ready:
        raise Failure(f"cannot run the supervisor: it {how} before it was ready; nothing runs")
    if asked:
        raise Failure(f"cannot stop everything in order: the supervisor {how}; what was left"
                      " was killed")
    raise Failure(
        f"cannot supervise any longer: the supervisor {how}, though nobody asked it to; its"
        " services are on their own now, `unboxed run` with the same --runtime-dir"
        f" ({where.runtime}) starts anew")


class Watchers:
    """The threads. Everything they learn goes into `queue`; `wanted` asks for a fresh status."""

    def __init__(
        self, call: Call, keeper: subprocess.Popen[bytes], queue: SimpleQueue[Item], since_ns: int
    ) -> None:
        self.queue = queue
        self.wanted = threading.Event()
        self._call = call
        self._keeper = keeper
        self._over = threading.Event()
        self._since_ns = since_ns
        self._log_end = os.pipe()  # closing its write end tells the log reader
        self._logs = threading.Thread(target=self._follow_logs, daemon=True)
        self._output = threading.Thread(target=self._read_output, daemon=True)

    def start(self) -> None:
        self._logs.start()
        self._output.start()
        for target in (self._wait, self._follow_events, self._ask_status):
            threading.Thread(target=target, daemon=True).start()

    def finish(self) -> None:
        """The keeper is gone: let the readers come to the end of what there is."""
        self._over.set()
        self.wanted.set()
        self._output.join(1)
        os.close(self._log_end[1])
        self._logs.join(2)

    def rest(self) -> list[Item]:
        items = []
        while True:
            try:
                items.append(self.queue.get_nowait())
            except Empty:
                return items

    def stop(self, times: int) -> None:
        """The first time in order, the second at once, later ones by the keeper's own means."""
        method = "Shutdown" if times == 1 else "ShutdownNow"
        if times <= 2:
            threading.Thread(target=self._request, args=(method,), daemon=True).start()
        else:
            self._keeper.send_signal(signal.SIGTERM)

    def _request(self, method: str) -> None:
        try:
            with Server(self._call, "stop everything") as server:
                server.call(method, {"wait": False} if method == "Shutdown" else {})
        except Failure:  # no manager at the moment: the keeper tells the next one, or stops itself
            if not self._over.is_set():
                self._keeper.send_signal(signal.SIGTERM)

    def _wait(self) -> None:
        self.queue.put(("ended", self._keeper.wait()))

    def _read_output(self) -> None:
        stream = self._keeper.stdout
        for line in stream or ():
            self.queue.put(("said", line.decode("utf-8", "backslashreplace").rstrip("\n")))

    def _follow_events(self) -> None:
        while not self._over.is_set():
            try:
                with Server(self._call, "follow events") as server:
                    for reply in server.stream("Events", {}):
                        if "event" in reply:
                            self.queue.put(("event", reply["event"]))
                        else:
                            self.queue.put(("ready", None))
                        self.wanted.set()
            except Failure:
                pass  # not there yet, or being replaced
            self._over.wait(_CONNECT_STEP_S)

    def _ask_status(self) -> None:
        while self.wanted.wait() and not self._over.is_set():
            self.wanted.clear()
            try:
                with Server(self._call, "show the status") as server:
                    while not self._over.is_set():
                        self.queue.put(("status", server.call("Status", {})))
                        self._over.wait(_STATUS_STEP_S)
                        self.wanted.wait()
                        self.wanted.clear()
            except Failure:
                self._over.wait(_STATUS_STEP_S)
                self.wanted.set()

    def _follow_logs(self) -> None:
        from supervisor.cli.logs import follow_lines

        try:
            for item in follow_lines(self._call, self._since_ns, self._log_end[0]):
                self.queue.put(("log", item))
                while self.queue.qsize() > _LOG_BACKLOG:
                    time.sleep(_CONNECT_STEP_S)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self.queue.put(("said", f"cannot follow the logs: {reason}; states are still shown"))

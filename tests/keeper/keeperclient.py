"""The real keeper with the test in the place of its manager and of its logger.

The processes that the keeper starts are relays: they hand their socket to the test and wait. What
is said on the sockets is written out here, independently of the supervisor's own client.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import functools
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from supervisor.kernel import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "supervisor" / "keeper"
RELAY = str(Path(__file__).with_name("relay.py"))
NAMES = {number: name for name, number in {**wire.TO_MANAGER, **wire.TO_LOGGER}.items()}
CODES = {name: code for name, code, _, _ in wire.STEPS}
PATIENCE = 20.0  # seconds; only a failing test waits so long
RUNNING, EXITED_UNACKED = wire.CHILD_STATES["RUNNING"], wire.CHILD_STATES["EXITED_UNACKED"]


@functools.cache
def keeper_binary() -> str:
    """UNBOXED_INIT, or the keeper that is installed beside this Python, or one built now."""
    installed = Path(sysconfig.get_path("scripts")) / "unboxed-init"
    if given := os.environ.get("UNBOXED_INIT"):
        return given
    if installed.exists():
        return str(installed)
    directory = tempfile.TemporaryDirectory(prefix="keeper-build-")
    atexit.register(directory.cleanup)
    return build(Path(directory.name))


def build(directory: Path, *options: str, sources: Sequence[Path] = (), name: str = "init") -> str:
    """Compile the keeper (or these sources) as the package's build does; its path."""
    table = ROOT / "supervisor/kernel/wire.py"
    generator: list[str | Path] = [sys.executable, SOURCES / "gen_wire.py", table]
    subprocess.run([*generator, directory / "wire.h"], check=True)
    files = sources or sorted(SOURCES.glob("*.c"))
    flags = (
        "-std=c17",
        "-D_GNU_SOURCE",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-I",
        directory,
        "-I",
        SOURCES,
    )
    subprocess.run(
        ["cc", *flags, *(options or ("-O2", "-static")), *files, "-o", directory / name], check=True
    )
    return str(directory / name)


@functools.cache
def small_program() -> str:
    """small.c, compiled."""
    directory = tempfile.TemporaryDirectory(prefix="keeper-build-")
    atexit.register(directory.cleanup)
    return build(Path(directory.name), sources=[Path(__file__).with_name("small.c")], name="small")


class Frame(NamedTuple):
    op: str
    tag: int
    payload: bytes
    fds: tuple[int, ...] = ()

    def ints(self, layout: str) -> tuple[int, ...]:
        return struct.unpack_from("<" + layout, self.payload)

    @property
    def name(self) -> str:
        return self.payload.split(b"\0", 1)[0].decode(errors="surrogateescape")


class Child(NamedTuple):
    """The CHILD layout, the key and the launch."""

    pid: int
    state: int
    started: int
    ended: int
    code: int
    status: int
    user_ms: int
    system_ms: int
    peak_kib: int
    step: int
    error: int
    key: str
    launch: int

    @classmethod
    def of(cls, frame: Frame) -> Child:
        key = frame.payload[48:].split(b"\0", 1)[0].decode(errors="surrogateescape")
        return cls(*frame.ints("iIQQiiIIIhh"), key, frame.tag)  # type: ignore[call-arg, arg-type]  # one layout


def frame(op: str | int, tag: int = 0, payload: bytes = b"", fds: int = 0) -> bytes:
    number = wire.TO_KEEPER[op] if isinstance(op, str) else op
    return struct.pack("<IHHQ", 16 + len(payload), number, fds, tag) + payload


def text(value: str | bytes) -> bytes:
    return (value.encode() if isinstance(value, str) else value) + b"\0"


def step(name: str, layout: str = "", *numbers: int, texts: Sequence[str | bytes] = ()) -> bytes:
    """One step whose numbers come first; LOG, whose texts do, is written out where it is used."""
    payload = struct.pack("<" + layout, *numbers) + b"".join(map(text, texts))
    return struct.pack("<HHI", CODES[name], 0, len(payload)) + payload


def log_step(name: str, options: str = "", uid: int = -1, gid: int = -1) -> bytes:
    payload = text(name) + text(options) + struct.pack("<ii", uid, gid)
    return struct.pack("<HHI", CODES["LOG"], 0, len(payload)) + payload


def calls(*rows: tuple[str, tuple[int | bytes, ...]], tolerate: int = 0) -> bytes:
    """DATA, and a CALL for each row: its name and its arguments, of which bytes go by address."""
    data, steps = bytearray(4), b""
    for name, arguments in rows:
        values, kinds = [0] * 5, 0
        for i, argument in enumerate(arguments):
            if isinstance(argument, bytes):
                values[i], kinds = len(data), kinds | wire.CALL_KINDS["ADDRESS"] << 2 * i
                data += argument
            else:
                values[i] = argument & (1 << 64) - 1
        row = wire.CALLS.index(name)
        steps += step("CALL", "IIIIQQQQQ", row, tolerate, 0, kinds, *values)
    return data_step(bytes(data) + bytes(8)) + steps


def data_step(data: bytes) -> bytes:
    return struct.pack("<HHI", CODES["DATA"], 0, len(data)) + data


def execute(*argv: str | bytes, path: str | None = None) -> bytes:
    return step("EXEC", "I", len(argv), texts=[path or argv[0], *argv])


def plan(*argv: str | bytes, steps: bytes = b"", path: str | None = None) -> bytes:
    """A usual plan: signals, session, `steps`, an environment, nothing but 0, 1, 2 open."""
    return b"".join(
        [
            step("SIGNALS", "Q", 0),
            step("SESSION"),
            steps,
            step("ENV", "I", 1, texts=["PATH=/usr/bin:/bin"]),
            step("CLOSE_FROM", "I", 3),
            execute(*argv, path=path),
        ]
    )


class Peer:
    """One end of a keeper's socket. Frames that came with others wait in `queue`."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self.sock, self.pid = sock, pid
        self.queue: list[Frame] = []
        sock.settimeout(PATIENCE)

    def send(self, *frames: bytes, fds: Sequence[int] = ()) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([b"".join(frames)], rights)

    def fetch(self) -> None:
        """Wait for one datagram and queue its frames."""
        data, fds, _, _ = socket.recv_fds(self.sock, wire.MAX_FRAME, wire.MAX_FDS)
        if not data:
            raise EOFError("the keeper is gone")
        at = 0
        while at < len(data):
            length, op, count, tag = struct.unpack_from("<IHHQ", data, at)
            self.queue.append(
                Frame(NAMES[op], tag, data[at + 16 : at + length], tuple(fds[:count]))
            )
            del fds[:count]
            at += length
        assert not fds

    def next(self) -> Frame:
        while not self.queue:
            self.fetch()
        return self.queue.pop(0)

    def expect(self, *ops: str, tag: int | None = None) -> Frame:
        """The next frame with one of these ops (and this tag); others stay queued."""
        seen = 0
        while True:
            for i in range(seen, len(self.queue)):
                found = self.queue[i]
                if found.op in ops and tag in (None, found.tag):
                    return self.queue.pop(i)
            seen = len(self.queue)
            self.fetch()

    def result(self, *frames: bytes, tag: int = 0, fds: Sequence[int] = ()) -> int:
        self.send(*frames, fds=fds)
        return self.expect("RESULT", tag=tag).ints("i")[0]

    # --- requests -----------------------------------------------------------------------------

    def hello(self) -> tuple[list[Child], list[str], tuple[int, ...]]:
        """HELLO; what is answered: children, stored names, READY's fields."""
        self.send(frame("HELLO", 0, struct.pack("<I", wire.VERSION)))
        ready = self.expect("READY").ints("QQIiI")
        children = [f for f in self.queue if f.op == "CHILD"]
        names = [f.name for f in self.queue if f.op == "STORED"]
        self.queue = [f for f in self.queue if f.op not in ("CHILD", "STORED")]
        return [Child.of(f) for f in children], names, ready

    def put(self, name: str, fd: int) -> int:
        return self.result(frame("PUT", 7, text(name), 1), tag=7, fds=[fd])

    def get(self, name: str, op: str = "GET", options: bytes = b"") -> int:
        self.send(frame(op, 8, text(name) + options))
        answer = self.expect("FD", "RESULT", tag=8)
        return answer.fds[0] if answer.op == "FD" else -answer.ints("i")[0]

    def drop(self, name: str) -> int:
        return self.result(frame("DROP", 9, text(name)), tag=9)

    def spawn(self, launch: int, key: str, steps: bytes, fds: Sequence[int] = ()) -> None:
        self.send(frame("SPAWN", launch, text(key) + steps, len(fds)), fds=fds)

    def started(self, launch: int) -> Frame:
        return self.expect("EXECED", "LAUNCH_FAILED", "REFUSED", tag=launch)

    def run(self, launch: int, key: str, steps: bytes, fds: Sequence[int] = ()) -> int:
        """Spawn it and wait for its exec; its pid."""
        self.spawn(launch, key, steps, fds)
        answer = self.started(launch)
        assert answer.op == "EXECED", (answer, answer.ints("i"))
        return answer.ints("i")[0]

    def exited(self, launch: int) -> Child:
        """Wait for its exit record and acknowledge it."""
        record = Child.of(self.expect("EXITED", tag=launch))
        self.send(frame("ACK", launch))
        return record

    def signal(self, launch: int, number: int, scope: int = 0) -> None:
        self.send(frame("SIGNAL", launch, struct.pack("<iI", number, scope)))


class Keeper:
    """The keeper's process. `log` is what it says on standard error."""

    def __init__(
        self,
        binary: str = "",
        prefix: Sequence[str] = (),
        manager: Sequence[str] = (),
        logger: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="keeper-")
        path = f"{self.directory.name}/relay"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen(16)
        self.listener.settimeout(PATIENCE)
        self.waiting: dict[str, list[Peer]] = {"manager": [], "logger": []}
        self.peers: list[Peer] = []
        relay = [os.path.realpath(sys.executable), "-I", "-S", RELAY, path]
        manager, logger = manager or [*relay, "manager"], logger or [*relay, "logger"]
        self.log = tempfile.TemporaryFile(mode="w+b")  # noqa: SIM115 - closed with the keeper
        self.process = subprocess.Popen(
            [*prefix, binary or keeper_binary(), "--supervise", "--", *manager, "--", *logger],
            stdin=subprocess.DEVNULL,
            stderr=self.log,
            env={**os.environ, **environment},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def _peer(self, role: str) -> Peer:
        while not self.waiting[role]:
            link, _ = self.listener.accept()
            with link:
                data, fds, _, _ = socket.recv_fds(link, 64, 1)
            name, pid = data.decode().split()
            peer = Peer(socket.socket(fileno=fds[0]), int(pid))
            self.peers.append(peer)
            self.waiting[name].append(peer)
        return self.waiting[role].pop(0)

    def manager(self) -> Peer:
        """The next manager that the keeper starts, after HELLO."""
        peer = self._peer("manager")
        peer.hello()
        return peer

    def silent_manager(self) -> Peer:
        return self._peer("manager")

    def logger(self) -> Peer:
        return self._peer("logger")

    def end(self, manager: Peer, status: int = 0) -> int:
        """EXIT, as a manager would; the keeper's exit status."""
        if len(self.peers) < 2:
            self.logger()
        manager.send(frame("EXIT", 0, struct.pack("<i", status)))
        return self.finish()

    def finish(self) -> int:
        """The keeper is ending: so do manager and logger. A relay does not see the end of its
        socket, as the real ones do."""
        for peer in self.peers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(peer.pid, signal.SIGKILL)
        return self.process.wait(PATIENCE)

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode()

    def close(self) -> None:
        if self.process.poll() is None:
            tree = descendants(self.pid)
            self.process.kill()
            self.process.wait()
            for pid in tree:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for peer in self.peers:
            peer.sock.close()
        self.listener.close()
        self.log.close()
        self.directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def descendants(pid: int) -> list[int]:
    parents = {int(name): parent_of(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def wait_for_end(pid: int) -> None:
    """Wait until no process has this pid (a zombie still has)."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            assert select.select([fd], [], [], PATIENCE)[0]
        finally:
            os.close(fd)


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """For what announces nothing to us (/proc, mostly)."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def open_fds(pid: int) -> dict[int, str]:
    with contextlib.suppress(FileNotFoundError):
        directory = f"/proc/{pid}/fd"
        return {int(fd): os.readlink(f"{directory}/{fd}") for fd in os.listdir(directory)}
    return {}

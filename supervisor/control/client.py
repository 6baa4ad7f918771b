"""The client's side of the control interface, for the command line and for agents. It blocks.

Law: quick to import (no msgspec, no socket; json only once there is something to say), and plain
dicts: `unboxed status` is a whole process each time. Errors are sentences, and carry the exit code
that the command line ends with.

Where the manager does not answer for 2 s, the keeper is nudged: it asks the manager itself, and
replaces it if it stays silent. The call goes on waiting; the listening sockets outlive a manager,
but a connection that it had taken does not (`Lost`).
"""
from __future__ import annotations

import _socket
import os
import sys
import time
from errno import EACCES, EAGAIN, ECONNREFUSED, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Literal, Self

INTERFACE = "io.unboxed.Supervisor"
NUDGE_S = 2.0
ANSWER_S = 30.0  # for the first answer to a call that does not say otherwise
_GROUP = "unboxed"  # its members may use the control socket of a supervisor that root runs
BOOT_S = 5.0  # for the socket of a machine that boots: a plan's services run before it is there
_RETRY_S = 0.05  # between two tries to connect to a full queue
_MACHINE = "/run/unboxed"
_READ_BYTES = 256 * 1024
_KIND, _DIRECTORY = 0o170000, 0o040000  # of st_mode

# Exit codes of the command line, by the name of the error. Whatever is not here is 1: it failed.
CODES = {
    f"{INTERFACE}.NoSuchUnit": 3,
    f"{INTERFACE}.NotRunning": 3,
    f"{INTERFACE}.NotPermitted": 4,
    f"{INTERFACE}.TimedOut": 5,
    "org.varlink.service.InvalidParameter": 2,
}


class ControlError(Exception):
    """What the supervisor refused, or why it could not be asked. `message`: a whole sentence.
    `name` and `parameters` as the supervisor sent them; `code`: the exit code for it."""

    def __init__(
        self, message: str, code: int = 1, name: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.name = name
        self.parameters = parameters or {}


class Unreachable(ControlError):
    """No supervisor could be asked: exit code 3, or 4 where one is there that we may not ask."""


class Lost(ControlError):
    """The connection ended before the answer. Whether the call was done is not known."""


class Silent(ControlError):
    """No answer in time: exit code 5. The connection is of no further use."""


class Client:
    """One connection. `path` of the socket; `kind` which of the two it is."""

    def __init__(self, runtime_dir: str, kind: Literal["control", "status"]) -> None:
        self.runtime_dir = runtime_dir
        self.kind = kind
        self.path = f"{runtime_dir}/{kind}"
        self.denied = ""  # the socket that we would rather have opened, and may not
        _believe(runtime_dir)
        self._sock = _connect(self.path)
        self._inbox = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._sock.close()

    def fileno(self) -> int:
        return self._sock.fileno()

    def call(
        self, method: str, parameters: Mapping[str, Any] | None = None,
        timeout_s: float | None = ANSWER_S,
    ) -> dict[str, Any]:
        """The answer's parameters. `method` without its interface is one of ours. `timeout_s` None:
        as long as it takes. Raises ControlError."""
        self.ask(method, parameters)
        return self.answer(timeout_s)

    def ask(self, method: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Send a call, and do not wait for its answer. A few may be on their way at a time: they
        are answered in order, each by an `answer`. Raises ControlError."""
        self._send(method, parameters, more=False)

    def answer(self, timeout_s: float | None = ANSWER_S) -> dict[str, Any]:
        """To the oldest `ask` without one, as `call` gives it. Raises ControlError."""
        return self._checked(self._receive(timeout_s, nudge=True))

    def stream(
        self, method: str, parameters: Mapping[str, Any] | None = None,
        timeout_s: float | None = ANSWER_S, fds: Sequence[int] = (),
    ) -> Iterator[dict[str, Any]]:
        """The parameters of each answer, to the last. `timeout_s` is for the first one; those that
        follow it come when there is something to tell. `fds` go along. Raises ControlError."""
        self._send(method, parameters, more=True, fds=fds)
        reply = self._receive(timeout_s, nudge=True)
        while True:
            yield self._checked(reply)
            if not reply.get("continues"):
                return
            reply = self._receive(None, nudge=False)

    def _send(
        self, method: str, parameters: Mapping[str, Any] | None, *, more: bool,
        fds: Sequence[int] = (),
    ) -> None:
        import json

        call: dict[str, Any] = {"method": method if "." in method else f"{INTERFACE}.{method}"}
        if parameters:
            call["parameters"] = parameters
        if more:
            call["more"] = True
        data = json.dumps(call, separators=(",", ":")).encode() + b"\0"
        self._sock.settimeout(ANSWER_S)
        try:
            if fds:
                rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
                control = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)]
                data = data[self._sock.sendmsg([data], control, _socket.MSG_NOSIGNAL) :]
            self._sock.sendall(data, _socket.MSG_NOSIGNAL)
        except BrokenPipeError:
            return  # it told us why before it hung up: _receive finds that
        except TimeoutError:
            raise self._silent(ANSWER_S) from None
        except OSError as exc:
            reason = f"cannot ask the supervisor at {self.path}: {exc.strerror}; ask again"
            raise Lost(reason) from exc

    def _receive(self, timeout_s: float | None, *, nudge: bool) -> dict[str, Any]:
        """The next message. Nudges the keeper once if it takes long."""
        import json

        end = None if timeout_s is None else time.monotonic() + timeout_s
        searched = 0
        while (at := self._inbox.find(0, searched)) < 0:
            searched = len(self._inbox)
            left = None if end is None else max(end - time.monotonic(), 0.001)
            wait = min(NUDGE_S, left or NUDGE_S) if nudge else left
            self._sock.settimeout(wait)
            try:
                data = self._sock.recv(_READ_BYTES)
            except TimeoutError:
                if end is not None and time.monotonic() >= end:
                    raise self._silent(timeout_s or 0) from None
                if nudge:
                    nudge = False
                    nudge_keeper(self.runtime_dir)
                continue
            except OSError:
                data = b""
            if not data:
                raise Lost(
                    f"cannot hear the answer of the supervisor at {self.path}: it closed the"
                    " connection; it may be replacing its manager, ask again")
            self._inbox += data
        message = bytes(self._inbox[:at])
        del self._inbox[: at + 1]
        try:
            reply = json.loads(message)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            raise Lost(f"cannot understand the answer of {self.path}: it is no Varlink message")
        return reply

    def _silent(self, waited_s: float) -> Silent:
        return Silent(
            f"cannot reach the supervisor at {self.path}: no answer within {waited_s:.0f} s;"
            " its keeper was asked to replace the manager if it stays silent", 5)

    def _checked(self, reply: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a reply. Raises ControlError for that of an error."""
        parameters = reply.get("parameters") or {}
        name = reply.get("error")
        if name is None:
            return dict(parameters)
        message = parameters.get("message")
        if not isinstance(message, str):
            short = str(name).rpartition(".")[2]
            facts = ", ".join(f"{key} {value}" for key, value in parameters.items())
            message = f"cannot do that: the supervisor answers {short}" + (facts and f" ({facts})")
        code = CODES.get(name, 1)
        if code == 4 and self.denied:
            message = f"{message.partition(': ')[0]}: {self.denied}"
        raise ControlError(message, code, name, parameters)


def connect(runtime_dir: str, prefer: Literal["control", "status"] = "control") -> Client:
    """A connection to the supervisor of that runtime directory: on its control socket, or on its
    status socket where the other may not be opened; "status": on the status socket in any case.

    Raises Unreachable.
    """
    if prefer == "status":
        return Client(runtime_dir, "status")
    try:
        return Client(runtime_dir, "control")
    except Unreachable as exc:
        if exc.code != 4:
            raise
        try:
            client = Client(runtime_dir, "status")
        except Unreachable:
            raise exc from None
        client.denied = _denied(f"{runtime_dir}/control")
        return client


def nudge_keeper(runtime_dir: str) -> bool:
    """Have the keeper ask the manager whether it is well. False: the keeper cannot be told."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK)
    try:
        sock.sendto(b"\0", _socket.MSG_NOSIGNAL, f"{runtime_dir}/nudge")
    except OSError:
        return False
    finally:
        sock.close()
    return True


def _believe(runtime_dir: str) -> None:
    """The default of a user without a session's directory is in /tmp, where anybody may have made
    it first: then whoever listens in it is not who is meant. Raises Unreachable."""
    uid = os.geteuid()
    if runtime_dir != f"/tmp/unboxed-{uid}":  # noqa: S108 - see model.paths
        return
    try:
        facts = os.lstat(runtime_dir)
    except OSError:
        return  # there is none: to connect tells
    if facts.st_uid != uid or facts.st_mode & _KIND != _DIRECTORY:
        raise Unreachable(
            f"cannot reach the supervisor at {runtime_dir}: it is not a directory of your own, but"
            f" was made by uid {facts.st_uid}; set XDG_RUNTIME_DIR or pick another with"
            " --runtime-dir", 4)


def _connect(path: str) -> _socket.socket:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    now = time.monotonic()
    end, nudge_at = now + ANSWER_S, now + NUDGE_S
    there = now + BOOT_S
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(path)
            except OSError as exc:
                now = time.monotonic()
                full = exc.errno == EAGAIN and now < end  # its queue is (unix(7))
                comes = exc.errno == ENOENT and now < there and _boots(path)
                if not full and not comes:
                    raise _unreachable(path, exc) from exc
                if full and now >= nudge_at:
                    nudge_keeper(os.path.dirname(path))
                    nudge_at = end
                time.sleep(_RETRY_S)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


def _boots(path: str) -> bool:
    """Whether that is the supervisor of a machine, which is not up yet."""
    try:
        first = os.readlink("/proc/1/exe")
    except OSError:
        return False  # only root's programs are in a plan
    return os.path.dirname(path) == _MACHINE and "/unboxed-init" in first


def _unreachable(path: str, exc: OSError) -> Unreachable:
    cannot = f"cannot reach the supervisor at {path}: "
    start = "start one with `unboxed run`, or pick another with --runtime-dir"
    if exc.errno in {ENOENT, ENOTDIR}:
        return Unreachable(f"{cannot}no such file; is it running? {start}", 3)
    if exc.errno == ECONNREFUSED:
        return Unreachable(f"{cannot}nobody listens there any more; {start}", 3)
    if exc.errno in {EACCES, EPERM}:
        return Unreachable(cannot + _denied(path), 4)
    if exc.errno == EAGAIN:
        return Unreachable(f"{cannot}it has taken no connection for {ANSWER_S:.0f} s", 5)
    if exc.errno == ENAMETOOLONG or exc.errno is None:  # Python checks the length itself
        return Unreachable(f"{cannot}the path is too long for a socket (107 bytes)", 2)
    return Unreachable(f"{cannot}{exc.strerror}", 1)


def _denied(path: str) -> str:
    """Who may open the socket that we may not, and what to do, in words."""
    facts, inside = _seen(path)
    if facts is None:
        return "permission denied; root may, so use sudo"
    import grp
    import pwd

    try:
        owner = pwd.getpwuid(facts.st_uid).pw_name
    except KeyError:
        owner = f"uid {facts.st_uid}"
    who, then = owner, f"run it as {owner}, or with sudo" if facts.st_uid else "use sudo"
    if facts.st_uid:
        who += " and root"
    elif inside and facts.st_gid and facts.st_mode & 0o020:
        try:
            group = grp.getgrgid(facts.st_gid).gr_name
        except KeyError:
            group = f"gid {facts.st_gid}"
        who += f" and members of the group {group}"
        then += f", or join it (`usermod -aG {group} USER`) and log in again"
    elif inside:
        then += f", or make a group {_GROUP} and restart the supervisor: its members may then"
    return f"permission denied, only {who} may; {then}"


def _seen(path: str) -> tuple[os.stat_result | None, bool]:
    """Facts of `path`, and True; else of the nearest directory above it that can be seen, which is
    the one that is closed to us, and False."""
    here = path
    while here:
        try:
            return os.stat(here), here == path
        except OSError:
            here = os.path.dirname(here) if here != "/" else ""
    return None, False

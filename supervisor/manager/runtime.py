"""The runtime directory: made, locked, left clean. One supervisor owns one."""
from __future__ import annotations

import os
from _socket import (
    AF_UNIX,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from binascii import crc32
from errno import EAGAIN, ELOOP, ENOTDIR
from stat import S_ISDIR, S_IWGRP, S_IWOTH

from supervisor.kernel.keeper import Keeper
from supervisor.kernel.tracking import Tracker
from supervisor.kernel.users import UnknownName, group_id
from supervisor.model.paths import Paths

TRIED = "try-"  # how names of transient units begin
# What comes and goes with the supervisor.
OWN = ("control", "status", "nudge", "log", "endpoints.json")
GROUP = "unboxed"  # members may use the control socket
_BACKLOG = 256
_SO_PASSRIGHTS = 83  # Linux 6.16; accepted sockets have it of the one that listens
# `nudge`: whoever gets no answer from us writes there, and the keeper asks whether we live.
_SOCKETS = (
    ("control", SOCK_STREAM, 0o660), ("status", SOCK_STREAM, 0o666), ("nudge", SOCK_DGRAM, 0o622),
)  # fmt: skip


class CannotBegin(Exception):
    """Why there can be no supervisor here, as a whole sentence."""


def prepare(where: Paths, keeper: Keeper, stored: set[str]) -> None:
    """Make and lock the runtime directory; the keeper holds the lock. Raises CannotBegin."""
    try:
        if where.shared_tmp:
            _make_private(where.runtime)
        else:
            _make(where.runtime)
        fd = _lock(where.runtime)
    except OSError as exc:
        raise _unusable(where, exc) from exc
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getppid()}\n".encode(), 0)
        for name, mode in (
            ("notify", 0o711), ("units", 0o755), ("shared", 0o755), ("agents", 0o700)
        ):  # fmt: skip
            _directory(f"{where.runtime}/{name}")
            os.chmod(f"{where.runtime}/{name}", mode)
        _forget_agents(where.runtime)
        for name in OWN:  # what a supervisor that lost its power left behind
            _unlink(f"{where.runtime}/{name}")
        _forget_tried(where.transient_units)
        if os.path.exists(f"{where.runtime}/netns"):  # as above
            from supervisor.kernel.sandbox.private_net import sweep

            sweep(where.runtime)
        try:
            os.symlink(where.log, f"{where.runtime}/log")  # so that `unboxed logs` finds it
        except FileExistsError:
            pass  # the log directory itself was put there
    except OSError as exc:
        _tidy(where)
        raise _unusable(where, exc) from exc
    keeper.put("lock", fd)
    stored.add("lock")
    os.close(fd)


def _lock(runtime: str) -> int:
    """Its open lock file, which is ours alone. Raises OSError, CannotBegin."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(f"{runtime}/lock", flags, 0o600)
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except OSError as exc:
        other = os.pread(fd, 32, 0).decode(errors="replace").strip() or "?"
        os.close(fd)
        if exc.errno != EAGAIN:
            raise
        raise CannotBegin(
            f"cannot run in {runtime}: another supervisor is running there (keeper pid"
            f" {other}); nothing was started"
        ) from exc
    return fd


def _unusable(where: Paths, exc: OSError) -> CannotBegin:
    words = "it is a symbolic link" if exc.errno == ELOOP else exc.strerror or str(exc)
    reason = f"{exc.filename2 or exc.filename}: {words}" if exc.filename else words
    return CannotBegin(
        f"cannot use {where.runtime} as runtime directory: {reason}; nothing was started"
    )


def open_sockets(where: Paths, keeper: Keeper, stored: set[str]) -> dict[str, int]:
    """Name -> descriptor of those sockets that the keeper does not hold yet: before anything is
    started, so that nobody runs whom nobody could reach. Raises CannotBegin."""
    made = {}
    try:
        for name, kind, mode in _SOCKETS:
            if name not in stored:
                made[name] = _bind(f"{where.runtime}/{name}", kind, mode)
                keeper.put(name, made[name])
                stored.add(name)
    except OSError as exc:
        _tidy(where)
        raise _unusable(where, exc) from exc
    return made


def _bind(path: str, kind: int, mode: int) -> int:
    """Raises OSError that names the path."""
    sock = socket(AF_UNIX, kind | SOCK_CLOEXEC | SOCK_NONBLOCK)
    old = os.umask(0o777 & ~mode)
    try:
        if os.path.lexists(path):
            os.unlink(path)
        sock.bind(path)
        if not path.endswith("/control"):
            _take_no_descriptors(sock)
        elif os.geteuid() == 0:
            _to_group(path)
        if kind == SOCK_STREAM:
            sock.listen(_BACKLOG)
        return sock.detach()
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror or str(exc), path) from exc
    finally:
        os.umask(old)
        sock.close()


def _take_no_descriptors(sock: socket) -> None:
    """Anybody may write there, and the close(2) of what he sends could last as long as he says
    (SO_LINGER)."""
    try:
        sock.setsockopt(SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:
        pass  # an older kernel


def _to_group(path: str) -> None:
    """Members of that group may use it; where there is none, root alone."""
    try:
        os.chown(path, 0, group_id(GROUP))
    except UnknownName:
        os.chmod(path, 0o600)


def _tidy(where: Paths) -> None:
    """Take our own things out of a runtime directory whose lock is ours."""
    _forget_agents(where.runtime)
    for name in OWN:
        _unlink(f"{where.runtime}/{name}")
    _unlink(f"{where.runtime}/log-figures")  # the logger's, which has it open until its end
    for name in ("notify", "units", "secrets", "made", "shared", "agents", "logger", ""):
        path = f"{where.runtime}/{name}".rstrip("/")
        if not name:
            _unlink(f"{path}/lock")
        try:
            os.rmdir(path)
        except OSError:
            pass  # something of others is in it


def _directory(path: str) -> os.stat_result:
    try:
        os.makedirs(path, 0o755)
    except FileExistsError:
        pass
    found = os.stat(path)
    if not S_ISDIR(found.st_mode):
        raise OSError(ENOTDIR, "Not a directory", path)
    return found


def _make(path: str) -> None:
    found = _directory(path)
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & S_IWOTH:
        raise CannotBegin(
            f"cannot use {path} as runtime directory: it belongs to uid {found.st_uid} with mode"
            f" {found.st_mode & 0o7777:o}, so others could change it; nothing was started"
        )


def _make_private(path: str) -> None:
    """In /tmp anybody may have made it first: a link, or a directory that its owner can do with as
    he likes. So it is ours alone, and closed to whoever could only look inside."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or found.st_mode & (S_IWGRP | S_IWOTH):
            raise CannotBegin(
                f"cannot use {path} as runtime directory: it belongs to uid {found.st_uid} with"
                f" mode {found.st_mode & 0o7777:o}, so others could change it; nothing was started"
            )
        os.fchmod(fd, 0o700)
    finally:
        os.close(fd)


def _forget_agents(runtime: str) -> None:
    """What was written for agents is about processes that are no more."""
    for folder in ("shared", "agents"):
        try:
            names = os.listdir(f"{runtime}/{folder}")
        except OSError:
            continue  # there never was an agent
        for name in names:
            _unlink(f"{runtime}/{folder}/{name}")


def _forget_tried(folder: str) -> None:
    """Units of `unboxed try` end with the supervisor that was asked for them."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.startswith(TRIED):
            _unlink(f"{folder}/{name}")


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # it is not there, which is what was wanted


def group_name(where: Paths) -> str:
    """The name of this supervisor's cgroup: another one for each runtime directory of a host."""
    if where.runtime == "/run/unboxed":
        return "unboxed"
    return f"unboxed-{crc32(where.runtime.encode()):08x}"


def watcher(where: Paths) -> tuple[str, ...]:
    """The command that ends with 0 when a stream says a pattern (ready = {log = ...})."""
    import sys

    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    script = f"{here}/logger/await_line.py"
    return (sys.executable, "-I", "-S", script, *_libraries(), "--log-dir", where.log)


def feeder(where: Paths) -> tuple[str, ...]:
    """The command that brings an agent its logs, to which its options are appended."""
    import sys

    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    script = f"{here}/logger/feed.py"
    return (sys.executable, "-I", "-S", script, *_libraries(), "--log-dir", where.log)


def _libraries() -> tuple[str, ...]:
    """Where they are: who reads logs needs one of them for what is compressed."""
    import sys

    site = sys.argv[sys.argv.index("--site") + 1] if "--site" in sys.argv else ""
    return ("--site", site) if site else ()


def leave(where: Paths, keeper: Keeper, tracker: Tracker, status: int) -> None:
    """Everything is stopped: take our own things away and let the keeper end."""
    tracker.close()
    _forget_tried(where.transient_units)
    _tidy(where)
    keeper.send("EXIT", 0, status.to_bytes(4, "little"))
    while not keeper.flush():
        pass

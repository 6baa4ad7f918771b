"""The runtime directory: made, locked, left clean. One supervisor owns one."""
from __future__ import annotations

import os
from binascii import crc32
from errno import EAGAIN
from stat import S_ISDIR, S_IWOTH

from supervisor.kernel.keeper import Keeper
from supervisor.kernel.tracking import Tracker
from supervisor.model.paths import Paths

TRIED = "try-"  # how names of transient units begin
OWN = ("control", "status", "nudge", "log")  # what comes and goes with the supervisor


class CannotBegin(Exception):
    """Why there can be no supervisor here, as a whole sentence."""


def prepare(where: Paths, keeper: Keeper, stored: set[str]) -> None:
    """Make and lock the runtime directory; the keeper holds the lock. Raises CannotBegin."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    try:
        _make(where.runtime)
        for name, mode in (("notify", 0o711), ("units", 0o755)):
            os.makedirs(f"{where.runtime}/{name}", exist_ok=True)
            os.chmod(f"{where.runtime}/{name}", mode)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(f"{where.runtime}/lock", flags, 0o600)
    except OSError as exc:
        reason = f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc)
        raise CannotBegin(
            f"cannot use {where.runtime} as runtime directory: {reason}; nothing was started"
        ) from exc
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except OSError as exc:
        other = os.pread(fd, 32, 0).decode(errors="replace").strip() or "?"
        os.close(fd)
        if exc.errno != EAGAIN:
            raise
        raise CannotBegin(
            f"cannot run in {where.runtime}: another supervisor is running there (keeper pid"
            f" {other}); nothing was started"
        ) from exc
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getppid()}\n".encode(), 0)
    keeper.put("lock", fd)
    stored.add("lock")
    os.close(fd)
    for name in OWN:  # what a supervisor that lost its power left behind
        _unlink(f"{where.runtime}/{name}")
    try:
        os.symlink(where.log, f"{where.runtime}/log")  # so that `unboxed logs` finds it by itself
    except FileExistsError:
        pass  # the log directory itself was put there


def _make(path: str) -> None:
    os.makedirs(path, 0o755, exist_ok=True)
    found = os.stat(path)
    if not S_ISDIR(found.st_mode):
        raise OSError(0, "not a directory", path)
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & S_IWOTH:
        raise CannotBegin(
            f"cannot use {path} as runtime directory: it belongs to uid {found.st_uid} with mode"
            f" {found.st_mode & 0o7777:o}, so others could change it; nothing was started"
        )


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
    return (sys.executable, "-I", "-S", script, "--log-dir", where.log)


def leave(where: Paths, keeper: Keeper, tracker: Tracker) -> None:
    """Everything is stopped: take our own things away and let the keeper end."""
    tracker.close()
    _forget_tried(where.transient_units)
    for name in OWN:
        _unlink(f"{where.runtime}/{name}")
    for name in ("notify", "units", ""):
        path = f"{where.runtime}/{name}".rstrip("/")
        if not name:
            _unlink(f"{path}/lock")
        try:
            os.rmdir(path)
        except OSError:
            pass  # something of others is in it
    keeper.send("EXIT", 0, (0).to_bytes(4, "little"))
    while not keeper.flush():
        pass

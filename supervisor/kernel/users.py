"""Local users and groups, read from /etc/passwd and /etc/group.

Only those files: a name service may block for a minute, and the manager never waits. A name
that is not there refuses to start, it never falls back to anybody else.
"""
from __future__ import annotations

import os

from supervisor.kernel.plan import Identity
from supervisor.kernel.spare import use

_MAX_BYTES = 16 << 20


class UnknownName(Exception):
    """A user or group that this host's files do not know."""


_read: dict[str, tuple[object, list[list[str]]]] = {}  # path -> (what identifies it, its rows)


def _lines(path: str) -> list[list[str]]:
    """The rows of a file; read again only when it is another one, or was written to."""
    try:
        now = os.stat(path)
        identity = (now.st_dev, now.st_ino, now.st_mtime_ns, now.st_size)
        known = _read.get(path)
        if known is not None and known[0] == identity:
            return known[1]
        fd = use(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise UnknownName(f"cannot read {path}: {exc.strerror}") from exc
    try:
        text = os.read(fd, _MAX_BYTES).decode(errors="surrogateescape")
    finally:
        os.close(fd)
    rows = [line.split(":") for line in text.splitlines() if line and line[0] not in "#+-"]
    _read[path] = (identity, rows)
    return rows


def _number(text: str) -> int:
    """A uid or gid; -1 and 0xffffffff mean "no change" to the kernel, so they are none."""
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 11 else -1
    if not 0 <= value < 0xFFFFFFFF:
        raise UnknownName(f"its number {text!r} is none")
    return value


def group_id(name: str) -> int:
    """The gid of a local group. Raises UnknownName."""
    for row in _lines("/etc/group"):
        if row[0] == name and len(row) >= 3:
            return _number(row[2])
    raise UnknownName(f"no group {name} in /etc/group")


def _row(column: int, value: str) -> list[str]:
    for row in _lines("/etc/passwd"):
        if len(row) >= 7 and row[column] == value:
            return row
    raise UnknownName(f"no user {value} in /etc/passwd")


def user_id(name: str) -> int:
    """The uid of a local user. Raises UnknownName."""
    return _number(_row(0, name)[2])


def name(uid: int) -> str:
    """Of a user, for people to read: "uid 7" if that has none."""
    try:
        return _row(2, str(uid))[0]
    except UnknownName:
        return f"uid {uid}"


def identity(user: str, group: str, groups: tuple[str, ...]) -> Identity:
    """Whom a unit runs as. `user` "": whoever the supervisor is. Raises UnknownName."""
    me = os.geteuid()
    extra = tuple(group_id(name) for name in groups)
    if not user:
        try:
            row = _row(2, str(me))
            name, home, shell = row[0], row[5], row[6]
        except UnknownName:
            name, home, shell = str(me), "/", "/bin/sh"
        if not group and not groups:
            return Identity(name, None, os.getegid(), (), home, shell)
        gid = group_id(group) if group else os.getegid()
        return Identity(name, me, gid, extra, home, shell)
    row = _row(0, user)
    uid, gid = _number(row[2]), group_id(group) if group else _number(row[3])
    member = tuple(
        _number(g[2])
        for g in _lines("/etc/group")
        if len(g) >= 4 and user in g[3].split(",")
    )
    every = tuple(dict.fromkeys((*member, gid, *extra)))
    if uid == me and not group and not groups:  # nothing to change, and an ordinary user may not
        return Identity(user, None, gid, (), row[5], row[6])
    return Identity(user, uid, gid, every, row[5], row[6])


def find_program(word: str, path: str) -> str | None:
    """The path of a command word: itself, or the first executable of that name in `path`."""
    if "/" in word:
        return word
    for folder in path.split(":"):
        full = f"{folder or '.'}/{word}"
        if folder.startswith("/") and os.access(full, os.X_OK) and os.path.isfile(full):
            return full
    return None

"""access.toml: who has which role on which units.

    [[allow]]
    user = "deploy"         # or group = "ops"; a number where a name service knows the name
    role = "operate"        # observe, operate, admin
    units = ["web*"]        # globs of unit names; all of them where this is left out

Law: strict. Whatever is not understood is a problem with its line, and a file with one grants
nothing to anybody: a rule that meant to narrow someone's rights is never lost to a typing error.
"""
from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

import tomli

from supervisor.control.access import ADMIN, EVERY, ROLES, Access, Rule
from supervisor.kernel.users import UnknownName, group_id, user_id
from supervisor.model.report import Problem

_MAX_BYTES = 64 * 1024
_MAX_ID = 0xFFFFFFFE
# What the kernel shows instead of any id that has none in our user namespace: it may be anybody.
_OVERFLOW_ID = 65534
_PATTERN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-*?")
_CLOSED = "until it is mended, nobody but root and the supervisor's own user has a role"

Wrong = Callable[[str, str], None]  # key, what cannot be done


def read(path: str, own_uid: int, control_gid: int | None) -> Access:
    """The access of a supervisor that runs as `own_uid`, whose control socket belongs to the group
    `control_gid`, and whose rules are in the file `path`, if there is one."""
    try:
        text = _text(path, own_uid)
    except FileNotFoundError:
        return Access(own_uid, control_gid)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        problem = Problem(path, 0, "", f"cannot read it: {reason}; {_CLOSED}")
        return Access(own_uid, control_gid, problems=(problem,))
    return parse(path, text, own_uid, control_gid)


def _text(path: str, own_uid: int) -> str:
    """The file, if only root and we ourselves can have written it. Raises OSError, ValueError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("it is no regular file")
        if facts.st_uid not in {0, own_uid}:
            raise ValueError(f"it belongs to uid {facts.st_uid}")
        if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("its group or others may write it")
        data = os.read(fd, _MAX_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def parse(path: str, text: str, own_uid: int, control_gid: int | None) -> Access:
    """The access that `text`, the contents of `path`, grants; all its problems at once."""
    problems: list[Problem] = []
    lines = text.splitlines()

    def wrong(start: int | None, key: str, what: str) -> None:
        problems.append(Problem(path, _line(lines, key, start), key, f"cannot {what}; {_CLOSED}"))

    try:
        document = tomli.loads(text)
    except (tomli.TOMLDecodeError, RecursionError) as exc:
        line = exc.lineno if isinstance(exc, tomli.TOMLDecodeError) else 0
        problem = Problem(path, line, "", f"cannot read it as TOML: {exc}; {_CLOSED}")
        return Access(own_uid, control_gid, problems=(problem,))

    for key in document.keys() - {"allow"}:
        wrong(None, key, 'use this key: only "allow" is known here')
    entries = document.get("allow", [])
    if not isinstance(entries, list):
        wrong(None, "allow", "use this: a rule begins with [[allow]]")
        entries = []
    heads = [i for i, line in enumerate(lines) if "".join(line.split()).startswith("[[allow]]")]
    rules: list[Rule] = []
    for number, entry in enumerate(entries):
        start = heads[number] if number < len(heads) else None  # written inline: anywhere

        def wrong_here(key: str, what: str, start: int | None = start) -> None:
            wrong(start, key, what)

        if not isinstance(entry, dict):
            wrong_here("allow", "use this: a rule is a table")
            continue
        rules.extend(_rule(entry, wrong_here))
    if problems:
        return Access(own_uid, control_gid, problems=tuple(problems))
    return Access(own_uid, control_gid, tuple(rules))


def _rule(entry: dict[str, Any], wrong: Wrong) -> list[Rule]:
    """One rule; none if anything in it is wrong, which `wrong` has then been told."""
    for key in entry.keys() - {"user", "group", "role", "units"}:
        wrong(key, "use this key: a rule has user or group, role, and units")
    if ("user" in entry) == ("group" in entry):
        wrong("allow", "tell whom this is for: a rule names either a user or a group")
        return []
    role = ROLES.get(entry.get("role", "")) if isinstance(entry.get("role"), str) else None
    if role is None:
        wrong("role", f"use this role: it is one of {', '.join(ROLES)}")
        return []
    units = entry.get("units", list(EVERY))
    if not isinstance(units, list) or not units or not all(map(_is_pattern, units)):
        wrong("units", 'use this: units is a list of unit names and globs, such as ["web*"]')
        return []
    if role == ADMIN and tuple(units) != EVERY:
        wrong("units", "narrow the role admin to units: it is about the supervisor as a whole")
        return []
    uid = _id(entry, "user", user_id, wrong)
    gid = _id(entry, "group", group_id, wrong)
    return [] if uid is gid is None else [Rule(uid, gid, role, tuple(units))]


def _is_pattern(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 128 and _PATTERN.issuperset(value)


def _id(
    entry: dict[str, Any], key: str, lookup: Callable[[str], int], wrong: Wrong
) -> int | None:
    """The number of the user or group that `entry[key]` names. Digits in quotes are no name."""
    if key not in entry:
        return None
    value = entry[key]
    try:
        if isinstance(value, str):
            value = lookup(value)
        if type(value) is not int or not 0 <= value <= _MAX_ID:
            raise UnknownName("it is neither a name nor a number that the kernel knows")
        if value == _OVERFLOW_ID:
            raise UnknownName(f"{_OVERFLOW_ID} stands for everybody whom the kernel cannot name")
    except UnknownName as exc:
        wrong(key, f"give a {key} a role: {exc}")
        return None
    return int(value)


def _line(lines: list[str], key: str, start: int | None) -> int:
    """The number of the line that sets `key` in the rule that begins at index `start` (else that of
    its beginning), or at the top level (None; else of the first line)."""
    for index in range(start or 0, len(lines)):
        word = lines[index].partition("=")[0].strip()
        if start is None:
            word = word.strip("[]")
        elif index > start and word.startswith("["):
            break
        if word.strip("\"'") == key:
            return index + 1
    return (start or 0) + 1

"""A Landlock ruleset by the kernel's numbers (linux/landlock.h), and the calls that enter a domain.

Law: a right that a ruleset does not handle is not limited, and one that the kernel does not know is
refused with the whole ruleset. So every right is named with the ABI that brought it. Paths are real
ones, opened without following links, so that a link made since they were looked at leads nowhere.

A rule for what is no directory may hold rights on files only (EINVAL). What a path is can change
until it is opened, and is another thing in another view: so the rights on files are allowed first,
which is right for both, and then all of them, where EINVAL says that it was a file.
"""
from __future__ import annotations

from _struct import Struct as _Layout
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from supervisor.kernel.calls import Out, Struct, call
from supervisor.kernel.plan import Step

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_AND_MAKE = (1 << 13) - (1 << 4)  # files and directories; all kinds of nodes
REFER, TRUNCATE, IOCTL_DEV, RESOLVE_UNIX = 1 << 13, 1 << 14, 1 << 15, 1 << 16
READ = READ_FILE | READ_DIR
WRITE = WRITE_FILE | _REMOVE_AND_MAKE | REFER | TRUNCATE | IOCTL_DEV
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV | RESOLVE_UNIX

BIND_TCP, CONNECT_TCP, BIND_UDP, CONNECT_UDP = 1 << 0, 1 << 1, 1 << 2, 1 << 3
ABSTRACT_SOCKETS, SIGNALS = 1 << 0, 1 << 1

NEWEST = 10
LINUX = {  # the kernel that brought each ABI
    1: "5.13", 2: "5.19", 3: "6.2", 4: "6.7", 5: "6.10", 6: "6.12", 7: "6.15", 8: "7.0",
    9: "7.1", 10: "7.2",
}  # fmt: skip
_FILES = {1: (1 << 13) - 1, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV, 9: RESOLVE_UNIX}
_NETWORK = {4: BIND_TCP | CONNECT_TCP, 10: BIND_UDP | CONNECT_UDP}
_SCOPES = {6: ABSTRACT_SOCKETS | SIGNALS}

# struct open_how: O_PATH | O_CLOEXEC, no mode, RESOLVE_NO_SYMLINKS
_HOW = _Layout("<QQQ").pack(0o12000000, 0, 0x04)
_AT_FDCWD = -100
_EINVAL = 22
_PATH_BENEATH, _NET_PORT = 1, 2
_LOG_NEW_EXEC_ON, _LOGS = 2, 7  # what it refuses is written to the audit log; the ABI with it
_Key = TypeVar("_Key", str, int)
_U64, _PORT = _Layout("<Q"), _Layout("<QQ")


def files(abi: int) -> int:
    """The rights on files that a kernel of this ABI can limit."""
    return _known(_FILES, abi)


def network(abi: int) -> int:
    return _known(_NETWORK, abi)


def scopes(abi: int) -> int:
    return _known(_SCOPES, abi)


def since(abi: int) -> str:
    return f"Landlock ABI {abi}, Linux {LINUX[abi]}"


class Ruleset(NamedTuple):
    """What is limited, and what is allowed of it: paths with rights on files, ports with rights on
    the network. An entry's rights that are not limited are left out."""

    files: int = 0
    network: int = 0
    scopes: int = 0
    paths: tuple[tuple[str, int], ...] = ()
    ports: tuple[tuple[int, int], ...] = ()


def steps(rules: Ruleset, abi: int, *, log: bool = False) -> tuple[Step, ...]:
    """The calls by which a process enters the domain of these rules, none if they limit nothing."""
    if not rules.files | rules.network | rules.scopes:
        return ()
    fields = (rules.files, rules.network, rules.scopes)[: 1 if abi < 4 else 2 if abi < 6 else 3]
    attr = b"".join(map(_U64.pack, fields))
    made = [
        call(
            "landlock_create_ruleset", Struct((attr,)), len(attr), result="domain",
            words="rules of Landlock",
        )
    ]  # fmt: skip
    for path, access in _merged(rules.paths):
        handled = access & rules.files
        if handled & ON_FILES:
            made += _path(path, handled & ON_FILES)
        if handled & ~ON_FILES:
            made += _path(path, handled, tolerate=_EINVAL)
    for port, access in _merged(rules.ports):
        if access & rules.network:
            attr = _PORT.pack(access & rules.network, port)
            made.append(_add(_NET_PORT, Struct((attr,)), f"allow port {port}"))
    flags = _LOG_NEW_EXEC_ON if log and abi >= _LOGS else 0
    made.append(
        call("landlock_restrict_self", Out("domain"), flags, words="enter the domain of Landlock")
    )
    return tuple(made)


def _merged(pairs: Iterable[tuple[_Key, int]]) -> Iterable[tuple[_Key, int]]:
    """One entry for each path or port, with the rights of all that name it."""
    found: dict[_Key, int] = {}
    for key, access in pairs:
        found[key] = found.get(key, 0) | access
    return found.items()


def _path(path: str, access: int, tolerate: int = 0) -> list[Step]:
    """Opened and closed for each, so that its limit on open files does not matter."""
    words = f"allow {path} ({', '.join(names(access))})"
    label = f"path {access:x}"
    return [
        call("openat2", _AT_FDCWD, path, _HOW, len(_HOW), result=label, words=f"find {path}"),
        _add(_PATH_BENEATH, Struct((_U64.pack(access), Out(label))), words, tolerate),
        call("close", Out(label), words=f"{path} is allowed"),
    ]


def _add(kind: int, attr: Struct, words: str, tolerate: int = 0) -> Step:
    return call("landlock_add_rule", Out("domain"), kind, attr, words=words, tolerate=tolerate)


def names(access: int) -> list[str]:
    """Rights on files in few words, for people."""
    kinds = {"read": READ, "write": WRITE, "execute": EXECUTE, "connect": RESOLVE_UNIX}
    return [name for name, rights in kinds.items() if access & rights]


def _known(table: dict[int, int], abi: int) -> int:
    return sum(rights for first, rights in table.items() if first <= abi)

"""The table of `[sandbox]` keys. Loaded when a unit has that section, and for documents.

Law as in `values`: accepted exactly or refused with a sentence. What keys cannot be together is in
`isolation`; what a level makes of them in model.policy; whether a host can enforce it is known at
launch only.
"""
from __future__ import annotations

from typing import Any

from supervisor.config.id_map import USERS
from supervisor.config.promises import CAPABILITY, PROMISE, meant
from supervisor.config.table import Fault, Key, Refused, Table, Type, rows, show
from supervisor.config.values import BOOLEAN, choice, integer, listed, path, text
from supervisor.model.sandbox import AT_WORDS, Opened, Sandbox

MAX_HOSTNAME = 64
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")

# --- paths and names ---


def absolute(value: object) -> str:
    """A path as the kernel resolves it but for links: without "..", ".", and doubled slashes."""
    parts = path(value).split("/")
    if ".." in parts:
        raise Refused(f'cannot use {show(value)}: it goes up with ".."; write where that leads')
    return "/" + "/".join(part for part in parts if part not in {"", "."})


def _place(value: object) -> str:
    if type(value) is not str or not value.startswith("@"):
        return absolute(value)
    for word in AT_WORDS:
        if word == value:
            return word
    hint = meant(value, AT_WORDS) or f"; they are {', '.join(AT_WORDS)}"
    raise Refused(f"cannot use {show(value)}: there is no such word{hint}")


def _device(value: object) -> str:
    found = absolute(value)
    if not found.startswith("/dev/"):
        raise Refused(f'cannot use {show(value)}: a device is below /dev, as in "/dev/fuse"')
    return found


def file_name(value: str) -> bool:
    """Whether it can name one file or directory, and means nothing else anywhere."""
    return 0 < len(value) <= 255 and _NAME.issuperset(value) and value[0] not in ".-"


def _filled(value: str) -> str:
    """`value` with something in place of what is filled in at launch."""
    return value.replace("{instance}", "0").replace("{unit}", "u")


def _directory(value: object) -> str:
    found = text(value)
    if not file_name(_filled(found)):
        raise Refused(
            f"cannot use {show(value)}: it is no directory's name; write one name, of a-z, A-Z, "
            "0-9, '.', '_' and '-', that begins with a letter, digit or '_'"
        )
    if found == "unboxed":
        raise Refused('cannot use "unboxed": that directory is the supervisor\'s own; rename it')
    return found


def _hostname(value: object) -> str:
    found = text(value)
    bare = _filled(found)
    if not file_name(bare) or len(bare) > MAX_HOSTNAME:
        raise Refused(
            f'cannot use {show(value)}: write "host", "own" or a name of 1 to {MAX_HOSTNAME} of '
            "a-z, A-Z, 0-9, '.', '_' and '-', that begins with a letter, digit or '_'"
        )
    return found


def _gpu(value: object) -> str:
    found = text(value)
    number = found.removeprefix("nvidia").removeprefix("amd")
    if found == "all" or (found in {f"nvidia{number}", f"amd{number}"} and number in _CARD_NUMBERS):
        return found
    raise Refused(f'cannot use {show(value)}: write "all", or cards such as "nvidia0" or "amd1"')


def _gpus(value: object) -> tuple[str, ...]:
    found: tuple[str, ...] = _CARDS.parse(value)
    if "all" in found and len(found) > 1:
        raise Refused('cannot use this list: "all" is all of them; remove the others')
    return found


_CARD_NUMBERS = frozenset(map(str, range(256)))
_CARDS = listed(Type(_gpu, "text", "`all`, `nvidiaN` or `amdN`"), 64)

# --- promises ---

_PROMISES = listed(PROMISE)


def _promises(value: object) -> tuple[str, ...]:
    found: tuple[str, ...] = _PROMISES.parse(value)
    if not found:
        raise Refused('cannot be empty: every program needs "stdio"; write that, or remove it')
    return found


# --- descriptors ---


def _make_opened(**fields: Any) -> Opened:
    if "fd" not in fields:
        raise Refused("cannot do without fd; add that key")
    return Opened(**fields)


OPENED = Table(
    Opened,
    Key("path", Type(absolute, "path", "absolute path"), "path", "", "what is opened; required"),
    Key("fd", integer(3, 255), "fd", "", "the descriptor it gets; required"),
    Key(
        "mode",
        choice("read", "write", "append", "read-write"),
        "mode",
        '"read"',
        "how it is opened: `write` empties it; all but `read` make it if it is not there",
    ),
    make=_make_opened,
    required="path",
)


def _opened(value: object) -> tuple[Opened, ...]:
    found: tuple[Opened, ...] = rows(value, OPENED.read, '{path = "/etc/key", fd = 3}')
    fds = [one.fd for one in found]
    faults: list[Fault] = [
        ((index, "fd"), f"cannot be {fd}: another one of this list is; give each its own")
        for index, fd in enumerate(fds)
        if fd in fds[:index]
    ]
    if faults:
        raise Refused.of(faults)
    return found


# --- the section ---

PLACES = listed(Type(_place, "place", "absolute path, or @word"))
_DIRECTORIES = listed(Type(_directory, "text", "directory name"), 64)
_OWN = choice("host", "own")

SANDBOX = Table(
    Sandbox,
    Key(
        "level",
        choice("off", "base", "app", "strict"),
        "level",
        '"base"',
        "what holds without further keys: see below",
    ),
    Key(
        "promises",
        Type(_promises, "list", _PROMISES.words, PROMISE),
        "promises",
        "",
        "the system calls that it may make, by what they are for; `stdio` goes without saying",
    ),
    Key("read", PLACES, "read", "", "the only paths that it may read, with all below them"),
    Key("write", PLACES, "write", "", "the only paths that it may change, with all below them"),
    Key(
        "exec",
        PLACES,
        "exec",
        "",
        "the only programs that it may start, or what is below; without `read` it reads no more",
    ),
    Key(
        "view",
        choice("hide", "deny"),
        "view",
        "",
        "how other paths are kept from it: they are not there (`hide`, unless set), or access is "
        "denied (`deny`, which needs no root)",
    ),
    Key(
        "open",
        Type(_opened, "entries", "list of `{path, fd, mode}`", OPENED),
        "open",
        "[]",
        "files opened for it and passed, so that it needs no path to them",
    ),
    Key(
        "processes",
        choice("host", "own", "hidden"),
        "processes",
        "",
        "`own`: a pid namespace; `hidden`: in /proc it sees its own user's only",
    ),
    Key("ipc", _OWN, "ipc", "", "`own`: System V and POSIX queues, shared memory of its own"),
    Key(
        "hostname",
        Type(_hostname, "text", "`host`, `own`, or a name"),
        "hostname",
        "",
        "`own`: the unit's name is its host name; another text: that is",
    ),
    Key("time", _OWN, "time", "", "`own`: a time namespace; its uptime begins with it"),
    Key("cgroup", _OWN, "cgroup", "", "`own`: its cgroup is the root of what it sees of cgroups"),
    Key("tmp", choice("shared", "private"), "tmp", "", "`private`: an own /tmp and /var/tmp"),
    Key(
        "state", _DIRECTORIES, "state", "[]", "directories made for it in /var/lib, which it owns"
    ),
    Key(
        "runtime", _DIRECTORIES, "runtime", "[]",
        "the same in /run; gone when it has stopped, unless it was there before",
    ),
    Key("cache", _DIRECTORIES, "cache", "[]", "the same in /var/cache"),
    Key("logs", _DIRECTORIES, "logs", "[]", "the same in /var/log"),
    Key("users", Type(USERS.read, "users", "`{map}`", USERS), "users", "", "a user namespace"),
    Key(
        "devices",
        listed(Type(_device, "path", "path below /dev")),
        "devices",
        "",
        "the only devices that it may use, beside null, zero, full, random, urandom, tty and ptmx",
    ),
    Key(
        "gpus",
        Type(_gpus, "list", "`all`, or list of `nvidiaN` and `amdN`", _CARDS.detail),
        "gpus",
        "[]",
        "graphics cards that it may use",
    ),
    Key(
        "capabilities",
        listed(CAPABILITY),
        "capabilities",
        "",
        'what it may do of what root may; nothing unless set or `user = "root"`',
    ),
    Key(
        "jit",
        BOOLEAN,
        "jit",
        "",
        "`false`: memory that was writable never becomes executable; `true` unless set",
    ),
    Key(
        "on_violation",
        choice("errno", "kill", "log"),
        "on_violation",
        '"errno"',
        "a call that was not promised fails, ends it, or is allowed and told (log `unboxed`)",
    ),
    Key(
        "require",
        choice("all", "best"),
        "require",
        '"all"',
        "`all`: it does not start where a key cannot be enforced; `best`: it starts, and that is "
        "said",
    ),
)

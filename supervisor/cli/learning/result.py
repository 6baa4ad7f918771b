"""The unit file that comes of notes: text that can be pasted, or written as a drop-in.

Law: what is listed is accepted by config as it stands, and every promise says which calls it is
there for. What could not be turned into a rule is a comment, never left out in silence.
"""
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from supervisor.cli.learning import collapse
from supervisor.cli.learning.notes import Address, Notes
from supervisor.config.render import quote
from supervisor.kernel.seccomp.least import Least, least

_ID = "id"  # the promise that no dynamic user can have
_WIDTH = 90
_SHOWN = 8  # of what a remark tells
_SOCKETS = {  # the words of which config wants one
    "bind": {"inet"}, "connect": {"inet", "dns"}, "connect to a path": {"unix"},
}  # fmt: skip
_INSTALLED = ("/bin", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")  # not content
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


class Subject(NamedTuple):
    """What is known of the unit beside what was seen. `own`: what @self is; `words`: (@word,
    directory); `hooks`: it has commands beside its own. `dynamic`: its user is."""

    unit: str
    own: tuple[str, ...]
    words: tuple[tuple[str, str], ...]
    seconds: float
    hooks: bool = False
    dynamic: bool = False


class Result(NamedTuple):
    promises: tuple[str, ...]
    why: dict[str, tuple[str, ...]]
    never: tuple[str, ...]
    lists: collapse.Lists
    listen: tuple[str, ...]
    connect: tuple[str, ...]
    unix: tuple[str, ...]
    remarks: tuple[str, ...]


def result(notes: Notes, subject: Subject) -> Result:
    found = least(notes.needed())
    lists = collapse.lists(notes.uses, notes.kinds, subject.own, subject.words)
    why = dict(found.why)
    listen = sorted({_port(one) for one in notes.listens if one.protocol in ("tcp", "udp")})
    reached = {one for one in notes.connects if one.protocol in ("tcp", "udp") and one.port}
    reached -= _sorted(notes, reached)
    connect = sorted(set(map(_port, reached)))
    unix = sorted({one.name for one in notes.connects if one.protocol == "unix"})
    if _any(listen):
        listen = [one for one in listen if one.split(":")[0] + ":*" not in listen or "*" in one]
    sockets = {"bind": listen, "connect": connect, "connect to a path": unix}
    promises = _promises(found, notes, why, sockets, dynamic=subject.dynamic)
    return Result(
        promises, why, found.never, lists, tuple(listen), tuple(connect), tuple(unix),
        tuple(_remarks(notes, found, lists, reached, subject)),
    )  # fmt: skip


def _sorted(notes: Notes, reached: Collection[Address]) -> set[Address]:
    """getaddrinfo() sorts what it found by connecting UDP sockets, over which nothing is sent: they
    lead where the program itself then connects, or listens."""
    own = {(one.name, one.port) for one in (*reached, *notes.listens) if one.protocol == "tcp"}
    return {
        one for one in reached
        if one.protocol == "udp" and (one.name in _ANYWHERE or (one.name, one.port) in own)
    }  # fmt: skip


def _promises(
    found: Least, notes: Notes, why: dict[str, tuple[str, ...]],
    sockets: Mapping[str, Collection[str]], *, dynamic: bool,
) -> tuple[str, ...]:
    """`sockets`: by what was done with them, the rules that come of it. A rule takes the word whose
    sockets it is about, also where another word allows the calls that were seen so far."""
    words = [word for word in found.words if not (dynamic and word == _ID)]
    started = [one.call for one in notes.calls if one.call in ("execve", "execveat")]
    if started and "exec" not in words:
        words.append("exec")
        why["exec"] = tuple(dict.fromkeys(started))
    for done, enough in _SOCKETS.items():
        if sockets[done] and not enough & set(words):
            word = "unix" if "unix" in enough else "inet"
            words.append(word)
            why[word] = (done,)
    return tuple(words)


def _any(listen: Collection[str]) -> bool:
    return any("*" in one for one in listen)


def _port(address: Address) -> str:
    return f"{address.protocol}:{address.port or '*'}"


def _remarks(
    notes: Notes, found: Least, lists: collapse.Lists, reached: Iterable[Address],
    subject: Subject,
) -> Iterable[str]:  # fmt: skip
    if subject.hooks:
        yield "its commands around start, stop and reload were not seen, and get the same sandbox"
    if found.never:
        yield f"refused whatever is promised: {', '.join(found.never)}"
    if subject.dynamic and _ID in found.words:
        calls = ", ".join(found.why[_ID])
        yield f"refused, since a dynamic user can become nobody: {calls}; or name a user"
    if lists.shared:
        yield (
            "not granted as a whole, since others' files are there: "
            f"{', '.join(lists.shared)}; list what it needs of them"
        )
    trees = sorted(set(_trees(lists, notes)))
    if trees:
        yield (
            "files are listed one by one, so a new one beside them is not there for it; where they"
            f" come and go, list the directory: {', '.join(trees[:_SHOWN])}"
            f"{', ...' * (len(trees) > _SHOWN)}"
        )
    if notes.absent:
        yield f"{len(notes.absent)} paths that are not there were looked for, and are left out"
    refused = sorted(notes.refused - notes.uses.keys())
    if refused:
        yield (
            f"{len(refused)} paths belong to others, who do not let it, and are left out: "
            f"{', '.join(refused[:_SHOWN])}{', ...' * (len(refused) > _SHOWN)}"
        )
    abstract = sorted(f"@{one.name}" for one in notes.listens | notes.connects
                      if one.protocol == "abstract")  # fmt: skip
    if abstract:
        yield f"abstract unix sockets, which no list can name: {', '.join(abstract)}"
    hosts = sorted({f"{one.name} port {one.port}" for one in reached})
    if hosts:
        more = ", ..." * (len(hosts) > _SHOWN)
        yield f"it was connected to {', '.join(hosts[:_SHOWN])}{more}"


def _trees(lists: collapse.Lists, notes: Notes) -> Iterable[str]:
    """Directories of content of which files are listed to be read."""
    for path in lists.read:
        above = path.rpartition("/")[0]
        file = notes.kinds.get(path) == "file"
        if file and not collapse.is_shared(above) and not collapse.below(path, _INSTALLED):
            yield above


def to_toml(found: Result, subject: Subject, notes: Notes) -> str:
    seen = f"{notes.asked} calls of {len(notes.processes)} threads"
    lines = [
        f"# Learned by `unboxed learn {subject.unit}` in {subject.seconds:.0f} s, from {seen}.",
        *(f"# {_tidy(remark)}" for remark in found.remarks),
        "[sandbox]",
        'level = "strict"',
        "promises = [",
        *(_promise(word, found.why.get(word, ())) for word in found.promises),
        "]",
        *_listed("read", found.lists.read),
        *_listed("write", found.lists.write),
        *_listed("exec", ("@self", *found.lists.exec)),
    ]
    if found.lists.devices:
        lines += _listed("devices", found.lists.devices)
    lines += [
        "",
        "[network]",
        *_listed("listen", found.listen),
        *_listed("connect", found.connect),
        *_listed("unix", found.unix),
    ]
    return "\n".join(lines) + "\n"


def _promise(word: str, calls: Collection[str]) -> str:
    text = f"    {quote(word)},"
    if not calls:
        return text
    shown = ", ".join(calls)
    if len(shown) > _WIDTH - len(text):
        shown = shown[: _WIDTH - len(text)].rpartition(", ")[0] + ", ..."
    return f"{text}  # {shown}"


def _listed(key: str, values: Collection[str]) -> list[str]:
    """One line if there is room, else one for each value. What TOML or config cannot say is a
    comment."""
    good = [quote(value) for value in values if _sayable(value)]
    bad = [f"# {key} cannot list {_tidy(one)!r}" for one in values if not _sayable(one)]
    line = f"{key} = [{', '.join(good)}]"
    if len(line) <= _WIDTH:
        return [*bad, line]
    return [*bad, f"{key} = [", *(f"    {value}," for value in good), "]"]


def _sayable(value: str) -> bool:
    """No character that a unit file refuses: controls, and bytes that are no text."""
    return value.isprintable() and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _tidy(text: str) -> str:
    return "".join(
        letter if letter.isprintable() and not "\ud800" <= letter <= "\udfff" else "?"
        for letter in text
    )  # fmt: skip

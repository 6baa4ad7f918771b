"""From every path that was used to the few that a unit file lists.

Law: what a list grants is never more than a directory of which more than MOST entries were used,
and never one of SHARED, where the files of many services lie side by side. What every service has
anyway is not listed.
"""
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from supervisor.kernel.sandbox.paths import TEMPORARY

MOST = 3
SHARED = frozenset((
    "/", "/bin", "/boot", "/dev", "/etc", "/etc/default", "/etc/init.d", "/etc/ssl",
    "/etc/ssl/private", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc", "/root",
    "/run", "/run/lock", "/run/user", "/sbin", "/srv", "/sys", "/sys/class", "/sys/devices",
    "/sys/fs", "/sys/fs/cgroup", "/sys/kernel", "/sys/module", "/usr", "/usr/bin",
    "/usr/include", "/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/local", "/usr/local/bin",
    "/usr/local/etc", "/usr/local/lib", "/usr/local/sbin", "/usr/local/share", "/usr/sbin",
    "/usr/share", "/usr/src", "/var", "/var/cache", "/var/lib", "/var/lock", "/var/log",
    "/var/mail", "/var/run", "/var/spool", "/var/www",
))  # fmt: skip
_PERSONAL = ("/home", "/run/user", "/var/spool")  # each directory in these is of somebody else
# Every service has these: kernel/sandbox makes them.
_DEVICES = frozenset((
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx",
    "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/pts", "/dev/console",
))  # fmt: skip
_KNOWN = ("/proc", "/dev/pts", "/dev/fd")


class Lists(NamedTuple):
    """`shared`: directories that were listed or changed as a whole, and are not granted."""

    read: tuple[str, ...]
    write: tuple[str, ...]
    exec: tuple[str, ...]
    devices: tuple[str, ...]
    shared: tuple[str, ...]


def lists(
    uses: Mapping[str, Collection[str]], kinds: Mapping[str, str], own: Collection[str],
    words: Iterable[tuple[str, str]],
) -> Lists:
    """`own`: what @self stands for. `words`: (@word, a directory that it stands for)."""
    words = tuple(words)
    paths = {path: set(found) for path, found in uses.items() if not known(path)}
    devices = {path for path in paths if kinds.get(path) == "device" and below(path, ("/dev",))}
    shared = {path for path in paths if is_shared(path) and not _word(path, words)}
    whole = {path for path in shared if paths[path] & {"read", "write"} and path != "/"}
    rest = {path: found for path, found in paths.items() if path not in devices | shared}
    runs = {path for path, found in rest.items() if "exec" in found and not below(path, own)}
    write = _few((path for path, found in rest.items() if "write" in found), kinds, words)
    reads = {path for path, found in rest.items() if "read" in found}
    there = {*reads, *write, *runs}
    # A directory above what is listed is there by itself.
    reads |= {
        path for path, found in rest.items()
        if "look" in found and not any(one.startswith(path + "/") for one in there)
    }  # fmt: skip
    # What may be written or executed may be read too.
    kept = (
        path for path in reads - runs
        if not below(path, (*write, *own)) and _word(path, words) not in write
    )  # fmt: skip
    return Lists(
        tuple(_few(kept, kinds, words)), tuple(write), tuple(sorted(runs)), tuple(sorted(devices)),
        tuple(sorted(whole)),
    )  # fmt: skip


def known(path: str) -> bool:
    return path in _DEVICES or below(path, _KNOWN)


def below(path: str, tops: Iterable[str]) -> bool:
    """Whether it is one of these, or within."""
    return any(path == top or path.startswith(top.rstrip("/") + "/") for top in tops)


def is_shared(path: str) -> bool:
    above = path.rpartition("/")[0]
    return path in SHARED or path in TEMPORARY or above in _PERSONAL or (
        above == "/usr/lib" and path.endswith(("-gnu", "-musl"))
    )  # fmt: skip


def _few(
    paths: Iterable[str], kinds: Mapping[str, str], words: tuple[tuple[str, str], ...]
) -> list[str]:
    """@words first, then paths: none below another, no more than MOST in one directory."""
    named = {_word(path, words) or path for path in paths}
    ours = {path for path in named if path.startswith("@")}
    found = named - ours
    directories = {path for path in found if kinds.get(path) == "directory"}
    while True:
        found = {path for path in found if not below(path.rpartition("/")[0] or "/", directories)}
        entries: dict[str, int] = {}
        for path in found:
            above = path.rpartition("/")[0] or "/"
            entries[above] = entries.get(above, 0) + 1
        many = {above for above, count in entries.items() if count > MOST and not is_shared(above)}
        if not many:
            return [*sorted(ours), *sorted(found)]
        found |= many
        directories |= many


def _word(path: str, words: Iterable[tuple[str, str]]) -> str:
    return next((word for word, top in words if below(path, (top,))), "")

"""What an earlier version of the file had made: so that what is no longer in it can be taken away,
and what others made is left alone.

Law: a record is written before the kernel is changed (what is there or may be) and after it (what
is there), each time whole. It lives in the runtime directory, which ends with the boot as the
kernel's state does. One that cannot be read is none: then nothing is taken away.
"""
from __future__ import annotations

import os

import msgspec
from msgspec import Struct

from supervisor.boot.net.seen import Way


class Made(Struct, frozen=True, forbid_unknown_fields=True):
    """`chosen`: the interface that a table of the file means. `before`: link, key and what a
    setting was before the file set it."""

    links: frozenset[str] = frozenset()
    addresses: frozenset[tuple[str, str]] = frozenset()
    ways: frozenset[Way] = frozenset()
    members: frozenset[tuple[str, str]] = frozenset()
    up: frozenset[str] = frozenset()
    dhcp: frozenset[str] = frozenset()
    chosen: tuple[tuple[str, str], ...] = ()
    before: tuple[tuple[str, str, str], ...] = ()

    def plus(self, other: Made) -> Made:
        """Both. `chosen` is the other's; what was before both is this one's."""
        known = {(link, key) for link, key, _ in self.before}
        more = tuple(row for row in other.before if row[:2] not in known)
        return Made(
            self.links | other.links, self.addresses | other.addresses, self.ways | other.ways,
            self.members | other.members, self.up | other.up, self.dhcp | other.dhcp,
            other.chosen, self.before + more,
        )


def load(folder: str) -> Made:
    try:
        with open(f"{folder}/made.json", "rb") as file:
            return msgspec.json.decode(file.read(), type=Made)
    except (OSError, msgspec.MsgspecError):
        return Made()


def store(folder: str, made: Made) -> None:
    """Raises OSError."""
    os.makedirs(folder, mode=0o755, exist_ok=True)
    replace_file(f"{folder}/made.json", msgspec.json.encode(made))


def replace_file(path: str, data: bytes, mode: int = 0o644) -> None:
    """The whole file or none of it, also after a power failure. Raises OSError."""
    new = f"{path}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(fd, mode)  # whatever the umask
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(new, path)

"""A message to everybody who is logged in at a terminal, as wall(1) writes it.

Law: nobody's terminal is waited for: one that is held (^S), or full, does not get it.
"""
from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator

UTMP = "/run/utmp"
DEV = "/dev"
_USER_PROCESS = 7
# The beginning of glibc's struct utmp, and its whole size: 384 bytes, 400 where times have 64 bits.
_ENTRY = struct.Struct("=hxxi32s")
_SIZES = {"aarch64": 400, "aarch64_be": 400}
_FLAGS = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


def wall(text: str, utmp: str = UTMP, dev: str = DEV) -> int:
    """How many terminals got it."""
    user = os.environ.get("SUDO_USER") or os.environ.get("USER") or f"uid {os.getuid()}"
    head = f"Broadcast message from {user}@{os.uname().nodename}:"
    data = f"\r\n\a{_clean(head)}\r\n\r\n{_clean(text)}\r\n\r\n".encode(errors="replace")
    return sum(_write(f"{dev}/{line}", data) for line in dict.fromkeys(terminals(utmp, dev)))


def _clean(text: str) -> str:
    """Nothing that a terminal obeys but new lines: the name is from the environment, the text is
    anybody's."""
    return "\r\n".join(
        "".join(char if char.isprintable() else " " for char in line) for line in text.splitlines())


def terminals(utmp: str, dev: str) -> Iterator[str]:
    """Those that somebody is logged in at, below /dev; where nobody keeps a list, all that there
    are of terminal emulators and network logins."""
    try:
        with open(utmp, "rb") as file:
            data = file.read(1 << 22)
    except OSError:
        data = b""
    size = _SIZES.get(os.uname().machine, 384)
    found = False
    for at in range(0, len(data) - size + 1, size):
        kind, pid, line = _ENTRY.unpack_from(data, at)
        name = line.split(b"\0")[0].decode(errors="replace")
        if kind == _USER_PROCESS and pid and name and ".." not in name:
            found = True
            yield name.removeprefix("/dev/")
    if not found:
        try:
            yield from (f"pts/{name}" for name in sorted(os.listdir(f"{dev}/pts"))
                        if name.isdigit())
        except OSError:
            return


def _write(path: str, data: bytes) -> bool:
    try:
        fd = os.open(path, _FLAGS)
    except OSError:
        return False
    try:
        return os.isatty(fd) and os.write(fd, data) > 0
    except OSError:
        return False
    finally:
        os.close(fd)


def tell(text: str) -> None:
    """As `wall`, for a command that says so here too: its own terminal may be none of those."""
    if not wall(text):
        print(text, file=sys.stderr)

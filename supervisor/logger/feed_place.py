r"""What a feed remembers: how far its agent has acknowledged (its cursor), and its progress.

Law: both files are replaced whole, so a reader sees the old or the new. The cursor is written soon
after an acknowledgement, not before: what is lost with it is sent again. So it is not synced
either (that takes twice to four times as long, and as long as it takes on a busy disk); a cursor
that a power failure emptied counts as none.

    cursor      "KEY@OFFSET\n" for each stream, the offset in hexadecimal
    progress    {"behind_bytes": n, "delivered": {KEY: offset}, "acknowledged": {KEY: offset}}
"""
from __future__ import annotations

import os
from _json import encode_basestring as quote  # json costs 5 ms
from errno import ENOSPC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MODE = 0o600
PROGRESS_MODE = 0o640


def replace(path: str, text: str, mode: int) -> None:
    """Raises OSError."""
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        data = text.encode()
        if os.write(fd, data) != len(data):
            raise OSError(ENOSPC, os.strerror(ENOSPC))
    finally:
        os.close(fd)
    os.rename(temporary, path)


def parse_cursors(data: bytes) -> Iterator[tuple[str, int]]:
    """(key, offset) for each line that is one; the rest is not for us to understand."""
    for line in data.decode("utf-8", "replace").split("\n"):
        key, _, digits = line.rpartition("@")
        try:
            offset = int(digits, 16)
        except ValueError:
            continue
        if key and offset >= 0:
            yield key, offset


def read_cursor(path: str) -> tuple[dict[str, int], int]:
    """What was acknowledged of each stream, and when that was written (realtime ns). ({}, 0) if
    there is none yet. Raises OSError if there is one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return dict(parse_cursors(file.read())), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return {}, 0


def write_cursor(path: str, acknowledged: Mapping[str, int]) -> None:
    """Raises OSError."""
    lines = [f"{key}@{offset:x}\n" for key, offset in acknowledged.items()]
    try:
        replace(path, "".join(lines), MODE)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        replace(path, "".join(lines), MODE)


def write_progress(
    path: str, pipe: int, behind_bytes: int, delivered: Mapping[str, int],
    acknowledged: Mapping[str, int],
) -> None:
    """`pipe`: its inode number, by which a successor knows whether it goes on in the same one.
    Raises OSError."""
    offsets = [
        "{" + ",".join([f"{quote(key)}:{offset}" for key, offset in each.items()]) + "}"
        for each in (delivered, acknowledged)
    ]
    text = (
        f'{{"behind_bytes":{behind_bytes},"pipe":{pipe},"delivered":{offsets[0]},'
        f'"acknowledged":{offsets[1]}}}\n'
    )
    replace(path, text, PROGRESS_MODE)


def delivered_into(path: str, pipe: int) -> dict[str, int] | None:
    """What a predecessor wrote into this very pipe; None: there was none."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return None
    import json  # a feed is replaced rarely

    try:
        found = json.loads(data)
        if found["pipe"] != pipe:
            return None
        return {str(key): int(offset) for key, offset in found["delivered"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None

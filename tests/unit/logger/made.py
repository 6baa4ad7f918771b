"""Streams that are written as a logger would leave them, without one: any kinds, any cuts."""
from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from supervisor.logger.form import ENTRY, INDEX, LOG, directory_of, segment_name

Arrival = tuple[int, int, bytes]  # time (realtime ns), kind, bytes


def make(
    logdir: Path, key: str, arrivals: Iterable[Arrival], *, cuts: Collection[int] = (),
    ahead: Collection[int] = (), start: int = 0,
) -> Path:
    """The stream's directory. A new segment begins before each arrival whose number is in `cuts`,
    an entry without bytes says its kind before each one in `ahead`."""
    home = logdir / directory_of(key)
    home.mkdir(parents=True, exist_ok=True)
    at = begin = start
    data = index = b""
    last_ns = 0

    def close() -> None:
        for suffix, content in ((LOG, data), (INDEX, index)):
            path = home / segment_name(begin, suffix)
            path.write_bytes(content)
            os.utime(path, ns=(last_ns, last_ns))

    for number, (time_ns, kind, content) in enumerate(arrivals):
        if number in cuts and data:
            close()
            begin, data, index = at, b"", b""
        if number in ahead:
            index += ENTRY.pack(time_ns, at, 0, kind, 0)
        index += ENTRY.pack(time_ns, at, len(content), kind, 0)
        data += content
        at += len(content)
        last_ns = time_ns
    close()
    return home

"""The times of the supervisor's start, as the journal has them. Law: loaded only where they are
asked for, and when the journal is written anew."""
from __future__ import annotations

from msgspec import DecodeError, msgpack

from supervisor.core.boot_times import BootTimes
from supervisor.manager.journal import Journal
from supervisor.model.state import Transition


def read(journal: Journal) -> BootTimes:
    """Raises OSError."""
    times = BootTimes()
    try:
        for kind, text in journal.records():
            if kind == b"B":
                times.add(msgpack.decode(text, type=BootTimes))
            elif kind == b"T" and not times.done_ns:
                times.note(msgpack.decode(text, type=list[Transition]))
    except (DecodeError, ValueError):
        pass  # of another version: what was understood is told
    return times

"""Tables of keys that later versions will know, and that are refused until then, by name.

A part of the schema. When one is delivered its keys move to `schema`, with their types.
"""
from __future__ import annotations

from supervisor.config.table import Key, Table, Type, later


def _later(table: str, keys: str) -> Key:
    """A table of a later version: `keys` are "name: meaning" lines."""
    rows = [line.strip().split(": ", 1) for line in keys.strip().splitlines()]
    known = Table(dict, *(Key(name, later(f"{table}.{name}"), "", "", why) for name, why in rows))
    whole = later(table)

    def refuse(value: object) -> None:
        if value and type(value) is dict:
            known.read(value)  # names each key, and finds the misspelt ones
        whole.parse(value)

    return Key(table, Type(refuse, "later", whole.words, known), "", "", "")


PLANNED = (
    _later(
        "rollout",
        """strategy: restart, rolling or surge
        max_unavailable: so many instances at a time
        auto_rollback: go back when it fails
        watch: healthy so long before it counts as done""",
    ),
    _later(
        "release",
        """directory: where releases are kept
        keep: so many of them""",
    ),
    _later(
        "health",
        """http: an address that answers
        tcp: a port that accepts
        exec: a command that succeeds
        interval: time between probes
        timeout: of one probe
        failures: so many in a row are bad
        successes: so many in a row are good
        start_period: no probe before
        then: what to do
        live: a probe of its own for being alive
        ready: a probe of its own for being ready""",
    ),
    _later(
        "schedule",
        """calendar: days and times
        cron: the same, as cron writes it
        every: an interval
        after_boot: so long after boot
        timezone: of the calendar
        jitter: chance adds up to this
        catch_up: run once what was missed
        overlap: skip, queue, kill, or a number""",
    ),
)

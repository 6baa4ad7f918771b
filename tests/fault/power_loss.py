"""Runs in the machine of fault 35, on a disk whose power is cut: looks at what earlier cuts left,
then logs numbered lines until the next one. What it says is on the console at once.

    LIFE      which one this is; "last": look only
    EARLIER   JSON: {life: {"synced": lines of each stream, "ends": {key: offset}}}, as it said last
"""
from __future__ import annotations

import fcntl
import json
import os
import sys
import termios
import time
from collections.abc import Iterator
from itertools import count, groupby
from pathlib import Path
from typing import Any

from supervisor.logger.read import records
from tests.logger_kit import FakeKeeper, segments

LOG = Path("/run/disk/log")
KEYS = ("web/0", "web/1", "db")
OPTIONS = f"keep={1 << 30} segment={96 << 10}"
PADDING = "x" * 70
AT_ONCE = 40
EACH = 10  # turns between two reports
SAFE = 3  # of the first reports, everything before is on disk; then it is the kernel's business


def line(key: str, life: int, number: int) -> bytes:
    return f"{key} {life} {number:09d} {PADDING}".encode()


def say(word: str, value: object) -> None:
    os.write(1, f"{word} {json.dumps(value)}\n".encode())


def by_life(key: str) -> Iterator[tuple[int, list[tuple[bytes, int, int]]]]:
    """(life, [(line, offset, time)]) of what is stored."""
    rows = [(row[3], row[4], row[0]) for row in records(str(LOG), [key])]
    life = -1
    lives = []
    for text, _, _ in rows:
        life += text == line(key, life + 1, 0)  # the first ones are safe in each life, so whole
        lives.append(life)
    for found, group in groupby(zip(lives, rows, strict=True), key=lambda each: each[0]):
        yield found, [row for _, row in group]


def check(key: str, earlier: dict[str, Any]) -> dict[int, int]:
    """Raises AssertionError; how many lines are left of each life."""
    found: dict[int, int] = {}
    last_offset = -1
    for life, rows in by_life(key):
        for number, (text, offset, _) in enumerate(rows):
            whole = line(key, life, number)
            torn = number == len(rows) - 1 and whole.startswith(text)
            assert text == whole or torn, f"{key} {life}: {text!r} where {number} should be"
            assert offset > last_offset, f"{key} {life} {number}: at {offset} after {last_offset}"
            last_offset = offset
        found[life] = len(rows)
        _, first, time_ns = rows[0]
        for one in range(life):
            end = earlier[str(one)]["ends"].get(key, 0)
            assert first >= end, f"{key} {life}: begins at {first}, used before up to {end}"
        since = next(records(str(LOG), [key], since_ns=time_ns))
        assert since[4] == first, f"{key} {life}: since {time_ns} finds {since}"
    for before, said in earlier.items():
        safe, left = said["synced"], found.get(int(before), 0)
        assert left >= safe, f"{key} {before}: {left} lines are left, {safe} were safe"
    return found


def live(life: int) -> None:
    with FakeKeeper(LOG, OPTIONS, more=["--budget", "0"]) as keeper:
        keeper.start()
        ends = {key: keeper.stream(key) for key in KEYS}
        number = synced = 0
        for report in count():
            for _ in range(EACH):
                for key, end in ends.items():
                    lines = [line(key, life, at) + b"\n" for at in range(number, number + AT_ONCE)]
                    os.write(end, b"".join(lines))
                number += AT_ONCE
                time.sleep(0.005)
            while any(map(waiting, keeper.pipes.values())):
                time.sleep(0.001)
            used = {key: end_of(key) for key in KEYS}
            if report < SAFE:
                os.sync()
                synced = number
            say("WRITTEN", {"lines": number, "synced": synced, "ends": used})


def waiting(pipe: int) -> bool:
    return any(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))


def end_of(key: str) -> int:
    newest = segments(LOG / key.replace("/", "@"))[-1]
    return int(newest.name[:16], 16) + newest.stat().st_size


def main() -> None:
    earlier = json.loads(os.environ["EARLIER"])
    try:
        found = {key: check(key, earlier) for key in KEYS}
    except AssertionError as error:
        say("WRONG", str(error))
        sys.exit(1)
    packed = len(list(LOG.glob("*/*.zst")))
    say("FOUND", {"lines": found, "packed": packed})
    if os.environ["LIFE"] != "last":
        live(int(os.environ["LIFE"]))


if __name__ == "__main__":
    main()

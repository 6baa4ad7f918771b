from __future__ import annotations

import random

from supervisor.kernel.wire import TO_LOGGER
from supervisor.logger import frames


def frame(op: int, payload: bytes, descriptors: int = 0, length: int | None = None) -> bytes:
    size = 16 + len(payload) if length is None else length
    head = size.to_bytes(4, "little") + op.to_bytes(2, "little")
    return head + descriptors.to_bytes(2, "little") + bytes(8) + payload


OPEN = TO_LOGGER["STREAM_OPEN"]
GONE = TO_LOGGER["STREAM_GONE"]


def test_frames_of_one_datagram_take_their_descriptors_in_order() -> None:
    datagram = (
        frame(OPEN, b"web/0\0keep=1\0", 1) + frame(GONE, b"old\0") + frame(OPEN, b"db\0\0", 1)
    )
    assert frames.decode(datagram, [7, 9]) == (
        [(OPEN, "web/0", "keep=1", 7), (GONE, "old", "", -1), (OPEN, "db", "", 9)], []
    )


def test_what_is_not_understood_is_skipped_and_its_descriptors_are_given_back() -> None:
    datagram = frame(999, b"?", 2) + frame(OPEN, b"web\0\0", 1) + frame(OPEN, b"no NUL", 1)
    known, unwanted = frames.decode(datagram, [4, 5, 6, 7, 8])
    assert known == [(OPEN, "web", "", 6)]
    assert unwanted == [4, 5, 7, 8]


def test_a_stream_without_its_pipe_is_no_stream() -> None:
    assert frames.decode(frame(OPEN, b"web\0\0", 1), []) == ([], [])


def test_a_length_that_is_wrong_ends_the_datagram() -> None:
    for length in (0, 15, 10_000):
        assert frames.decode(frame(OPEN, b"web\0\0", 1, length), [3]) == ([], [3])


def test_no_bytes_raise_and_no_descriptor_is_lost() -> None:
    chance = random.Random(5)
    good = frame(OPEN, b"web\0\0", 1) + frame(GONE, b"web\0")
    for _ in range(2000):
        datagram = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            datagram[chance.randrange(len(datagram))] = chance.randrange(256)
        known, unwanted = frames.decode(bytes(datagram), [3, 4])
        kept = [row[3] for row in known if row[3] >= 0]
        assert sorted(kept + unwanted) == [3, 4]

"""Frames from the keeper (docs/keeper-protocol.md, "Log streams"), decoded. Pure.

The keeper is trusted to mean well, not to be of the same version: frames that are not understood
are skipped, and their descriptors are given back to be closed.
"""
from __future__ import annotations

from supervisor.kernel.wire import TO_LOGGER

HEADER_BYTES = 16
OPEN = TO_LOGGER["STREAM_OPEN"]
GONE = TO_LOGGER["STREAM_GONE"]


def decode(datagram: bytes, fds: list[int]) -> tuple[list[tuple[int, str, str, int]], list[int]]:
    """([(op, name, options, descriptor or -1)], descriptors that no frame wants)."""
    frames: list[tuple[int, str, str, int]] = []
    unwanted: list[int] = []
    at = taken = 0
    while at + HEADER_BYTES <= len(datagram):
        length = int.from_bytes(datagram[at : at + 4], "little")
        op = int.from_bytes(datagram[at + 4 : at + 6], "little")
        count = int.from_bytes(datagram[at + 6 : at + 8], "little")
        if length < HEADER_BYTES or at + length > len(datagram):
            break
        texts = datagram[at + HEADER_BYTES : at + length].decode("utf-8", "replace").split("\0")
        own = fds[taken : taken + count]
        taken += count
        at += length
        if op == OPEN and len(own) == 1 and len(texts) == 3:
            frames.append((op, texts[0], texts[1], own[0]))
        elif op == GONE and len(texts) == 2:
            frames.append((op, texts[0], "", -1))
            unwanted += own
        else:
            unwanted += own
    return frames, unwanted + fds[taken:]

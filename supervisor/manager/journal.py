"""The state that outlives the manager: a log of records in a memfd that the keeper holds.

Every batch of changes is appended before anything is done about it, so a manager that is killed
at any instant leaves either the intention (the next one finds out from the keeper whether it was
carried out) or nothing. Records are length-prefixed and checksummed; text is never parsed for
structure (CVE-2018-15686). What cannot be read ends the log: all before it counts, the rest is
rebuilt from what the kernel and the keeper know.

    u32 length of the rest, u32 crc32 of the rest, u8 kind, MessagePack
"""
from __future__ import annotations

import os
from _struct import Struct as Layout
from binascii import crc32
from collections.abc import Iterator
from typing import Literal

from msgspec import DecodeError, Struct, ValidationError, msgpack

from supervisor.core.world import HISTORY
from supervisor.model.state import Instance, Power, Transition
from supervisor.model.unit import Unit

VERSION = 1
_WINDOW = 1 << 16  # bytes
_PREFIX = Layout("<II")
_SLACK = 1 << 20  # bytes that superseded records may take before the log is written anew
_encode = msgpack.Encoder().encode


class Header(Struct, gc=False, omit_defaults=True):
    """What concerns the supervisor as a whole."""

    version: int = VERSION
    seed: int = 0
    started_ns: int = 0  # realtime, of the first manager
    next_launch: int = 0
    next_transition: int = 0
    closing_ns: int = 0
    starts: int = 0  # managers so far
    tried: int = 0  # the highest number that a unit of `unboxed try` was given
    booted: bool = False  # all unit files were read, and all that was to start is written down
    limited: bool = False  # units with [limits] were run: their groups are to be found again
    ending: Power | Literal[""] = ""  # what becomes of the machine that is going down
    exit_by_ns: int = 0  # when the keeper ends that, whatever becomes of managers
    release: str = ""  # version of the program that the last manager was
    renewed: bool = False  # that one was asked to make way for what is installed


class Snapshot(Struct, gc=False):
    header: Header
    units: dict[str, Unit]
    instances: dict[str, Instance]
    old: dict[str, Unit]  # instance key -> definition, of what runs though its file is gone
    launched: dict[str, Unit]  # key -> the definition its present run began with, if not today's
    history: list[Transition]  # as far back as World.history goes
    whole: bool  # false: the log was damaged and may be missing its end


class Journal:
    def __init__(self, fd: int, size: int = 0) -> None:
        self.fd = fd
        self._size = size
        self._base = size  # size right after it was written anew

    @classmethod
    def create(cls) -> Journal:
        return cls(os.memfd_create("unboxed-state", os.MFD_CLOEXEC))

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    @property
    def bloated(self) -> bool:
        return self._size > 2 * self._base + _SLACK

    def append(self, records: list[tuple[bytes, object]]) -> None:
        """Write records in one system call. Kinds: H Header, U Unit, R name of a unit removed,
        I Instance, X key of an instance removed, O and L [key, Unit] (Snapshot.old, .launched),
        T [Transition, ...], B BootTimes (in parts: those that are in it)."""
        parts = []
        for kind, value in records:
            body = kind + _encode(value)
            parts.append(_PREFIX.pack(len(body), crc32(body)) + body)
        data = b"".join(parts)
        done = 0
        while done < len(data):
            done += os.pwrite(self.fd, data[done:], self._size + done)
        self._size += len(data)

    def cut(self) -> None:
        """Remove what lies after the last record, or a longer log could make it readable again."""
        os.ftruncate(self.fd, self._size)

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """The kind and text of each, as they were written. Raises OSError."""
        return ((kind, text) for _, kind, text in _walk(self.fd, self._size))

    def settle(self) -> None:
        """What has been written so far is the base that growth is measured against."""
        self._base = self._size


def _walk(fd: int, size: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Where it ends, kind and text of each record, up to the first that is damaged or cut off. By
    windows: what is read whole, of a large journal, would stay this process's memory."""
    data, first, at = b"", 0, 0
    while at + 8 <= size:
        if at + 8 > first + len(data):
            data, first = os.pread(fd, _WINDOW, at), at
        length, crc = _PREFIX.unpack_from(data, at - first)
        end = at + 8 + length
        if not length or end > size:
            return
        if end > first + len(data):
            data, first = os.pread(fd, max(end - at, _WINDOW), at), at
        body = data[at + 8 - first : end - first]
        if crc32(body) != crc:
            return
        yield end, body[:1], body[1:]
        at = end


def load(fd: int) -> tuple[Snapshot | None, Journal]:
    """What the last manager knew (None: nothing readable), and the journal to go on with."""
    size = os.fstat(fd).st_size
    header: Header | None = None
    units: dict[str, Unit] = {}
    launched: dict[str, Unit] = {}
    old: dict[str, Unit] = {}
    moved: list[Transition] = []
    instances: dict[str, Instance] = {}
    at = 0
    try:
        for end, kind, text in _walk(fd, size):
            if kind == b"H":
                header = msgpack.decode(text, type=Header)
                if header.version != VERSION:
                    return None, _emptied(fd)
            elif kind == b"U":
                unit = msgpack.decode(text, type=Unit)
                units[unit.name] = unit
            elif kind == b"I":
                inst = msgpack.decode(text, type=Instance)
                last = instances.get(inst.key, inst).launch
                if inst.launch and inst.launch != last:  # a later run, by the definition of today
                    launched.pop(inst.key, None)
                instances[inst.key] = inst
            elif kind in (b"L", b"O"):
                key, unit = msgpack.decode(text, type=tuple[str, Unit])
                (launched if kind == b"L" else old)[key] = unit
            elif kind == b"T":
                moved += msgpack.decode(text, type=list[Transition])
            elif kind == b"R":
                units.pop(msgpack.decode(text, type=str), None)
            elif kind == b"X":
                instances.pop(msgpack.decode(text, type=str), None)
            at = end
    except (DecodeError, ValidationError, ValueError):
        pass  # of another version, or damaged: what comes before it is known
    whole = at == size
    if header is None:
        return None, _emptied(fd)
    journal = Journal(fd, at)
    if not whole:
        header.booted = False  # whoever comes after us must not take the readable part for all
        journal.append([(b"H", header)])
        journal.cut()
    return Snapshot(header, units, instances, old, launched, _history(moved), whole), journal


def _history(moved: list[Transition]) -> list[Transition]:
    """Each once (what was not told yet when the log was written anew is in it twice), the latest
    HISTORY; equal texts are one object, as they were to whoever made them."""
    same: dict[str, str] = {}
    latest = {one.id: one for one in moved[-2 * HISTORY :]}
    return [
        Transition(
            one.id, same.setdefault(one.key, one.key), one.time_ns, one.source, one.target,
            same.setdefault(one.cause, one.cause), one.cause_id,
        )
        for one in list(latest.values())[-HISTORY:]
    ]  # fmt: skip


def _emptied(fd: int) -> Journal:
    os.ftruncate(fd, 0)
    return Journal(fd)

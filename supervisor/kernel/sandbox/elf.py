"""What a program asks for by name before its first instruction: the loader (PT_INTERP) and the
directories of libraries (DT_RPATH, DT_RUNPATH), read from its ELF headers.

The file may be anything: what does not add up is read as asking for nothing.
"""
from __future__ import annotations

import os
from _struct import Struct as _Layout
from typing import NamedTuple

from supervisor.kernel.spare import use

_LOAD, _DYNAMIC, _INTERP = 1, 2, 3
_STRTAB, _RPATH, _RUNPATH = 5, 15, 29
# type, flags, offset, address, physical address, size in the file, in memory, alignment
_PHDR = _Layout("<IIQQQQQQ")
_DYN = _Layout("<QQ")
_MOST = 65536  # bytes of one table


class Asked(NamedTuple):
    """`script`: the words of its "#!" line, if it has one."""

    loader: str = ""
    libraries: tuple[str, ...] = ()
    script: tuple[str, ...] = ()


def asked(path: str) -> Asked:
    """What this file asks for; $ORIGIN is its directory. Only 64-bit little-endian ELF is known."""
    try:
        fd = use(os.open, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return Asked()
    try:
        head = os.pread(fd, 256, 0)
        if head[:2] == b"#!":
            line = head[2:].split(b"\n", 1)[0].decode(errors="surrogateescape").split(None, 1)
            return Asked(script=tuple(word.strip() for word in line))
        if head[:6] != b"\x7fELF\x02\x01":
            return Asked()
        return _headers(fd, head, os.path.dirname(path))
    except OSError:
        return Asked()
    finally:
        os.close(fd)


def _headers(fd: int, head: bytes, directory: str) -> Asked:
    count = int.from_bytes(head[56:58], "little")
    table = os.pread(fd, count * _PHDR.size, int.from_bytes(head[32:40], "little"))
    rows = [_PHDR.unpack_from(table, at) for at in range(0, len(table) - 55, _PHDR.size)]
    loader, dynamic = "", b""
    for kind, _, offset, _, _, size, _, _ in rows:
        if kind == _INTERP:
            loader = _text(_read(fd, size, offset))
        elif kind == _DYNAMIC:
            dynamic = _read(fd, size, offset)
    entries = [_DYN.unpack_from(dynamic, at) for at in range(0, len(dynamic) - 15, _DYN.size)]
    strings = dict(entries).get(_STRTAB)
    found: list[str] = []
    for tag, value in entries:
        if tag in (_RPATH, _RUNPATH) and strings is not None:
            text = _text(_read(fd, 4096, _offset(rows, strings) + value))
            for name in text.split(":"):
                path = name.replace("${ORIGIN}", directory).replace("$ORIGIN", directory)
                if path.startswith("/") and "$" not in path:
                    found.append(os.path.normpath(path))
    return Asked(loader, tuple(found))


def _offset(rows: list[tuple[int, ...]], address: int) -> int:
    """Where in the file this address of the loaded program is."""
    for kind, _, offset, start, _, size, _, _ in rows:
        if kind == _LOAD and start <= address < start + size:
            return offset + address - start
    return 1 << 62  # nowhere: reading there gives nothing


def _read(fd: int, size: int, offset: int) -> bytes:
    return os.pread(fd, min(size, _MOST), offset) if offset < 1 << 62 else b""


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="surrogateescape")

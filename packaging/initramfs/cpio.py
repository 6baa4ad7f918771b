#!/usr/bin/env python3
"""Write an initramfs: a cpio archive (newc) as the kernel unpacks it.

    packaging/initramfs/cpio.py OUTPUT --add FILE:/PLACE... [--compress zstd|gzip|none]

A folder is added with all that is in it. Needs no root: everything in it belongs to root, and the
two device nodes that a kernel without devtmpfs mounted wants are written, not made.
"""
from __future__ import annotations

import argparse
import gzip
import os
import stat
import sys
from pathlib import Path

TRAILER = "TRAILER!!!"
CONSOLE = ("dev/console", stat.S_IFCHR | 0o600, 5, 1)
NULL = ("dev/null", stat.S_IFCHR | 0o666, 1, 3)


class Archive:
    """Bytes of a cpio archive. Folders on the way are added as they are needed."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._names: set[str] = set()
        for name, mode, major, minor in (CONSOLE, NULL):
            self._folders(name)
            self._entry(name, mode, b"", major, minor)

    def add(self, source: Path, place: str) -> None:
        """A file, a link (as it is) or a folder of this host."""
        name = place.strip("/")
        if source.is_symlink():
            self.link(name, os.readlink(source))
        elif source.is_dir():
            self.folder(name)
            for path in sorted(source.iterdir()):
                self.add(path, f"{name}/{path.name}")  # a name of "" is the root itself
        else:
            self.file(name, source.read_bytes(), 0o755 if os.access(source, os.X_OK) else 0o644)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self._folders(name)
        self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        self._folders(name)
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def folder(self, name: str) -> None:
        self._folders(f"{name.strip('/')}/x")

    def data(self) -> bytes:
        parts = [*self._parts, _header(TRAILER, 0, 0, 0)]
        return b"".join(parts)

    def _folders(self, name: str) -> None:
        parts = name.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            folder = "/".join(parts[:count])
            if folder and folder not in self._names:
                self._entry(folder, stat.S_IFDIR | 0o755, b"")

    def _entry(self, name: str, mode: int, data: bytes, major: int = 0, minor: int = 0) -> None:
        if name in self._names:
            return  # what was added first stays
        self._names.add(name)
        self._parts += [_header(name, mode, len(data), len(self._names), major, minor), data,
                        b"\0" * (-len(data) % 4)]


def _header(
    name: str, mode: int, size: int, number: int, major: int = 0, minor: int = 0
) -> bytes:
    """cpio(5), "New ASCII Format": magic, then thirteen numbers of eight hexadecimal digits."""
    links = 2 if stat.S_ISDIR(mode) else 1
    numbers = (number, mode, 0, 0, links, 0, size, 0, 0, major, minor, len(name.encode()) + 1, 0)
    text = b"070701" + b"".join(b"%08X" % one for one in numbers) + name.encode() + b"\0"
    return text + b"\0" * (-len(text) % 4)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write an initramfs.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--add", action="append", default=[], metavar="FILE:/PLACE")
    parser.add_argument("--compress", choices=("zstd", "gzip", "none"), default="zstd")
    given = parser.parse_args()
    archive = Archive()
    for words in given.add:
        source, _, place = words.rpartition(":")
        archive.add(Path(source), place)
    given.output.write_bytes(compressed(archive.data(), given.compress))
    return 0


def compressed(data: bytes, how: str) -> bytes:
    if how == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if how == "zstd":
        import zstandard  # not of the standard library, so only who asks for it needs it

        return zstandard.ZstdCompressor(level=12).compress(data)
    return data


if __name__ == "__main__":
    sys.exit(main())

"""A closed segment, compressed: SEQ.log.zst in zstd's seekable format, so `zstdcat` reads it too.

    frame frame ... frame table

Each frame holds FRAME_BYTES of the segment (the last one what is left) with a checksum, and stands
alone, so any byte costs one frame to read. The table is a skippable frame that tells their sizes
(zstd's contrib/seekable_format). A file without a table, or with one that cannot be true, is walked
frame by frame instead; what is cut off at its end is as if it had been deleted.

Law: zstandard is imported to pack and to read frames, by nothing else here.
"""
from __future__ import annotations

import errno
import os
from _struct import Struct

FRAME_BYTES = 256 << 10
LEVEL = 1  # logs get as small as with level 3, in two thirds of its time
WRITE_BYTES = 1 << 20
CACHED_FRAMES = 32  # for all files that a process reads: 8 MiB

FRAME_MAGIC = 0xFD2FB528
TABLE_MAGIC = 0x184D2A5E
FOOTER_MAGIC = 0x8F92EAB1
HEAD = Struct("<II")  # magic, bytes that follow
SIZES = Struct("<II")  # of one frame: compressed, content
FOOTER = Struct("<IBI")  # frames, flags (none: no checksums in the table), magic
FRAME_HEADER_BYTES = 18
RLE, RESERVED_BLOCK = 1, 3  # kinds of a block

_frames: dict[tuple[int, int, int, int], bytes] = {}  # (device, inode, ctime, offset): used last


class Damaged(OSError):
    """A frame that cannot be read; `resume` is the offset in the content where the next begins."""

    def __init__(self, resume: int, why: object) -> None:
        super().__init__(errno.EIO, f"damaged: {why}")
        self.resume = resume


def pack(source: int, target: int) -> int:
    """Write all of the file `source` to `target`, packed; returns how many bytes that are."""
    from zstandard import ZstdCompressor

    compressor = ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True)
    sizes: list[bytes] = []
    buffer = bytearray()
    at = written = 0
    while data := os.pread(source, FRAME_BYTES, at):
        at += len(data)
        frame = compressor.compress(data)
        sizes.append(SIZES.pack(len(frame), len(data)))
        buffer += frame
        if len(buffer) >= WRITE_BYTES:
            written += _write(target, buffer)
    table = b"".join(sizes)
    buffer += HEAD.pack(TABLE_MAGIC, len(table) + FOOTER.size) + table
    buffer += FOOTER.pack(len(sizes), 0, FOOTER_MAGIC)
    return written + _write(target, buffer)


def _write(target: int, buffer: bytearray) -> int:
    total = len(buffer)
    while buffer:
        del buffer[: os.write(target, buffer)]
    return total


class Packed:
    """A packed file, open for reading. Takes over the descriptor. `size` is that of the content."""

    __slots__ = ("_fd", "_identity", "_places", "size")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        found = os.fstat(fd)
        self._identity = (found.st_dev, found.st_ino, found.st_ctime_ns)
        self._places = [0]  # where each frame begins in the file, and where the last one ends
        self.size = 0
        for packed, content in _frame_sizes(fd, found.st_size):
            self._places.append(self._places[-1] + packed)
            self.size += content

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)
        self._fd = -1

    def read(self, offset: int, length: int) -> bytes:
        """As many bytes as there are, up to `length`; fewer before a damaged frame.

        Raises Damaged if not even one can be read, OSError (ENOTSUP) without zstandard.
        """
        parts: list[bytes] = []
        while length > 0 and 0 <= offset < self.size:
            number, skipped = divmod(offset, FRAME_BYTES)
            try:
                content = self._frame(number)
            except Damaged:
                if parts:
                    break
                raise
            part = content[skipped : skipped + length]
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _frame(self, number: int) -> bytes:
        place = self._places[number]
        key = (*self._identity, place)
        content = _frames.pop(key, None)
        if content is None:
            if len(_frames) >= CACHED_FRAMES:
                del _frames[next(iter(_frames))]
            begin = number * FRAME_BYTES
            data = os.pread(self._fd, self._places[number + 1] - place, place)
            content = _content(data, begin, min(begin + FRAME_BYTES, self.size))
        _frames[key] = content
        return content


def _content(data: bytes, begin: int, end: int) -> bytes:
    try:
        from zstandard import ZstdDecompressor, ZstdError, get_frame_parameters
    except ImportError:
        raise OSError(
            errno.ENOTSUP, "it is compressed, and the Python library zstandard is not installed"
        ) from None
    try:
        # What a frame says of itself decides how much memory is taken for it.
        if get_frame_parameters(data).content_size != end - begin:
            raise Damaged(end, "a frame has not the size that it should have")
        return ZstdDecompressor().decompress(data, allow_extra_data=False)
    except ZstdError as error:
        raise Damaged(end, error) from None


def content_bytes(fd: int) -> int:
    """The size of the content of a packed file."""
    return sum(content for _, content in _frame_sizes(fd, os.fstat(fd).st_size))


def _frame_sizes(fd: int, file_bytes: int) -> list[tuple[int, int]]:
    """(compressed, content) bytes of each frame."""
    sizes = _table(fd, file_bytes)
    return _walk(fd, file_bytes) if sizes is None else sizes


def _table(fd: int, file_bytes: int) -> list[tuple[int, int]] | None:
    """The sizes that the table tells; None if it cannot be true."""
    footer = os.pread(fd, FOOTER.size, max(0, file_bytes - FOOTER.size))
    if len(footer) < FOOTER.size:
        return None
    count, flags, magic = FOOTER.unpack(footer)
    table_bytes = count * SIZES.size
    begin = file_bytes - FOOTER.size - table_bytes
    if magic != FOOTER_MAGIC or flags or begin < HEAD.size:
        return None
    data = os.pread(fd, HEAD.size + table_bytes, begin - HEAD.size)
    if data[: HEAD.size] != HEAD.pack(TABLE_MAGIC, table_bytes + FOOTER.size):
        return None
    sizes: list[tuple[int, int]] = list(SIZES.iter_unpack(data[HEAD.size :]))
    if sum(packed for packed, _ in sizes) != begin - HEAD.size:
        return None
    full = all(content == FRAME_BYTES for _, content in sizes[:-1])
    return sizes if full and all(content <= FRAME_BYTES for _, content in sizes[-1:]) else None


def _walk(fd: int, file_bytes: int) -> list[tuple[int, int]]:
    """What the frames themselves tell, up to the first that is not whole or not ours."""
    sizes: list[tuple[int, int]] = []
    at = 0
    while True:
        header = os.pread(fd, FRAME_HEADER_BYTES, at)
        content, place = _header(header)
        if not 0 < content <= FRAME_BYTES:
            return sizes
        last = False
        place += at
        while not last:
            block = int.from_bytes(os.pread(fd, 3, place), "little")
            last, kind = bool(block & 1), block >> 1 & 3
            place += 3 + (1 if kind == RLE else block >> 3)
            if kind == RESERVED_BLOCK or place > file_bytes:
                return sizes
        place += 4 if header[4] & 4 else 0  # the checksum
        if place > file_bytes:
            return sizes
        sizes.append((place - at, content))
        if content < FRAME_BYTES:
            return sizes
        at = place


def _header(data: bytes) -> tuple[int, int]:
    """(content bytes, bytes of this header) of a zstd frame (RFC 8878); content 0: it is none."""
    if len(data) < FRAME_HEADER_BYTES or int.from_bytes(data[:4], "little") != FRAME_MAGIC:
        return 0, 0
    flags = data[4]
    single = flags >> 5 & 1
    at = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
    width = (single, 2, 4, 8)[flags >> 6]
    content = int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
    return content, at + width

"""Closed segments, compressed: every byte at its offset, by us and by zstd; and damage, told."""
from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from supervisor.logger import packed
from supervisor.logger.form import ENTRY, INDEX, LOG, PACKED, segment_name
from supervisor.logger.packed import FRAME_BYTES, Damaged, Packed, content_bytes, pack
from supervisor.logger.segment import Segment, starts
from tests.stack import ROOT

TEXT = b"".join(
    b"2026-11-21T13:00:%02d host app[%d]: request %x took %d ms\n"
    % (number % 60, number % 7, number * 7919, number % 313) for number in range(20_000)
)  # 1.2 MB: some frames, and a last one that is not full


@pytest.fixture(autouse=True)
def no_frames() -> Iterator[None]:
    packed._frames.clear()
    yield
    packed._frames.clear()


def made(path: Path, content: bytes) -> Path:
    plain = path.with_suffix(".plain")
    plain.write_bytes(content)
    with plain.open("rb") as source, path.open("wb") as target:
        assert pack(source.fileno(), target.fileno()) == target.tell()
    plain.unlink()
    return path


def opened(path: Path) -> Packed:
    return Packed(os.open(path, os.O_RDONLY))


@pytest.mark.parametrize("size", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, len(TEXT)])
def test_what_was_packed_comes_back(tmp_path: Path, size: int) -> None:
    path = made(tmp_path / "x", TEXT[:size])
    file = opened(path)
    assert file.size == size == content_bytes(file.fileno())
    assert file.read(0, size + 1) == TEXT[:size]
    assert file.read(size, 10) == b""
    file.close()


def test_any_range_can_be_read(tmp_path: Path) -> None:
    assert len(TEXT) > 4 * FRAME_BYTES
    file = opened(made(tmp_path / "x", TEXT))
    borders = [at + by for at in range(0, len(TEXT), FRAME_BYTES) for by in (-1, 0, 1)]
    chance = random.Random(7)
    for offset in [*borders[1:], *(chance.randrange(len(TEXT)) for _ in range(300))]:
        length = chance.choice([1, 100, 4096, FRAME_BYTES, 3 * FRAME_BYTES])
        assert file.read(offset, length) == TEXT[offset : offset + length]
    file.close()


def test_every_offset_of_a_frames_end_can_be_read(tmp_path: Path) -> None:
    file = opened(made(tmp_path / "x", TEXT))
    for offset in range(FRAME_BYTES - 3000, FRAME_BYTES + 3000):
        assert file.read(offset, 7) == TEXT[offset : offset + 7]
    file.close()


def test_zstd_reads_it_too(tmp_path: Path) -> None:
    path = made(tmp_path / "x.log.zst", TEXT)
    if shutil.which("zstd"):
        found = subprocess.run(["zstd", "-dc", path], stdout=subprocess.PIPE, check=True).stdout
    else:
        with path.open("rb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            found = reader.read()
    assert found == TEXT


def test_reading_takes_little_memory_for_however_many_files(tmp_path: Path) -> None:
    for number in range(20):
        file = opened(made(tmp_path / f"{number}", TEXT))
        assert file.read(0, len(TEXT)) == TEXT
        file.close()
    assert len(packed._frames) == packed.CACHED_FRAMES


def test_a_frame_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    real = packed._content

    def count(data: bytes, begin: int, end: int) -> bytes:
        done.append(begin)
        return real(data, begin, end)

    monkeypatch.setattr(packed, "_content", count)
    path = made(tmp_path / "x", TEXT)
    for _ in range(3):  # whoever follows opens and closes it again and again
        file = opened(path)
        assert b"".join(file.read(at, 1000) for at in range(0, len(TEXT), 1000)) == TEXT
        file.close()
    assert len(done) == -(-len(TEXT) // FRAME_BYTES)


def test_a_file_cut_off_anywhere_has_the_frames_before(tmp_path: Path) -> None:
    path = made(tmp_path / "x", TEXT)
    whole = path.read_bytes()
    frames = opened(path)._places
    for length in [*range(40), *(at + by for at in frames for by in (-1, 0, 1)), len(whole) - 1]:
        path.write_bytes(whole[: max(0, length)])
        file = opened(path)
        expected = sum(1 for end in frames[1:] if end <= length) * FRAME_BYTES
        assert file.size == min(expected, len(TEXT))
        assert file.read(0, len(TEXT)) == TEXT[: file.size]
        file.close()


def test_a_damaged_frame_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    path = made(tmp_path / "x", TEXT)
    file = opened(path)
    place = file._places[1] + 5000
    with path.open("r+b") as raw:
        raw.seek(place)
        byte = raw.read(1)[0]
        raw.seek(place)
        raw.write(bytes([byte ^ 0x40]))
    assert file.read(0, len(TEXT)) == TEXT[:FRAME_BYTES]  # what is before it
    with pytest.raises(Damaged) as told:
        file.read(FRAME_BYTES + 10, 10)
    assert told.value.resume == 2 * FRAME_BYTES
    assert file.read(2 * FRAME_BYTES, len(TEXT)) == TEXT[2 * FRAME_BYTES :]
    file.close()


def test_no_damage_is_more_than_an_error(tmp_path: Path) -> None:
    """Whatever is flipped: what is read is right, or Damaged, or missing; nothing else."""
    path = made(tmp_path / "x", TEXT[: FRAME_BYTES * 2 + 100])
    whole = path.read_bytes()
    content = TEXT[: FRAME_BYTES * 2 + 100]
    chance = random.Random(3)
    near_ends = [*range(24), *range(len(whole) - 60, len(whole))]
    for at in [*near_ends, *(chance.randrange(len(whole)) for _ in range(200))]:
        bad = bytearray(whole)
        bad[at] ^= 1 << chance.randrange(8)
        path.write_bytes(bad)
        file = opened(path)
        offset = 0
        while offset < file.size:
            try:
                data = file.read(offset, 5000)
            except Damaged as damaged:
                assert damaged.resume > offset  # noqa: PT017 - any of them may come, or none
                offset = damaged.resume
            else:
                assert data
                assert data == content[offset : offset + len(data)]
                offset += len(data)
        file.close()


def test_a_table_that_claims_much_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    frame = zstandard.ZstdCompressor(level=1).compress(bytes(50 << 20))
    table = packed.SIZES.pack(len(frame), 50 << 20)
    path.write_bytes(
        frame + packed.HEAD.pack(packed.TABLE_MAGIC, len(table) + 9) + table
        + packed.FOOTER.pack(1, 0, packed.FOOTER_MAGIC)
    )  # fmt: skip
    file = opened(path)
    assert file.size == 0
    assert file.read(0, 10) == b""
    file.close()


def test_a_segment_reads_the_same_packed_or_not(tmp_path: Path) -> None:
    start = 0x1000
    plain = tmp_path / segment_name(start, LOG)
    plain.write_bytes(TEXT)
    os.utime(plain, ns=(5, 5))
    entries = [(10 * n, start + 1000 * n, 1000, 1, 0) for n in range(1000)]
    (tmp_path / segment_name(start, INDEX)).write_bytes(b"".join(ENTRY.pack(*e) for e in entries))
    before = look(tmp_path, start)
    made(tmp_path / segment_name(start, PACKED), TEXT)
    os.utime(tmp_path / segment_name(start, PACKED), ns=(5, 5))
    assert starts(str(tmp_path)) == [start]  # while it is replaced, both are there
    assert look(tmp_path, start) == before
    plain.unlink()
    assert look(tmp_path, start) == before
    assert starts(str(tmp_path)) == [start]


def look(directory: Path, start: int) -> tuple[object, ...]:
    segment = Segment(str(directory), start)
    try:
        return (
            segment.start, segment.end, segment.noted_end, segment.since(5005), segment.until(77),
            list(segment.arrivals(start + 500_500, segment.end)),
            segment.read(start + 777, 300_000),
            segment.read(segment.end, 1),
        )
    finally:
        segment.close()


def test_a_reader_goes_on_with_the_file_that_it_has_open(tmp_path: Path) -> None:
    (tmp_path / segment_name(0, LOG)).write_bytes(TEXT)
    segment = Segment(str(tmp_path), 0)
    made(tmp_path / segment_name(0, PACKED), TEXT)
    (tmp_path / segment_name(0, LOG)).unlink()
    assert segment.read(900_000, 50) == TEXT[900_000:900_050]
    segment.close()


def test_a_segment_that_a_listing_missed_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many names take several calls to list; one that is replaced in between may be in none."""
    names = [segment_name(0, INDEX), segment_name(8, INDEX), segment_name(8, LOG)]
    listings = iter([names, [*names, segment_name(0, PACKED)]])
    monkeypatch.setattr("supervisor.logger.segment.os.listdir", lambda _: next(listings))
    assert starts(str(tmp_path)) == [0, 8]


def test_a_segment_that_is_gone_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Segment(str(tmp_path), 0)


def test_without_the_library_a_reader_says_so(tmp_path: Path) -> None:
    made(tmp_path / segment_name(0, PACKED), TEXT)
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "sys.modules['zstandard'] = None\n"
        "from supervisor.logger.segment import Segment\n"
        f"segment = Segment({str(tmp_path)!r}, 0)\n"
        "print(segment.end)\n"
        "try: segment.read(0, 10)\n"
        "except OSError as error: print(error.strerror)\n"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.splitlines() == [
        str(len(TEXT)), "it is compressed, and the Python library zstandard is not installed"]

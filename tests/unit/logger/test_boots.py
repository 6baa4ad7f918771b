from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.logger import boots
from supervisor.logger.form import BOOT_BYTES, BOOT_SHIFT, ENTRY, missing_bytes, next_boot
from tests.unit.logger.source import MakeSource

T = 1_800_000_000_000_000_000


@pytest.fixture
def home(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_each_boot_has_a_line_and_a_number(tmp_path: Path, home: int) -> None:
    assert [boots.number(home, boot) for boot in ("aa", "aa", "bb", "aa")] == [1, 1, 2, 3]
    rows = [line.split() for line in (tmp_path / ".boots").read_text().splitlines()]
    assert [row[0] for row in rows] == ["aa", "bb", "aa"]
    assert all(int(row[1]) > T - BOOT_BYTES * 10**8 for row in rows)


def test_this_boot_is_the_kernels(tmp_path: Path, home: int) -> None:
    assert boots.number(home) == 1
    line = (tmp_path / ".boots").read_text()
    assert line.split()[0] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_line_that_a_power_failure_tore_is_none(tmp_path: Path, home: int) -> None:
    (tmp_path / ".boots").write_bytes(b"aa 1\nbb")
    assert boots.number(home, "bb") == 2
    assert (tmp_path / ".boots").read_text().startswith("aa 1\nbb\nbb ")
    assert boots.number(home, "bb") == 2


def test_numbers_fit_into_the_index_for_ever(tmp_path: Path, home: int) -> None:
    (tmp_path / ".boots").write_text("".join(f"b{n} {n}\n" for n in range(boots.NUMBERS)))
    assert boots.number(home, f"b{boots.NUMBERS - 1}") == boots.NUMBERS
    assert boots.number(home, "another") == 1
    ENTRY.pack(0, 0, 0, 1, boots.NUMBERS << BOOT_SHIFT | 1)


def test_a_list_that_cannot_be_written_is_an_error(
    home: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.logger.boots.posix.write", lambda *_: 3)
    with pytest.raises(OSError, match="no space"):
        boots.number(home, "aa")


def test_a_new_boot_goes_on_where_no_offset_was_used(source: MakeSource) -> None:
    web = source()
    web.put(b"before\n", T)
    web.directory.boot = 2
    web.crash()
    web.put(b"after\n", T + 1)
    web.put(b"that\n", T + 2)
    assert [path.name[:16] for path in sorted(web.path.glob("*.log"))] == [
        "0" * 16, f"{BOOT_BYTES:016x}"]
    web.crash()  # in the same boot: no gap
    web.put(b"same\n", T + 3)
    assert web.stored() == b"before\nafter\nthat\nsame\n"
    assert len(list(web.path.glob("*.log"))) == 2


def test_what_is_noted_late_belongs_to_the_boot_that_it_came_in(source: MakeSource) -> None:
    """The gap is there even if the first logger of a boot only gets as far as noting that."""
    web = source()
    web.put(b"noted\n", T)
    with next(web.path.glob("*.log")).open("ab") as log:
        log.write(b"not noted\n")
    for _ in range(2):
        web.crash()
        web.directory.boot = 2
        with web.monkeypatch.context() as patch:
            patch.setattr("supervisor.logger.tail._begin", refuse)
            os.write(web.writable, b"x\n")
            with pytest.raises(OSError, match="no space"):
                web.move(T + 5)
    web.put(b"", T + 6)
    while web.move(T + 6):
        pass
    assert [path.name[:16] for path in sorted(web.path.glob("*.log"))] == [
        "0" * 16, f"{BOOT_BYTES:016x}"]


def refuse(*_: object) -> None:
    raise OSError(28, "no space")


def test_where_boots_are_not_known_nothing_is_left_out(source: MakeSource) -> None:
    web = source()
    web.directory.refresh()
    web.directory.boot = 0
    web.put(b"one\n", T)
    web.crash()
    web.put(b"two\n", T)
    assert [path.name[:16] for path in web.path.glob("*.log")] == ["0" * 16]


@pytest.mark.parametrize(
    "offset, start, expected",
    [
        (0, 0, 0), (10, 10, 0), (10, 500, 490), (500, 10, 0),
        (10, BOOT_BYTES, 0), (10, BOOT_BYTES + 70, 70), (BOOT_BYTES + 5, BOOT_BYTES + 9, 4),
        (BOOT_BYTES + 5, 3 * BOOT_BYTES, 0),
    ],
)
def test_a_gap_between_boots_is_no_loss(offset: int, start: int, expected: int) -> None:
    assert missing_bytes(offset, start) == expected


@pytest.mark.parametrize("end", [0, 1, BOOT_BYTES - 1, BOOT_BYTES, 7 * BOOT_BYTES + 3])
def test_the_next_boot_begins_behind_what_may_have_been_lost(end: int) -> None:
    assert next_boot(end) % BOOT_BYTES == 0
    assert end < next_boot(end) <= end + BOOT_BYTES

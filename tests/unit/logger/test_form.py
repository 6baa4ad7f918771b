from __future__ import annotations

import pytest

from supervisor.logger import form, options


@pytest.mark.parametrize("key", ["web", "web/0", "a.b-c_d/12", "unboxed"])
def test_a_key_names_one_directory_and_comes_back_from_it(key: str) -> None:
    name = form.directory_of(key)
    assert "/" not in name
    assert form.key_of(name) == key


@pytest.mark.parametrize("key", ["", ".", "..", "../etc", ".hidden", "a\0b"])
def test_a_key_that_could_name_anything_else_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="not a name for a directory"):
        form.directory_of(key)


def test_hidden_directories_are_no_streams() -> None:
    assert form.key_of(".web.moved-1f") == ""


@pytest.mark.parametrize("start", [0, 1, 255, 1 << 40, (1 << 64) - 1])
def test_segment_names_tell_their_start_and_sort_by_it(start: int) -> None:
    name = form.segment_name(start, form.LOG)
    assert form.segment_start(name) == start
    assert name >= form.segment_name(0, form.LOG)


@pytest.mark.parametrize(
    "name",
    ["", "x", ".log", "0.log", "0000000000000000.idx", "000000000000000g.log", "A" * 16 + ".log",
     "0000000000000000.log.gz", " 00000000000000a.log", "+000000000000000.log"],
)
def test_other_files_are_no_segments(name: str) -> None:
    assert form.segment_start(name) == -1


def test_an_entry_has_the_layout_that_others_read() -> None:
    packed = form.ENTRY.pack(1, 2, 3, 4, 5)
    assert len(packed) == form.ENTRY_BYTES == 24
    assert packed.hex(" ", -8) == "0100000000000000 0200000000000000 0300000004000500"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", (256 << 20, 16 << 20)),
        ("keep=1048576 segment=65536", (1 << 20, 1 << 16)),
        ("segment=65536", (256 << 20, 1 << 16)),
        ("keep=1000000 segment=999999", (1_000_000, 500_000)),
        ("keep=1 segment=1", (8192, 4096)),
        ("keep=-5 segment=x later=7", (256 << 20, 16 << 20)),
        (f"keep={1 << 60} segment={1 << 50}", (1 << 60, 1 << 30)),
    ],
)
def test_options_are_made_to_fit_each_other(text: str, expected: tuple[int, int]) -> None:
    found = options.parse(text)
    assert (found.keep_bytes, found.segment_bytes) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", (0, True, False, 0)),
        ("max_age=60 compress=0 full=drop rate=1024", (60, False, True, 1024)),
        ("full=block compress=1 rate=0", (0, True, False, 0)),
        ("full=what compress=x max_age= rate=-1", (0, True, False, 0)),
    ],
)
def test_options_of_age_and_loss(text: str, expected: tuple[object, ...]) -> None:
    found = options.parse(text)
    assert (found.max_age_s, found.compress, found.drop, found.rate_bytes) == expected

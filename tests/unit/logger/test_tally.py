"""The file of figures: written by loggers, read by anybody."""
from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.kernel import log_figures
from supervisor.logger.tally import GROW_ROWS, Tally


def figures(tmp_path: Path) -> dict[str, tuple[int, int, int, int]]:
    return log_figures.read(f"{tmp_path}/{log_figures.NAME}")


def test_counters_are_there_for_readers_and_for_the_next_logger(tmp_path: Path) -> None:
    assert figures(tmp_path) == {}
    tally = Tally(str(tmp_path))
    number, *counters = tally.row("web@0")
    assert counters == [0, 0, 0, 0]
    tally.count(number, 100, 20, 1, 5)
    assert figures(tmp_path) == {"web/0": (100, 20, 1, 5)}
    assert Path(tmp_path, log_figures.NAME).stat().st_mode & 0o777 == 0o600
    heir = Tally(str(tmp_path))
    assert heir.row("web@0") == (number, 100, 20, 1, 5)


def test_rows_are_freed_and_used_again_and_more_are_made(tmp_path: Path) -> None:
    tally = Tally(str(tmp_path))
    rows = [tally.row(f"unit-{n}")[0] for n in range(GROW_ROWS * 3)]
    assert sorted(rows) == list(range(GROW_ROWS * 3))
    for row in rows:
        tally.count(row, row, 0, 0, 0)
    tally.free(rows[5])
    found = figures(tmp_path)
    assert "unit-5" not in found
    assert len(found) == GROW_ROWS * 3 - 1
    assert found["unit-90"][0] == 90
    assert tally.row("other") == (rows[5], 0, 0, 0, 0)


def test_the_longest_key_has_room(tmp_path: Path) -> None:
    tally = Tally(str(tmp_path))
    tally.row("x" * 95)
    assert list(figures(tmp_path)) == ["x" * 95]


@pytest.mark.parametrize("runtime", ["", "/no/such/directory"])
def test_without_a_place_nothing_is_counted_and_nothing_fails(runtime: str) -> None:
    tally = Tally(runtime)
    number, *_ = tally.row("web")
    assert number == -1
    tally.count(number, 1, 2, 3, 4)
    tally.free(number)


def test_without_space_nothing_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page without space behind it would end the logger by SIGBUS."""
    tally = Tally(str(tmp_path))
    rows = [tally.row(f"unit-{n}")[0] for n in range(GROW_ROWS)]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("supervisor.logger.tally.posix.posix_fallocate", full)
        assert Tally(str(tmp_path)).row("web")[0] == -1
        assert tally.row("one more")[0] == -1
    tally.count(rows[0], 1, 2, 3, 4)
    assert figures(tmp_path)["unit-0"] == (1, 2, 3, 4)
    assert tally.row("one more")[0] == GROW_ROWS


def test_a_torn_file_is_made_whole(tmp_path: Path) -> None:
    Path(tmp_path, log_figures.NAME).write_bytes(b"x" * 100)
    tally = Tally(str(tmp_path))
    assert tally.row("web")[0] >= 0
    assert "web" in figures(tmp_path)

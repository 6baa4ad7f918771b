from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.kernel.sandbox.secrets import MOST_BYTES, read_all
from supervisor.model.sandbox import Secret


def secret(path: Path, content: bytes, name: str = "db") -> Secret:
    path.write_bytes(content)
    return Secret(name, str(path))


def test_each_is_read_as_it_is(tmp_path: Path) -> None:
    one = secret(tmp_path / "a", b"\0\xff\n")
    most = secret(tmp_path / "b", bytes(MOST_BYTES), "key")
    assert read_all((one, most)) == (("db", b"\0\xff\n"), ("key", bytes(MOST_BYTES)))


def test_one_that_is_too_large_is_refused_without_its_content(tmp_path: Path) -> None:
    big = secret(tmp_path / "a", b"hunter2" * 10000)
    with pytest.raises(CannotConfine, match=r"secrets\.db: cannot read .*/a: it has over") as info:
        read_all((big,))
    assert "hunter2" not in str(info.value)


def test_together_they_have_to_fit_the_plan(tmp_path: Path) -> None:
    many = tuple(secret(tmp_path / str(n), bytes(MOST_BYTES), f"s{n}") for n in range(3))
    with pytest.raises(CannotConfine, match="196608 bytes together"):
        read_all(many)


def test_one_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CannotConfine, match=r"secrets\.db: cannot read /.*: No such file"):
        read_all((Secret("db", str(tmp_path / "none")),))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_and_never_waited_for(make: object, tmp_path: Path) -> None:
    make(tmp_path / "odd")  # type: ignore[operator] # either of the two
    with pytest.raises(CannotConfine, match="no regular file"):
        read_all((Secret("db", str(tmp_path / "odd")),))

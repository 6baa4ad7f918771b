from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.agents.dashboard.secret import Secret, Unsafe, known, load


def test_the_token_is_made_once_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    first = load(str(folder))
    again = load(str(folder))
    assert first.token == again.token
    assert len(first.token) >= 43
    assert (folder / "token").stat().st_mode & 0o777 == 0o600
    assert os.listdir(folder) == ["token"]


def test_two_folders_have_two_tokens(tmp_path: Path) -> None:
    assert load(str(tmp_path / "a")).token != load(str(tmp_path / "b")).token


def test_the_cookie_and_the_word_do_not_tell_the_token_nor_each_other() -> None:
    secret = Secret("t" * 43)
    assert len({secret.token, secret.cookie, secret.action}) == 3
    assert secret.is_token("t" * 43)
    assert not secret.is_cookie(secret.token)
    assert not secret.is_action(secret.cookie)
    assert not secret.is_token("ü" + "t" * 42)
    assert not secret.is_token("")


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660])
def test_a_token_that_others_may_have_read_is_not_used(tmp_path: Path, mode: int) -> None:
    token = load(str(tmp_path)).token
    (tmp_path / "token").chmod(mode)
    with pytest.raises(Unsafe, match="others may have read it"):
        load(str(tmp_path))
    assert (tmp_path / "token").read_text().strip() == token


@pytest.mark.parametrize("text", ["", "short", "x" * 31, "a\x00" * 32])
def test_what_is_no_token_is_not_used(tmp_path: Path, text: str) -> None:
    load(str(tmp_path))
    (tmp_path / "token").write_text(text)
    with pytest.raises(Unsafe, match="holds no token"):
        load(str(tmp_path))


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("x" * 43)
    (tmp_path / "other").chmod(0o600)
    (tmp_path / "token").symlink_to(tmp_path / "other")
    with pytest.raises(Unsafe, match="cannot keep a token"):
        load(str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads the files of others")
def test_root_is_told_the_token_of_the_units_own_user_but_serves_with_none_of_it(
    tmp_path: Path,
) -> None:
    token = load(str(tmp_path)).token
    os.chown(tmp_path / "token", 65520, 65520)
    assert known(str(tmp_path)).token == token
    with pytest.raises(Unsafe, match="not a file of this user"):
        load(str(tmp_path))


def test_who_only_asks_for_the_token_makes_none(tmp_path: Path) -> None:
    with pytest.raises(Unsafe, match="name the directory of the dashboard that runs"):
        known(str(tmp_path))
    assert os.listdir(tmp_path) == []

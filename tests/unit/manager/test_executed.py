"""The words about a program that could not be executed."""
from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from supervisor.manager.executed import missing, named


def script(path: Path, first: str) -> str:
    path.write_text(first)
    path.chmod(0o755)
    return str(path)


def test_of_a_script_its_interpreter_is_named_without_links(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to("/no/such/place/python3")
    web = script(tmp_path / "web", f"#!{tmp_path}/python -I\nprint(1)\n")
    words = f"{web}, which /no/such/place/python3 runs"
    assert named("web", f"/no/such:{tmp_path}") == words
    assert named(web, "") == words


@pytest.mark.parametrize("text", ["", "#!", "#! \n", "\x7fELF", "print(1)\n#!/bin/sh\n"])
def test_of_another_program_there_is_its_path_only(tmp_path: Path, text: str) -> None:
    web = script(tmp_path / "web", text)
    assert named("web", str(tmp_path)) == web


def test_what_is_not_there_or_no_file_is_named_as_it_was_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for word in ("web", f"{tmp_path}/web", str(tmp_path), f"{tmp_path}/pipe"):
        assert named(word, str(tmp_path)) == word


def test_our_own_command_is_said_to_be_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = script(tmp_path / "unboxed", "")
    monkeypatch.setattr(sys, "executable", f"{tmp_path}/python3")
    assert missing("unboxed", "/bin") == (
        f"unboxed is in no directory of PATH (/bin); `ln -s {own} /usr/local/bin/` puts it into one"
    )
    assert missing("web", "/bin") == "web is in no directory of PATH (/bin)"
    Path(own).unlink()
    assert missing("unboxed", "/bin") == "unboxed is in no directory of PATH (/bin)"

"""Who runs all tests: nothing that stages say or how they fail is lost when two run at a time."""
from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

from tests.law.source import ROOT

RUNNER = runpy.run_path(str(ROOT / "packaging" / "run_tests.py"))
Job, Result, run = RUNNER["Job"], RUNNER["Result"], RUNNER["_run"]


def test_what_two_at_a_time_say_is_shown_whole_and_the_failure_of_one_is_counted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    bad, good = Result("ruff"), Result("mypy")  # linters: one of these counts as one
    run([
        Job(bad, "bad", ["sh", "-c", f"echo one; cat {pipe}; echo two >&2; exit 3"]),
        Job(good, "good", ["sh", "-c", f"echo three; echo from good >{pipe}; echo four"]),
    ], 2)  # fmt: skip
    shown = capfd.readouterr().out
    assert "\n== bad\none\nfrom good\ntwo\n" in shown
    assert "\n== good\nthree\nfour\n" in shown
    assert (bad.passed, bad.failed) == (0, 1)
    assert (good.passed, good.failed) == (1, 0)


@pytest.mark.parametrize("at_once", [1, 2])
def test_tests_that_are_killed_before_they_report_are_a_failure(at_once: int) -> None:
    result = Result("unit")
    jobs = [Job(result, "killed", ["sh", "-c", "kill -KILL $$"]) for _ in range(at_once)]
    run(jobs, at_once)
    assert (result.passed, result.failed) == (0, at_once)


@pytest.mark.parametrize("stage", RUNNER["FILES"])
def test_each_file_of_a_stage_is_run_once_by_itself_or_with_the_rest(stage: str) -> None:
    *own, rest = (job.command for job in RUNNER["_jobs"](Result(stage)))
    files = [command[-1] for command in own]
    assert len(files) == len(set(files)) == len(RUNNER["FILES"][stage])
    assert all((ROOT / file).exists() for file in files)
    assert rest[-1] == f"tests/{stage}"
    assert [word for word in rest if word.startswith("--")] == [f"--ignore={one}" for one in files]

"""Run the linters and every test folder in order, then say in a few plain lines how it went.

    run_tests.py [STAGE...]        all stages, or only those named

Law: a stage that fails does not hide the next one, and the exit status is 0 only if all passed.
Standard library only; each stage is a process of its own, so that it costs what it says.
"""
from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from subprocess import run
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

# In the order in which a mistake is cheapest to learn about. A folder of tests that is not named
# here (law checks that none is forgotten) would never run.
LINTERS = {
    "ruff": [str(BIN / "ruff"), "check", "--quiet", "."],
    "mypy": [str(BIN / "mypy")],
}
FOLDERS = ("law", "unit", "model", "keeper", "kernel", "scenario", "vm", "fault", "fuzz")

# Not run by itself. bench: figures are compared by a person, and need a quiet machine. native: the
# probe program, which tests of other folders run.
OTHER_FOLDERS = ("bench", "native")


class Result:
    """One stage. Counts are tests; a linter counts as one."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.passed = self.failed = self.skipped = 0
        self.seconds = 0.0


def main(argv: list[str]) -> int:
    stages = [*LINTERS, *(name for name in FOLDERS if (ROOT / "tests" / name).is_dir())]
    unknown = [name for name in argv if name not in stages]
    if unknown:
        print(f"cannot run {' '.join(unknown)}: no such stage; there are {' '.join(stages)}")
        return 2
    # The commands under test are those that were just built, wherever a test looks for them.
    os.environ["PATH"] = f"{BIN}:{os.environ.get('PATH', os.defpath)}"
    os.chdir(ROOT)
    # A shell starts what it puts into the background with SIGINT ignored, and so would be all that
    # is tested with ^C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results = [_stage(name) for name in argv or stages]
    _summary(results)
    return int(any(result.failed for result in results))


def _stage(name: str) -> Result:
    print(f"\n== {name}", flush=True)
    result = Result(name)
    started = time.monotonic()
    if name in LINTERS:
        ok = run(LINTERS[name], check=False).returncode == 0
        result.passed, result.failed = int(ok), int(not ok)
    else:
        _pytest(name, result)
    result.seconds = time.monotonic() - started
    return result


def _pytest(folder: str, result: Result) -> None:
    with tempfile.TemporaryDirectory(prefix="unboxed-tests-") as scratch:
        report = Path(scratch) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", f"tests/{folder}"]
        code = run(command, check=False).returncode
        if report.exists():
            for suite in ET.parse(report).iter("testsuite"):  # noqa: S314 - our own file
                count = {key: int(suite.get(key, "0"))
                         for key in ("tests", "failures", "errors", "skipped")}
                bad = count["failures"] + count["errors"]
                result.failed += bad
                result.skipped += count["skipped"]
                result.passed += count["tests"] - bad - count["skipped"]
    if code != 0 and not result.failed:
        result.failed = 1  # killed, no tests found, or broken before the first: not a pass


def _summary(results: list[Result]) -> None:
    print("\n== summary")
    for result in results:
        verdict = "FAILED" if result.failed else "ok"
        print(f"{result.stage:10} {verdict:7} {result.passed:5} passed {result.failed:4} failed"
              f" {result.skipped:4} skipped {result.seconds:7.1f} s")
    total = [sum(getattr(result, key) for result in results)
             for key in ("passed", "failed", "skipped")]
    print("{} passed, {} failed, {} skipped".format(*total))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

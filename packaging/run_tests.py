"""Run the linters and every test folder, then say in a few plain lines how it went.

    run_tests.py [STAGE...]        all stages, or only those named

Law: a stage that fails does not hide the next one, and the exit status is 0 only if all passed.
Stages that nobody times run two at a time, and before the others; what each says is shown whole
when it ends. A stage with a time in its tests has the machine to itself.
Standard library only; each stage is a process of its own, so that it costs what it says.
"""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
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

# Stages that a busy machine makes slower and nothing else.
PATIENT = (*LINTERS, "law", "unit", "model", "vm", "fuzz")
# Each file a process of its own, as most of them are a machine that has one CPU and is slow. First
# those that take a minute or more: so the two that run at a time are done at about the same time.
BY_FILE = {"vm": ("test_limits.py", "test_probe.py", "test_sandbox.py")}
# A machine needs up to 1 GiB of memory, so that there are not more on a host of many CPUs.
AT_ONCE = min(2, len(os.sched_getaffinity(0)))

# Not run by itself. bench: figures are compared by a person, and need a quiet machine. native: the
# probe program, which tests of other folders run.
OTHER_FOLDERS = ("bench", "native")


class Result:
    """One stage. Counts are tests; a linter counts as one."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.passed = self.failed = self.skipped = 0
        self.seconds = 0.0


class Job:
    """One process of a stage, and what it adds to the stage's result."""

    def __init__(self, result: Result, title: str, command: list[str]) -> None:
        self._result = result
        self._title = title
        self.command = command

    def start(self, *, shown: bool) -> None:
        """What it says is shown at once, or when it ends."""
        self._scratch = tempfile.TemporaryDirectory(prefix="unboxed-tests-")
        self._report = Path(self._scratch.name, "report.xml")
        self._said = Path(self._scratch.name, "said")
        self._shown = shown
        command = self.command
        if self._result.stage not in LINTERS:
            command = [*command, f"--junitxml={self._report}"]
        if shown:
            self._heading()
        self._started = time.monotonic()
        with self._said.open("wb") as said:
            out = None if shown else said
            self._process = subprocess.Popen(command, stdout=out, stderr=out)

    def ended(self) -> bool:
        if self._process.poll() is None:
            return False
        self._result.seconds += time.monotonic() - self._started
        self._count(failed=self._process.returncode != 0)
        self.end()
        return True

    def end(self) -> None:
        """Nothing of it is left, even if it goes on (we end early, by ^C, which it heard too)."""
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if not self._shown:
            self._heading()
            print(self._said.read_text(errors="replace"), end="", flush=True)
        self._scratch.cleanup()

    def _heading(self) -> None:
        print(f"\n== {self._title}", flush=True)

    def _count(self, *, failed: bool) -> None:
        result, before = self._result, self._result.failed
        if result.stage in LINTERS:
            result.passed += not failed
        elif self._report.exists():
            for suite in ET.parse(self._report).iter("testsuite"):  # noqa: S314 - our own file
                count = {key: int(suite.get(key, "0"))
                         for key in ("tests", "failures", "errors", "skipped")}
                bad = count["failures"] + count["errors"]
                result.failed += bad
                result.skipped += count["skipped"]
                result.passed += count["tests"] - bad - count["skipped"]
        if failed and result.failed == before:
            result.failed += 1  # killed, no tests found, or broken before the first: not a pass


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
    results = {name: Result(name) for name in argv or stages}
    jobs = {name: list(_jobs(result)) for name, result in results.items()}
    patient = [job for name in jobs if name in PATIENT for job in jobs[name]]
    alone = [job for name in jobs if name not in PATIENT for job in jobs[name]]
    _run(patient, min(AT_ONCE, len(patient)))
    _run(alone, 1)
    _summary(list(results.values()))
    return int(any(result.failed for result in results.values()))


def _jobs(result: Result) -> Iterator[Job]:
    name = result.stage
    if name in LINTERS:
        yield Job(result, name, LINTERS[name])
        return
    pytest = [sys.executable, "-m", "pytest", "-q"]
    if name in BY_FILE:
        paths = sorted((ROOT / "tests" / name).rglob("test_*.py"))
        for path in sorted(paths, key=lambda path: path.name not in BY_FILE[name]):
            file = str(path.relative_to(ROOT))
            yield Job(result, f"{name}: {file}", [*pytest, file])
    else:
        yield Job(result, name, [*pytest, f"tests/{name}"])


def _run(jobs: list[Job], at_once: int) -> None:
    waiting, running = jobs[:], list[Job]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(waiting.pop(0))
                running[-1].start(shown=at_once == 1)
            time.sleep(0.02)
            running = [job for job in running if not job.ended()]
    finally:
        for job in running:
            job.end()


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

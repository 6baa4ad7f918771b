"""Run the linters and every test folder, then say in a few plain lines how it went.

    run_tests.py [STAGE...]        all stages, or only those named

Law: a stage that fails does not hide the next one, and the exit status is 0 only if all passed.
Stages and files that nobody times run three at a time, and before the others; what each says is
shown whole when it ends. Tests with a time in them have the machine to themselves.
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
# Long files and folders of which the same is true, whatever their stage: each is a process of its
# own, and the rest of the stage another. The longest first, so that all lanes end at about the same
# time.
FILES = {
    "kernel": ("sandbox", "network"),
    "scenario": ("cli", "agents", "bad_input", "dashboard", "packaging", "receive"),
    "vm": (
        "test_real_software.py", "test_make_vm.py", "test_packages.py", "test_limits.py",
        "test_boot_alike.py", "test_boot_manager_killed.py", "test_boot_power_cut.py",
        "test_boot_rescue.py", "test_probe.py", "test_sandbox.py",
    ),
    "fault": (
        "test_f54_machine.py", "test_f06_f13_f19_f20_f21_f37_machine.py", "test_f38_suspend.py",
        "test_f30_shipper_killed.py", "test_f14_killed_at_every_call.py", "test_f14_agents.py",
        "test_f35_power_loss.py", "test_f12_random_kills.py", "test_f30_logger_killed.py",
        "test_f01_pid_reuse.py", "test_f47_promises_and_levels.py", "test_f18_callbacks_raise.py",
        "test_f30_agent_killed.py", "test_f29_machine.py", "test_f28_machine.py",
        "test_f02_exit_or_stop.py", "test_f15_reexec.py", "test_f16_damaged_journal.py",
        "test_f17_manager_stopped.py", "test_f17_silent_manager.py", "test_f22_injected_errors.py",
        "test_f23_hostile_frames.py", "test_f25_ten_thousand_cycles.py", "test_f26_no_inotify.py",
        "test_f30_both_killed.py", "test_f31_no_space.py", "test_f31_no_space_drop.py",
        "test_f44_role_matrix.py", "test_f51_set_user_id.py", "test_f53_secrets.py",
    ),
}
# A machine needs up to 1 GiB of memory, so that there are not more on a host of many CPUs. One more
# than CPUs, since many of them wait most of the time: for a machine that is to hang, or to sleep.
AT_ONCE = min(2, len(os.sched_getaffinity(0))) + 1

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

    def __init__(
        self, result: Result, title: str, command: list[str], *, patient: bool = True
    ) -> None:
        self._result = result
        self._title = title
        self.command = command
        self.patient = patient

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
    jobs = [job for result in results.values() for job in _jobs(result)]
    patient = [job for job in jobs if job.patient]
    _run(patient, min(AT_ONCE, len(patient)))
    _run([job for job in jobs if not job.patient], 1)
    _summary(list(results.values()))
    return int(any(result.failed for result in results.values()))


def _jobs(result: Result) -> Iterator[Job]:
    name = result.stage
    if name in LINTERS:
        yield Job(result, name, LINTERS[name])
        return
    pytest = [sys.executable, "-m", "pytest", "-q"]
    folder = f"tests/{name}"
    files = [f"{folder}/{file}" for file in FILES.get(name, ())]
    for file in files:
        yield Job(result, f"{name}: {file}", [*pytest, file])
    but = [f"--ignore={file}" for file in files]
    title = f"{name}: the rest" if files else name
    yield Job(result, title, [*pytest, *but, folder], patient=name in PATIENT)


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

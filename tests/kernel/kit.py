"""Real processes, groups and users for the tests of supervisor/kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from select import POLLPRI, poll
from typing import Any, Self

from supervisor.kernel.cgroup import CgroupTracker

PATIENCE_S = 20.0  # only a failing test waits so long
NOBODY = 65534


def until(test: Callable[[], object], what: str) -> None:
    """Wait for something that no event tells of."""
    deadline = time.monotonic() + PATIENCE_S
    while not test():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain for {what}"
        time.sleep(0.002)


def in_child(call: Callable[[], Any], uid: int | None = None) -> Any:
    """What `call` returns (as JSON has it) in a forked process, as that user if one is given."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            if uid is not None:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            os.write(writer, json.dumps(call()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return json.loads(text)


class Groups:
    """A tracker below a group of the test's own, and processes in it."""

    def __init__(self, tracker: CgroupTracker) -> None:
        self.tracker = tracker
        self._children: list[subprocess.Popen[bytes]] = []

    def path(self, key: str) -> Path:
        return Path(self.tracker.base) / self.tracker.group(key)

    def make(self, key: str, below: str = "") -> Path:
        path = self.path(key) / below
        path.mkdir(parents=True, exist_ok=True)
        return path

    def run(
        self, key: str, script: str = "exec sleep 1000", below: str = "", **options: Any
    ) -> subprocess.Popen[bytes]:
        """A shell in the instance's group, or in one below it, from its first command on."""
        procs = self.make(key, below) / "cgroup.procs"
        child = subprocess.Popen(
            ["/bin/sh", "-c", f"echo $$ > {procs}; echo in; {script}"],
            stdout=subprocess.PIPE, **options,
        )  # fmt: skip
        self._children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"in\n"
        return child

    def until_empty(self, key: str) -> None:
        """Wait for the event that the group emptied."""
        with Watch(self.tracker, key) as watch:
            while not self.tracker.empty(key):
                assert watch.tells(), f"{key} never emptied"

    def clear(self) -> None:
        for path in Path(self.tracker.base).iterdir():
            if path.is_dir():
                self.tracker.end(path.name.replace("@", "/"))
        for child in self._children:
            child.kill()
            child.communicate()
        self.tracker.close()


class Watch:
    """Waits for the changes of one group, as the manager's loop does."""

    def __init__(self, tracker: CgroupTracker, key: str) -> None:
        self._tracker = tracker
        self._fds = tracker.watch(key)
        self._poll = poll()
        for fd in self._fds:
            self._poll.register(fd, POLLPRI)

    def __enter__(self) -> Self:
        return self

    def tells(self, timeout_s: float = PATIENCE_S) -> bool:
        """Whether a change comes within that time."""
        found = self._poll.poll(timeout_s * 1000)
        for fd, _ in found:
            self._tracker.heard(fd)
        return bool(found)

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            os.close(fd)


class Reaper:
    """A subreaper in the keeper's place: see reaper.py. `live` is what the keeper would know."""

    def __init__(self) -> None:
        script = str(Path(__file__).with_name("reaper.py"))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pid = self._process.pid
        self.live: dict[int, str] = {}

    def _ask(self, **order: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def start(self, key: str, script: str, env: dict[str, str] | None = None) -> int:
        pid = int(self._ask(script=script, env=env or {}))
        self.live[pid] = key
        return pid

    def start_many(self, key: str, count: int) -> None:
        self.live.update(dict.fromkeys(self._ask(many=count), key))

    def ended(self, pid: int) -> None:
        """Wait until it is dead and reaped, which the keeper would have told by then."""
        until(lambda: not os.path.exists(f"/proc/{pid}"), f"{pid} to be reaped")
        self.live.pop(pid, None)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

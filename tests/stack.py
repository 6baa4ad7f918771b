"""A real supervisor for tests: keeper, manager and logger in a directory of their own.

    with Stack(tmp_path, {"web": 'command = ["/bin/sleep", "1000"]'}) as stack:
        stack.wait("web", "running")

Everything waits on events: `wait` follows the event stream, nothing sleeps. Leaving the block
stops the supervisor in order and asserts that it left no process, cgroup or file behind.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from zlib import crc32

from supervisor.kernel import cgroup

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 20.0  # seconds; only a failing test waits so long
RESTING = {"stopped", "failed", "finished", "skipped"}


def keeper_binary() -> str:
    """UNBOXED_INIT, else the one installed with this Python."""
    given = os.environ.get("UNBOXED_INIT") or f"{sysconfig.get_path('scripts')}/unboxed-init"
    assert os.access(given, os.X_OK), f"{given} is missing: install, or set UNBOXED_INIT"
    return given


def library_paths() -> str:
    """Where msgspec and tomli are, for processes that run without `site`."""
    return ":".join(p for p in sys.path if p.endswith("-packages"))


class Refused(Exception):
    """The error reply to a call."""

    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        super().__init__(f"{name}: {parameters.get('message', parameters)}")
        self.name = name.rpartition(".")[2]
        self.parameters = parameters


class Stack:
    def __init__(
        self,
        home: Path,
        units: Mapping[str, str],
        *,
        start: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        keeper: str = "",
        source: Path = ROOT,
    ) -> None:
        """`units`: name -> TOML text, for home/units. `start`: only these at first. `prefix`:
        words before the keeper's command (unshare, setpriv, strace). `source`: the tree whose
        manager runs (a mutilated copy, in fault tests)."""
        self.home = home
        self.runtime, self.log = home / "rt", home / "log"
        self.units = home / "units"
        self.units.mkdir(exist_ok=True)
        for name, text in units.items():
            self.write(name, text)
        self._env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        self._start = start
        self._prefix = list(prefix)
        self._keeper = keeper or keeper_binary()
        self._source = source
        self.process: subprocess.Popen[bytes] | None = None
        self.errors = home / "stderr"

    def write(self, name: str, text: str) -> Path:
        path = self.units / f"{name}.toml"
        path.write_text(text)
        path.chmod(0o644)
        return path

    def argv(self) -> list[str]:
        python = [sys.executable, "-I", "-S"]
        package = self._source / "supervisor"
        manager = [
            *python, f"{package}/manager/__main__.py", "--site", library_paths(),
            "--units", str(self.units), "--runtime-dir", str(self.runtime),
            "--state-dir", str(self.home / "state"), "--log-dir", str(self.log),
        ]  # fmt: skip
        for name in self._start:
            manager += ["--start", name]
        logger = [*python, f"{package}/logger/__main__.py", "--log-dir", str(self.log)]
        logger += ["--runtime-dir", str(self.runtime), "--site", library_paths()]
        return [*self._prefix, self._keeper, "--supervise", "--", *manager, "--", *logger]

    # --- life ---------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start it; do not wait for anything."""
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                self.argv(), env=self._env, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                start_new_session=True,
            )  # fmt: skip

    def begin(self) -> Self:
        """Start it and wait until control answers, and the logger is there too."""
        self.launch()
        try:
            self.until(self.answers, "control to answer")
            if not self._prefix:
                self.until(lambda: self.logger, "the first logger")
        except BaseException as exc:
            self.__exit__(type(exc))
            raise
        return self

    def __enter__(self) -> Self:
        return self.begin()

    def __exit__(self, kind: object, *_: object) -> None:
        if self.process is None:
            return
        if kind is None:
            self.end()
        else:  # the test failed: nothing may be left, but that is not what it is about
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                self.clear()
            print(self.errors.read_text())

    def clear(self) -> None:
        """End and remove what a keeper that was killed left in its groups."""
        tracker, _ = cgroup.find(f"unboxed-{crc32(str(self.runtime).encode()):08x}")
        if tracker is not None:
            for key in tracker.leftovers():
                tracker.end(key)
            tracker.close()

    def end(self, timeout: float = PATIENCE) -> None:
        """Stop everything in order; nothing is left."""
        assert self.process is not None
        groups = self.cgroups()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout) == 0, self.errors.read_text()
        self.process = None
        assert not [g for g in groups if g.exists()], "cgroups are left"
        assert not (self.runtime / "control").exists(), "the control socket is left"

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"it ended:\n{self.errors.read_text()}"
        try:
            self.call("Status")
        except OSError:
            return False
        return True

    # --- processes ----------------------------------------------------------------------------

    @property
    def keeper(self) -> int:
        """The keeper's pid: our child, or the last of the prefix's descendants."""
        return int(self.call("Status")["supervisor"]["keeper_pid"])

    def _child(self, script: str) -> int:
        assert self.process is not None
        for pid in children(self.process.pid):
            if f"/{script}/__main__.py" in command_line(pid):
                return pid
        return 0

    @property
    def manager(self) -> int:
        return self._child("manager")

    @property
    def logger(self) -> int:
        """0 between two, and before the first one has begun its work: a moment after the first
        launches, or a second without any."""
        ready = (self.runtime / "log-figures").exists()
        return self._child("logger") if ready else 0

    def cgroups(self) -> list[Path]:
        found = []
        for row in self.rows().values():
            group = self.call("Describe", unit=row["key"])["cgroup"]
            if group:
                found.append(Path(group))
        return found

    # --- control ------------------------------------------------------------------------------

    def connect(self, name: str = "control") -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        try:
            sock.connect(str(self.runtime / name))
        except OSError:
            sock.close()
            raise
        return sock

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One reply's parameters. Raises Refused, OSError (not there, cut off)."""
        for reply in self.replies(method, more=False, **parameters):
            assert isinstance(reply, dict)
            return reply
        raise ConnectionResetError("the connection was closed before there was an answer")

    def replies(self, method: str, *, more: bool = True, **parameters: Any) -> Iterator[Any]:
        message = {"method": f"io.unboxed.Supervisor.{method}", "parameters": parameters}
        with self.connect() as sock:
            call = {**message, "more": True} if more else message
            sock.sendall(json.dumps(call).encode() + b"\0")
            data = b""
            while True:
                while b"\0" not in data:
                    part = sock.recv(1 << 20)
                    if not part:
                        return
                    data += part
                text, _, data = data.partition(b"\0")
                reply = json.loads(text)
                if "error" in reply:
                    raise Refused(reply["error"], reply["parameters"])
                yield reply["parameters"]
                if not reply.get("continues"):
                    return

    def rows(self) -> dict[str, dict[str, Any]]:
        """key -> InstanceStatus of all instances."""
        return {row["key"]: row for row in self.call("Status")["instances"]}

    def row(self, key: str) -> dict[str, Any]:
        return self.rows()[key]

    def wait(
        self, key: str, *states: str, test: Callable[[dict[str, Any]], bool] | None = None,
        timeout: float = PATIENCE,
    ) -> dict[str, Any]:  # fmt: skip
        """The row of `key` as soon as it is in one of `states` (and passes `test`). Looks again at
        every event; survives the death of the manager."""
        deadline = time.monotonic() + timeout

        def there() -> dict[str, Any] | None:
            row = self.rows().get(key)
            good = row is not None and (not states or row["state"] in states)
            return row if good and row is not None and (test is None or test(row)) else None

        while time.monotonic() < deadline:
            try:
                for _ in self.replies("Events"):
                    row = there()
                    if row is not None:
                        return row
                    if time.monotonic() >= deadline:
                        break
            except OSError:
                os.sched_yield()  # the manager is being replaced, or nothing happened for long
        raise AssertionError(f"{key} is not {states}: {self.rows().get(key)}")

    def until(
        self, test: Callable[[], object], what: str, timeout: float = PATIENCE
    ) -> object:
        """Wait for something that no event tells of; a few ms between two looks."""
        deadline = time.monotonic() + timeout
        while not (found := test()):
            assert time.monotonic() < deadline, f"waited {timeout} s in vain for {what}"
            time.sleep(0.005)
        return found


def children(pid: int) -> list[int]:
    """Of a keeper, without its own."""
    mine = set(own(pid))
    return [child for child in _children(pid) if child not in mine]


def own(keeper: int) -> list[int]:
    """Its spawners, and what is not a process of its own yet: these are of its session, whereas a
    launch begins one of its own. Of any other process: none."""
    try:
        if Path(f"/proc/{keeper}/comm").read_text() != "unboxed-init\n":
            return []
        session = os.getsid(keeper)
    except OSError:
        return []
    return [child for child in _children(keeper) if _session(child) == session]


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

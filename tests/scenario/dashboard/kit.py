"""A dashboard as a process, fed by the test as a supervisor feeds an agent."""
from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

from tests.places import let_in
from tests.stack import ROOT

PATIENCE = 20.0


class Dashboard:
    """`url` lets a browser in. `feed` writes log lines. `place`: HOST:PORT, 0 for any. `prefix`:
    words before its command."""

    def __init__(
        self, home: Path, runtime: Path, *args: str, place: str = "127.0.0.1:0",
        prefix: tuple[str, ...] = (),
    ) -> None:
        self._home = home
        self._log = home / "dashboard.log"
        self._env = {
            **os.environ, "UNBOXED_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        self._argv = [
            *prefix, sys.executable, "-m", "supervisor.cli", "agent", "dashboard", "--listen",
            place, "--state", str(home / "dashboard"), "--show", *args,
        ]  # fmt: skip
        self._time_ns = time.time_ns()
        self.url = ""

    def __enter__(self) -> Self:
        let_in(self._home)
        theirs, self._out = os.pipe()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self._argv, stdin=theirs, stdout=log, stderr=log, env=self._env,
                start_new_session=True)
        os.close(theirs)
        end = time.monotonic() + PATIENCE
        while "http://" not in self.log():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.01)
        self.url = next(word for word in self.log().split() if word.startswith("http://"))
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            self.end_feed()
        assert code == 0, self.log()

    @property
    def place(self) -> str:
        """HOST:PORT."""
        return self.url.split("/")[2]

    def log(self) -> str:
        return self._log.read_text()

    def end_feed(self) -> None:
        if self._out >= 0:
            os.close(self._out)
        self._out = -1

    def feed(self, key: str, message: str, stream: str = "output", **fields: Any) -> None:
        """One line, 100 ms after the one before."""
        self._time_ns += 100_000_000
        record = {
            "time_ns": self._time_ns, "unit": key.partition("/")[0], "instance": 0,
            "stream": stream, "message": message, "seq": 0, "cursor": f"{key}@0", **fields,
        }  # fmt: skip
        os.write(self._out, json.dumps(record).encode() + b"\n")


class Visitor:
    """A browser without a screen: has the cookie, and reads the stream."""

    def __init__(self, url: str) -> None:
        self._place, _, path = url.removeprefix("http://").partition("/")
        self._cookie = ""
        with self._ask("/" + path) as entered:
            assert entered.status == 303
            self._cookie = (entered.headers["set-cookie"] or "").partition(";")[0]

    @contextmanager
    def _ask(self, path: str) -> Iterator[http.client.HTTPResponse]:
        with closing(http.client.HTTPConnection(self._place, timeout=PATIENCE)) as connection:
            connection.request("GET", path, headers={"cookie": self._cookie})
            with connection.getresponse() as answer:
                yield answer

    def until(
        self, unit: str, test: Callable[[dict[str, Any]], object],
        before: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """What the stream told, all together, as soon as `test` holds of it. `before`: what is done
        once it is connected, and not read."""
        seen: dict[str, Any] = {"rows": {}, "lines": [], "missed": 0}
        end = time.monotonic() + PATIENCE
        with self._ask(f"/stream?unit={unit}") as stream:
            before()
            while not test(seen):
                assert time.monotonic() < end, seen
                line = stream.readline()
                if line.startswith(b"data: "):
                    told = json.loads(line.removeprefix(b"data: "))
                    for key, fields in told.get("rows", {}).items():
                        seen["rows"].setdefault(key, {}).update(fields)
                    seen["lines"] += [one[3] for one in told.get("lines", [])]
                    seen["missed"] += told.get("missed", False)
                    seen["link"] = told.get("link", seen.get("link"))
        return seen


def reachable(path: str) -> bool:
    """Whether other users get there, as to the Python that runs the tests."""
    place = Path(path).resolve()
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in (place, *place.parents))

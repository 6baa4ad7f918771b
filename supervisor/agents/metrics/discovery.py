"""The list of targets, kept up to date by the events of the supervisor, in a file if there is one.

Law: no polling. A thread follows the event stream and asks for the listeners of what changed; where
the stream ends (the manager was replaced, or stopped) it looks at everything anew. The file is
replaced as a whole, and only if it would differ. The list stays as it was while there is no
supervisor: what ran then most likely goes on. Nothing is followed before somebody wants the list.
"""
from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from supervisor.agents.metrics.targets import Listener, Target, document, tcp_listeners
from supervisor.control.client import Client, ControlError
from supervisor.model.pattern import matches

_FIRST_LIST_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_GONE = "io.unboxed.Supervisor.NoSuchUnit"


class Discovery:
    """`path` of the file is absolute, "" for none. `wanted` decides what is in the list."""

    def __init__(self, runtime: str, path: str, wanted: Sequence[Target]) -> None:
        self._known = threading.Event()  # `_text` is there
        self._text = ""
        self._thread: threading.Thread | None = None
        self._runtime = runtime
        self._path = path
        self._wanted = tuple(wanted)
        self._listeners: dict[str, list[Listener]] = {}  # by key
        self._written: str | None = None

    def start(self) -> None:
        """Follow what happens from now on. Called again, it does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="discovery", daemon=True)
            self._thread.start()

    def text(self) -> str:
        """The list; "" if it is not known. Only who asks first waits for it."""
        if self._thread is None:
            self.start()
            self._known.wait(_FIRST_LIST_S)
        return self._text

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                for _ in self.follow():
                    pause = _FIRST_PAUSE_S
            except (ControlError, OSError) as error:
                if isinstance(error, OSError):
                    print(f"cannot write {self._path}: {error.strerror}; it is tried again",
                          file=sys.stderr)
            time.sleep(pause)  # only after the stream has ended
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def follow(self) -> Iterator[None]:
        """A generator: one step for each thing that was heard. Raises ControlError, OSError."""
        with Client(self._runtime, "status") as events, Client(self._runtime, "status") as client:
            for reply in events.stream("Events"):
                if reply.get("ready"):
                    self._all(client)
                elif reply["event"]["to"] in {"launching", "down", "failed"}:
                    self._one(client, reply["event"]["key"])
                else:
                    continue
                every = [one for rows in self._listeners.values() for one in rows]
                self._text = document(self._wanted, every)
                self._known.set()
                if self._path and self._text != self._written:
                    self._write(self._text)
                yield

    def _all(self, client: Client) -> None:
        self._listeners.clear()
        for row in client.call("Figures")["instances"]:
            self._one(client, row["key"])

    def _one(self, client: Client, key: str) -> None:
        unit = key.partition("/")[0]
        if not any(matches(spec.unit, unit) or spec.unit == key for spec in self._wanted):
            return
        try:
            self._listeners[key] = tcp_listeners(client.call("Describe", {"unit": key}))
        except ControlError as error:
            if error.name != _GONE:
                raise
            self._listeners.pop(key, None)

    def _write(self, text: str) -> None:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        # A Prometheus watches the directory for files that fit its pattern: *.json does not fit.
        fresh = f"{self._path}.new"
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(fresh, 0o644)  # a Prometheus is another user
        os.replace(fresh, self._path)
        self._written = text

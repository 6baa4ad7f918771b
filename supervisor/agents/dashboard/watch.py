"""The supervisor as it is now, for all browsers together.

Law: one Watch, however many browsers. It asks for states and figures only while a browser is
connected, and then every INTERVAL_S, or less often where an answer takes long: never more than a
tenth of the manager's time. Transitions are heard always, since the supervisor sends them by
itself; whatever one is about is looked at within TOGETHER_S.

A supervisor that hangs or is replaced is news like any other (`link`): what was known stays, with
the words for it.
"""
from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from supervisor.agents.dashboard.ask import Asker
from supervisor.agents.dashboard.figures import INTERVAL_S, Counters, Figures
from supervisor.agents.dashboard.lines import Lines
from supervisor.agents.dashboard.rows import Row, Rows, row
from supervisor.control.client import ControlError
from supervisor.model.pattern import matches

TOGETHER_S = 0.05
SILENT_S = 2.5  # no answer for so long is worth a word
_SHARE = 10  # asking takes one part of so many
_EVENTS = 1000
_FEW = 64  # keys that are asked for by name
_LINGER_S = 5.0  # a page that is loaded again finds its figures going on
_AGAIN_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_OPERATE = frozenset({"operate", "admin"})

Event = tuple[int, dict[str, Any]]


class Watch:
    """`events`: (number, transition), numbers growing. `link`: {state, text, ...}, replaced whole;
    `link_version` counts its changes."""

    def __init__(self, asker: Asker, lines: Lines) -> None:
        self.rows = Rows()
        self.figures = Figures()
        self.lines = lines
        self.events: deque[Event] = deque(maxlen=_EVENTS)
        self.last_event = 0
        self.link: dict[str, Any] = {"state": "asking", "text": "asking the supervisor"}
        self.link_version = 1
        self.ended = False
        self._asker = asker
        self._news = asyncio.Event()
        self._viewers = 0
        self._sampler: asyncio.Task[None] | None = None
        self._refresher: asyncio.Task[None] | None = None
        self._looking: asyncio.Future[bool] | None = None
        self._turn = asyncio.Lock()  # one question at a time, so that no answer is older
        self._dirty: set[str] = set()
        self._now = asyncio.Event()  # do not wait for the interval
        self._grants: list[dict[str, Any]] = []
        self._supervisor: dict[str, Any] = {}
        self._asks_figures = True
        self._logs: dict[str, dict[str, Any]] = {}  # by key: LogFigures

    # --- for browsers ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def viewer(self) -> Iterator[None]:
        """While it lasts, states and figures are asked for."""
        self._viewers += 1
        if self._sampler is None:
            self._sampler = asyncio.get_running_loop().create_task(self._sample())
        try:
            yield
        finally:
            self._viewers -= 1

    async def news(self) -> None:
        """Until there is something that was not there when it was called."""
        await self._news.wait()

    def tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def look(self, patience_s: float) -> None:
        """Ask for everything now, unless that is being done all the time; wait at most so long."""
        if self._sampler is not None:
            return
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._ask_all())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._looking), patience_s)

    def may(self, unit: str) -> bool:
        """Whether the supervisor would let us operate it."""
        return any(
            grant["role"] in _OPERATE and any(matches(glob, unit) for glob in grant["units"])
            for grant in self._grants
        )

    def end(self) -> None:
        self.ended = True
        for task in (self._sampler, self._refresher, self._looking):
            if task is not None:
                task.cancel()
        self.tell()

    # --- asking -----------------------------------------------------------------------------------

    async def _sample(self) -> None:
        """Until nobody has looked for a while."""
        try:
            left = time.monotonic()
            while self._viewers or time.monotonic() - left < _LINGER_S:
                if self._viewers:
                    left = time.monotonic()
                began = time.monotonic()
                self._now.clear()
                known = await self._ask_all()
                took = time.monotonic() - began
                pause = max(INTERVAL_S - took, took * (_SHARE - 1)) if known else _AGAIN_S[2]
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._now.wait(), pause)
        finally:
            self._sampler = None

    async def _ask_all(self) -> bool:
        async with self._turn:
            try:
                answer = await self._patiently("Status", {})
                self._grants = (await self._patiently("Rights", {}))["grants"]
                self._logs = await self._figures()
            except ControlError as exc:
                self._say("lost", exc.message)
                return False
            self._heard(answer["supervisor"])
            self._take_all(answer["instances"])
            return True

    async def _ask_some(self, keys: set[str]) -> None:
        async with self._turn:
            try:
                answer = await self._patiently("Status", {"units": sorted(keys)})
            except ControlError:
                self._now.set()  # one of them is gone, or the supervisor: asking for all tells
                return
            self._heard(answer["supervisor"])
            rows = {}
            for status in answer["instances"]:
                last = self.figures.latest(status["key"])
                rows[status["key"]] = self._row(status, last[2] if last else None)
            if self.rows.update(rows, whole=False):
                self.tell()

    async def _patiently(self, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The answer, and meanwhile a word if it takes long. Raises ControlError."""
        asked = asyncio.ensure_future(self._asker.call(method, parameters))
        done, _ = await asyncio.wait({asked}, timeout=SILENT_S)
        if not done:
            self._say(
                "silent", f"the supervisor has not answered for {SILENT_S:.0f} s; this is what it"
                " last said, and it is replaced if it stays silent")
        return await asked

    async def _figures(self) -> dict[str, dict[str, Any]]:
        """Of the log of each instance; empty where the supervisor does not tell."""
        if not self._asks_figures:
            return {}
        try:
            answer = await self._patiently("Figures", {})
        except ControlError as exc:
            if not exc.name.endswith(".MethodNotFound"):
                raise
            self._asks_figures = False  # it is an older one
            return {}
        return {one["key"]: one["log"] for one in answer["instances"] if one["log"]}

    def _take_all(self, statuses: list[dict[str, Any]]) -> None:
        now_s = time.time()
        counters = {
            status["key"]: Counters(
                status.get("memory_bytes"), status.get("cpu_ns"), status.get("tasks"),
                self._logs.get(status["key"], {}).get("stored_bytes"))
            for status in statuses
        }
        rows = {
            status["key"]: self._row(
                status, self.figures.cpu_percent(status["key"], now_s, counters[status["key"]]))
            for status in statuses
        }
        self.figures.sample(now_s, counters)
        self.rows.update(rows, whole=True)
        self.tell()

    def _row(self, status: dict[str, Any], cpu_percent: float | None) -> Row:
        lost_bytes = self._logs.get(status["key"], {}).get("lost_bytes", 0)
        return row(status, cpu_percent, lost_bytes, may_act=self.may(status["unit"]))

    def _heard(self, supervisor: dict[str, Any]) -> None:
        old, self._supervisor = self._supervisor, supervisor
        starts = supervisor["manager_starts"]
        replaced = self.link.get("replaced")
        if old and (old["started_ns"], old["keeper_pid"]) != (
                supervisor["started_ns"], supervisor["keeper_pid"]):
            replaced = f"another supervisor answers since {_clock()}"
        elif old and old["pid"] != supervisor["pid"]:
            replaced = f"the manager was replaced at {_clock()}; no unit was touched by that"
        self._link({
            "state": "up", "text": "", "replaced": replaced, "version": supervisor["version"],
            "pid": supervisor["pid"], "starts": starts, "tracking": supervisor["tracking"],
            "started": supervisor["started_ns"] // 1_000_000, "units": supervisor["units"],
            "socket": self._asker.kind, "denied": self._asker.denied,
        })

    def _say(self, state: str, text: str) -> None:
        self._link({**self.link, "state": state, "text": text})

    def _link(self, link: dict[str, Any]) -> None:
        if link != self.link:
            self.link = link
            self.link_version += 1
            self.tell()

    # --- hearing ----------------------------------------------------------------------------------

    def listen(self) -> None:
        """Begin to hear transitions, in a thread that ends with the process."""
        loop = asyncio.get_running_loop()

        def hear() -> None:
            tries = 0
            while not self.ended:
                began = time.monotonic()
                with contextlib.suppress(ControlError):
                    self._asker.events(lambda reply: _post(loop, self._happened, reply))
                _post(loop, self._now.set)
                tries = 0 if time.monotonic() - began > _AGAIN_S[-1] else tries + 1
                time.sleep(_AGAIN_S[min(tries, len(_AGAIN_S) - 1)])

        threading.Thread(target=hear, daemon=True).start()

    def _happened(self, reply: dict[str, Any]) -> None:
        event = reply.get("event")
        if event is None:
            self._now.set()  # connected anew: what happened meanwhile, asking for all tells
            return
        self.last_event += 1
        self.events.append((self.last_event, {
            "id": event["id"], "key": event["key"], "time": event["time_ns"] // 1_000_000,
            "from": event["from"], "to": event["to"], "cause": event["cause"],
        }))
        self.tell()
        if self._sampler is not None:
            self._dirty.add(event["key"])
            if self._refresher is None:
                self._refresher = asyncio.get_running_loop().create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            while self._dirty:
                await asyncio.sleep(TOGETHER_S)
                keys, self._dirty = self._dirty, set()
                if len(keys) > _FEW or any(key not in self.rows for key in keys):
                    self._now.set()
                else:
                    await self._ask_some(keys)
        finally:
            self._refresher = None


def _post(loop: asyncio.AbstractEventLoop, act: Callable[..., object], *args: object) -> None:
    with contextlib.suppress(RuntimeError):  # it has ended
        loop.call_soon_threadsafe(act, *args)


def _clock() -> str:
    return time.strftime("%H:%M:%S")

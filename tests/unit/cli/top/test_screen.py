"""The screen, with keys that are typed, against a supervisor that says what a test wants."""
from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from supervisor.cli.call import Call
from supervisor.cli.top.app import Top
from supervisor.cli.top.widgets import Line, List, Text
from tests.unit.cli.conftest import fake, runtime  # noqa: F401 - fixtures of the folder above
from tests.unit.cli.fake import FakeSupervisor, Refusal, instance, transition

PATIENCE_S = 20.0
Keys = Callable[..., Awaitable[None]]


class Eyes:
    """What a person sees, and types."""

    def __init__(self, app: Top, pilot: Pilot[int]) -> None:
        self.app = app
        self._pilot = pilot

    async def type(self, *keys: str) -> None:
        await self._pilot.press(*keys)

    async def until(self, seen: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not seen():
            assert time.monotonic() < end, "\n".join(self.lines())
            await self._pilot.pause(0.02)

    async def reads(self, text: str) -> None:
        await self.until(lambda: text in "\n".join(self.lines()))

    async def resize(self, width: int, height: int) -> None:
        await self._pilot.resize_terminal(width, height)

    def lines(self) -> list[str]:
        """As they are drawn."""
        strips = self.app.screen._compositor.render_strips()
        return [strip.text.rstrip() for strip in strips]

    def units(self) -> list[str]:
        return [row.key for row in self.app.base.query_one(List).rows]

    def said(self) -> str:
        return self.app.base.query_one("#said", Line).text().strip()

    def pane(self) -> list[str]:
        return self.app.base.query_one("#pane", Text).lines


def look(
    story: Callable[[Eyes], Awaitable[None]], size: tuple[int, int] = (80, 24), *words: str
) -> None:
    async def main() -> None:
        app = Top(Call("top", words), 0.05)
        async with app.run_test(size=size) as pilot:
            await story(Eyes(app, pilot))

    asyncio.run(main())


def shop(fake: FakeSupervisor) -> None:  # noqa: F811 - the fixture
    fake.instances = [
        instance("db", pid=41, memory_bytes=12_900_000, cpu_ns=1, tasks=3, description="rows"),
        instance("web/0", pid=42), instance("web/1", "backoff", restarts=4, last_exit="exit 1"),
    ]


def log(runtime: Path, key: str, text: str) -> None:  # noqa: F811 - the fixture
    folder = runtime / "logs" / key.replace("/", "@")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{0:016x}.log").open("a") as file:
        file.write(text)


@pytest.fixture
def served(fake: FakeSupervisor) -> FakeSupervisor:  # noqa: F811 - the fixture
    shop(fake)
    fake.answers["Why"] = lambda asked: {
        "chain": [transition(1, asked["unit"], "starting", "up", "ready")],
        "status": instance(asked["unit"])}
    fake.answers["Describe"] = lambda _: {"tree": [
        {"pid": 41, "ppid": 1, "command": "postgres\x1b[2J", "memory_bytes": 4096},
        {"pid": 43, "ppid": 41, "command": "writer", "memory_bytes": None}]}
    return fake


def test_everything_fits_eighty_columns_by_twentyfour_lines(served: FakeSupervisor) -> None:
    async def story(eyes: Eyes) -> None:
        await eyes.reads("2 running, 1 backoff")
        await eyes.reads(" unboxed 0.1.0")
        lines = eyes.lines()
        assert len(lines) == 24
        assert max(map(len, lines)) <= 80
        assert lines[0].startswith(" unboxed 0.1.0")
        assert lines[2].split() == ["UNIT▴", "STATE", "CPU%", "MEM", "TASKS", "RST", "PSI", "AGE"]
        assert [line.split()[0] for line in lines[3:6]] == ["db", "web/0", "web/1"]
        assert lines[-1].strip().endswith("q leave")

    look(story)


def test_orders_searches_and_collapsed_instances(served: FakeSupervisor) -> None:
    async def story(eyes: Eyes) -> None:
        await eyes.until(lambda: eyes.units() == ["db", "web/0", "web/1"])
        await eyes.type("S")
        assert eyes.units()[0] == "web/1"
        await eyes.type("S")
        assert eyes.units()[-1] == "web/1"
        await eyes.type("U", "i")
        assert eyes.units() == ["db", "web"]
        await eyes.reads("web ×2")  # noqa: RUF001 - times
        await eyes.type("i", "slash", "w", "b", "backspace", "e", "S")
        assert eyes.units() == [], "in a search a letter is a letter"
        await eyes.type("backspace", "enter")
        assert eyes.units() == ["web/0", "web/1"]
        assert eyes.said().startswith("1 of 3 with 'we'") or "2 of 3 with 'we'" in eyes.said()
        await eyes.type("escape")
        assert len(eyes.units()) == 3

    look(story)


def test_the_selected_unit_stays_selected_wherever_it_goes(served: FakeSupervisor) -> None:
    async def story(eyes: Eyes) -> None:
        await eyes.until(lambda: len(eyes.units()) == 3)
        await eyes.type("down", "down")
        served.instances.insert(0, instance("a-new-one"))
        served.supervisor["units"] = 9
        await eyes.until(lambda: len(eyes.units()) == 4)
        selected = eyes.app._list.selected
        assert selected is not None
        assert selected.key == "web/1"

    look(story)


def test_the_log_of_the_selected_unit_is_shown_as_it_comes_and_escaped(
    served: FakeSupervisor, runtime: Path  # noqa: F811 - the fixture
) -> None:
    log(runtime, "db", "hello \x1b[2J\n")
    log(runtime, "web/0", "GET /\n")

    async def story(eyes: Eyes) -> None:
        await eyes.reads(r"hello \x1b[2J")
        log(runtime, "db", "and more\n")
        await eyes.reads("and more")
        await eyes.type("down")
        await eyes.reads("GET /")
        assert not any("hello" in line for line in eyes.pane())
        await eyes.type("down")
        await eyes.reads("nothing was written so far")

    look(story)


def test_processes_and_causes_in_the_pane_which_may_have_the_screen_to_itself(
    served: FakeSupervisor,
) -> None:
    async def story(eyes: Eyes) -> None:
        await eyes.until(lambda: len(eyes.units()) == 3)
        await eyes.type("p")
        await eyes.reads("└─ 43  writer")
        assert any(r"postgres\x1b[2J" in line for line in eyes.pane())
        await eyes.type("w")
        await eyes.reads("running since")
        await eyes.type("enter")
        await eyes.reads("starting -> up: ready")
        assert "UNIT" not in "\n".join(eyes.lines())
        await eyes.type("escape")
        await eyes.reads("UNIT")

    look(story)


def test_a_change_is_asked_about_and_its_progress_and_result_are_told(
    served: FakeSupervisor,
) -> None:
    go_on = threading.Event()

    def stop(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {"progress": [{"key": "db", "state": "stopping", "phase": "stopping",
                             "waiting_for": ["web"], "deadline_ns": None, "reason": ""}]}
        go_on.wait(PATIENCE_S)
        yield {"results": [{"key": "db", "ok": True, "message": "stopped", "code": 0}]}

    served.answers["Stop"] = stop

    async def story(eyes: Eyes) -> None:
        await eyes.until(lambda: len(eyes.units()) == 3)
        await eyes.type("x")
        await eyes.reads("stop db?")
        await eyes.type("n")
        assert all(method != "Stop" for method, _ in served.asked)
        await eyes.type("x", "y")
        await eyes.reads("stop: db: waiting for web")
        await eyes.type("down")  # the wait is elsewhere
        served.instances[0] = instance("db", "stopped")
        go_on.set()
        await eyes.reads("db: stopped")
        assert ("Stop", {"units": ["db"], "wait": True}) in served.asked

    look(story)


def test_a_signal_is_chosen_by_its_letter(served: FakeSupervisor) -> None:
    served.answers["Kill"] = lambda _: {
        "results": [{"key": "db", "ok": True, "message": "sent", "code": 0}]}

    async def story(eyes: Eyes) -> None:
        await eyes.until(lambda: len(eyes.units()) == 3)
        await eyes.type("k")
        await eyes.reads("signal for all processes of db")
        await eyes.type("h")
        await eyes.reads("send SIGHUP to db?")
        await eyes.type("y")
        await eyes.reads("db: sent")
        assert ("Kill", {"units": ["db"], "wait": True, "signal": 1}) in served.asked
        await eyes.type("k", "escape")
        assert "signal for" not in "\n".join(eyes.lines())

    look(story)


def test_a_refusal_is_told_and_stays(served: FakeSupervisor) -> None:
    def refuse(_: object) -> None:
        message = f"cannot restart db: {'only admins may ' * 9}"
        raise Refusal("NotPermitted", reason="role", message=message)

    served.answers["Restart"] = refuse

    async def story(eyes: Eyes) -> None:
        await eyes.until(lambda: len(eyes.units()) == 3)
        await eyes.type("r", "y")
        await eyes.reads("cannot restart db: only admins may")
        await eyes.until(lambda: "\n".join(eyes.lines()).count("admins") == 9)
        await eyes.type("down")
        await eyes.reads("2 of 3")
        assert len(eyes.lines()) == 24

    look(story)


def test_a_supervisor_that_goes_and_comes_back_is_told_and_so_is_a_new_manager(
    served: FakeSupervisor, runtime: Path  # noqa: F811 - the fixture
) -> None:
    async def story(eyes: Eyes) -> None:
        await eyes.until(lambda: len(eyes.units()) == 3)

        def gone(_: object) -> Any:
            raise ConnectionError

        answer, served.answers["Status"] = served.answers["Status"], gone
        await eyes.reads("no supervisor answers")
        await eyes.reads("cannot hear the answer")
        assert eyes.units() == ["db", "web/0", "web/1"], "what was known is still there"
        served.supervisor |= {"pid": 4001, "manager_starts": 2}
        served.answers["Status"] = answer
        await eyes.reads("the manager was replaced; it was started 2 times")
        await eyes.reads("manager started 2 times")

    look(story)


def test_figures_are_asked_for_in_portions_and_not_while_nobody_sees_them(
    served: FakeSupervisor,
) -> None:
    served.instances = [instance(f"unit-{number}") for number in range(100)]

    async def story(eyes: Eyes) -> None:
        await eyes.until(lambda: sum(
            "units" in asked for _, asked in served.asked) >= 4)
        with_usage = [asked for _, asked in served.asked if asked.get("usage")]
        assert {len(asked["units"]) for asked in with_usage} == {32, 4}
        await eyes.type("?")
        await eyes.reads("Any key goes back")
        await eyes.until(lambda: _quiet(served))
        await eyes.type("space")
        before = len(served.asked)
        await eyes.until(lambda: len(served.asked) > before)

    look(story)


def _quiet(served: FakeSupervisor) -> bool:
    """Whether nothing is asked for several looks."""
    before = len(served.asked)
    time.sleep(0.3)
    return len(served.asked) == before


def test_a_thousand_units_are_gone_through_without_delay(served: FakeSupervisor) -> None:
    served.instances = [
        instance(f"unit-{number:04}", memory_bytes=number) for number in range(1000)]
    served.supervisor["units"] = 1000

    async def story(eyes: Eyes) -> None:
        await eyes.until(lambda: len(eyes.units()) == 1000)
        began = time.monotonic()
        await eyes.type(*["pagedown"] * 40, "end", "home", "M")
        assert time.monotonic() - began < 20, "43 keys, each of which took some 50 ms"
        await eyes.type("end")
        await eyes.reads("1000 of 1000")

    look(story)


def test_any_size_will_do_and_may_change(served: FakeSupervisor) -> None:
    async def story(eyes: Eyes) -> None:
        await eyes.until(lambda: len(eyes.units()) == 3)
        for width, height in ((20, 5), (120, 40), (80, 6), (40, 10)):
            await eyes.resize(width, height)
            await eyes.until(lambda: len(eyes.lines()) == height)  # noqa: B023 - at once
            assert eyes.app._list.size.height >= 1
            for key in ("p", "enter", "down", "escape", "?", "space", "k", "escape"):
                await eyes.type(key)
            assert max(map(len, eyes.lines())) <= width

    look(story)


def test_no_supervisor_at_all_is_said_and_waited_for(
    runtime: Path,  # noqa: F811 - the fixture
) -> None:
    async def story(eyes: Eyes) -> None:
        await eyes.reads("cannot reach the supervisor")
        await eyes.type("x", "y", "k", "p")
        await eyes.reads("no supervisor answers")

    look(story)

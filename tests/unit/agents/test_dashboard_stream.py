"""A browser's place in what all share; a supervisor that answers, refuses, hangs or is gone."""
from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from supervisor.agents.dashboard import watch as watch_module
from supervisor.agents.dashboard.app import make
from supervisor.agents.dashboard.ask import WAITING, Asker
from supervisor.agents.dashboard.lines import Lines
from supervisor.agents.dashboard.secret import Secret
from supervisor.agents.dashboard.stream import MOST_LINES, Place, stream, text
from supervisor.agents.dashboard.watch import Watch
from supervisor.control.client import ControlError
from supervisor.model import report
from tests.control_kit import SUPERVISOR, Loop, instance
from tests.unit.agents.dashboard_kit import Answer, ask

T = TypeVar("T")


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path)
    with loop.thread():
        yield loop
    loop.close()


def status(*rows: report.InstanceStatus, **fields: Any) -> report.StatusReply:
    from msgspec.structs import replace

    return report.StatusReply(rows, replace(SUPERVISOR, **fields))


def watching(
    directory: str, act: Callable[[Watch, Asker], Awaitable[T]], lines: Lines | None = None
) -> T:
    """`act` with a Watch of the supervisor in that directory."""
    async def run() -> T:
        asker = Asker(directory, "control")
        watch = Watch(asker, lines or Lines())
        try:
            return await act(watch, asker)
        finally:
            watch.end()

    return asyncio.run(run())


async def until(test: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not test():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.005)


def test_a_place_goes_on_where_it_was_and_an_id_of_another_process_begins_anew(loop: Loop) -> None:
    async def act(watch: Watch, _: Asker) -> None:
        watch.lines.add("web", 1, "output", "one")
        await watch.look(5)
        place = Place("web")
        first = place.news(watch)
        assert set(first["rows"]) == {"web", "db"}
        assert first["reset"]
        assert [line[3] for line in first["lines"]] == ["one"]
        assert place.news(watch) == {}
        watch.lines.add("web", 1, "output", "two")
        watch.lines.add("db", 1, "output", "of another")
        again = Place("web", str(place)).news(watch)
        assert [line[3] for line in again["lines"]] == ["two"]
        assert "rows" not in again
        for strange in ("", "x", "ffffffff.1.1.1", f"{place}.1", f"{place}".replace(".", ".-")):
            assert set(Place("web", strange).news(watch)["rows"]) == {"web", "db"}

    watching(loop.directory, act)


def test_a_slow_browser_gets_the_last_lines_once_and_hears_that_there_were_more(
    loop: Loop,
) -> None:
    async def act(watch: Watch, _: Asker) -> None:
        watch.lines.add("web", 1, "output", "seen")
        place = Place("web")
        place.news(watch)
        for number in range(3 * MOST_LINES):
            watch.lines.add("web", 1, "output", str(number))
        told = place.news(watch)
        assert len(told["lines"]) == MOST_LINES
        assert told["lines"][-1][3] == str(3 * MOST_LINES - 1)
        assert told["missed"] is True
        assert "lines" not in place.news(watch)

    watching(loop.directory, act)


def test_an_event_has_its_place_as_its_id_and_is_one_line() -> None:
    sent = text(Place(), {"lines": [[1, 2, "output", "a\nb\r\n\u2028id: 7"]]})
    assert re.fullmatch(r"id: [0-9a-f]{8}\.0\.0\.0\ndata: [ -~]+\n\n", sent)
    assert json.loads(sent.split("data: ")[1])["lines"][0][3] == "a\nb\r\n\u2028id: 7"


def test_a_change_is_sent_when_the_supervisor_tells_of_it(loop: Loop) -> None:
    async def act(watch: Watch, _: Asker) -> None:
        watch.listen()
        sent = stream(watch, Place())
        assert await anext(sent) == "retry: 1000\n\n"
        parts = [json.loads((await anext(sent)).split("data: ")[1])]
        while "rows" not in parts[-1]:
            parts.append(json.loads((await anext(sent)).split("data: ")[1]))
        loop.desk.answers["Status"] = status(instance("web", state="failed", pid=0))
        event = report.EventReply(event=report.Transition(9, "web", 5, "up", "failed", "exit 7"))
        await until(lambda: any(name == "Events" for name, _, _ in loop.desk.calls))
        [call] = [call for name, call, _ in loop.desk.calls if name == "Events"]
        loop.post(lambda: call.progress(event))
        told: dict[str, Any] = {}
        async with asyncio.timeout(10):
            while "rows" not in told or "events" not in told:
                told.update(json.loads((await anext(sent)).split("data: ")[1]))
        assert told["rows"]["web"]["state"] == "failed"
        assert told["events"][0]["cause"] == "exit 7"
        await sent.aclose()  # type: ignore[attr-defined] # it is a generator

    loop.desk.held.add("Events")
    watching(loop.directory, act)


def test_nobody_is_asked_while_no_browser_is_connected(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "INTERVAL_S", 0.01)
    monkeypatch.setattr(watch_module, "_LINGER_S", 0.05)

    async def act(watch: Watch, _: Asker) -> None:
        assert loop.desk.calls == []
        sent = stream(watch, Place())
        await anext(sent)
        await anext(sent)
        await until(lambda: watch.figures.taken > 3)
        await sent.aclose()  # type: ignore[attr-defined] # it is a generator
        await until(lambda: watch._sampler is None)
        asked = len(loop.desk.calls)
        await asyncio.sleep(0.1)
        assert len(loop.desk.calls) == asked

    watching(loop.directory, act)


def test_a_manager_that_was_replaced_is_told_of(loop: Loop) -> None:
    async def act(watch: Watch, _: Asker) -> None:
        await watch.look(5)
        assert watch.link["state"] == "up"
        assert watch.link["replaced"] is None
        loop.desk.answers["Status"] = status(instance(), pid=99, manager_starts=2)
        await watch.look(5)
        assert "the manager was replaced" in str(watch.link["replaced"])
        loop.desk.answers["Status"] = status(instance(), pid=100, keeper_pid=98)
        await watch.look(5)
        assert "another supervisor" in str(watch.link["replaced"])

    watching(loop.directory, act)


def test_a_manager_that_hangs_holds_up_no_page(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "SILENT_S", 0.05)

    async def act(watch: Watch, asker: Asker) -> None:
        await watch.look(5)
        loop.desk.held |= {"Status", "Describe", "Why"}
        with watch.viewer():
            await until(lambda: watch.link["state"] == "silent")
            assert "has not answered" in watch.link["text"]
            assert set(Place().news(watch)["rows"]) == {"web", "db"}, "what was known stays"
            app = make(watch, asker, Secret("t" * 43), lambda _: None)
            waiting = [asyncio.ensure_future(ask(app, "/unit?key=web", {})) for _ in range(40)]
            began = time.monotonic()
            page = await ask(app, "/", {})
            assert page.status == 200
            assert time.monotonic() - began < 2
            for one in waiting[WAITING:]:
                assert (await one).status == 504, "there are too many questions already"
            loop.desk.held.clear()
            for one in waiting:
                one.cancel()
            for name, call, _ in list(loop.desk.calls):
                if name == "Status" and call.send is not None:  # type: ignore[attr-defined]
                    loop.post(lambda call=call: call.reply(status(instance())))  # type: ignore[misc]
            await until(lambda: watch.link["state"] == "up")

    watching(loop.directory, act)


def test_a_supervisor_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    async def act(watch: Watch, _: Asker) -> None:
        await watch.look(5)
        assert watch.link["state"] == "lost"
        assert "is it running?" in watch.link["text"]

    watching(str(tmp_path), act)


def test_what_one_may_operate_is_what_the_supervisor_grants(loop: Loop) -> None:
    async def act(watch: Watch, asker: Asker) -> None:
        await watch.look(5)
        assert watch.may("web")
        watch._grants = [{"role": "observe", "units": ["*"]}, {"role": "operate", "units": ["w*"]}]
        assert watch.may("web")
        assert not watch.may("db")
        asker._prefer = "status"
        await watch.look(5)
        assert not watch.may("web")
        assert watch.link["socket"] == "status"

    watching(loop.directory, act)


def post(loop: Loop, body: bytes) -> tuple[Answer, list[str]]:
    said: list[str] = []

    async def act(watch: Watch, asker: Asker) -> Answer:
        app = make(watch, asker, Secret("t" * 43), said.append)
        return await ask(app, "/do", {"content-type": "application/json"}, method="POST", body=body)

    return watching(loop.directory, act), said


def test_an_action_is_done_as_the_supervisor_is_asked_and_noted(loop: Loop) -> None:
    answer, said = post(loop, b'{"action":"stop","unit":"web"}')
    assert answer.status == 200
    assert json.loads(answer.body) == {"message": "stop web: done"}
    [(method, call, asked)] = loop.desk.calls
    assert (method, asked.units, call.more) == ("Stop", ("web",), True)
    assert said == ["stop web: asked for on the page"]


def test_a_refusal_is_shown_as_it_is(loop: Loop) -> None:
    words = "cannot stop web: uid 7 has no role on web; nothing was done"
    loop.desk.answers["Stop"] = report.Outcome(
        results=(report.Result("web", ok=False, message=words, code=4),))
    answer, _ = post(loop, b'{"action":"stop","unit":"web"}')
    assert (answer.status, json.loads(answer.body)) == (403, {"message": words})
    loop.desk.scripts["Stop"] = lambda call: call.fail(report.Failed("cannot stop web: because"))
    answer, said = post(loop, b'{"action":"stop","unit":"web"}')
    assert answer.status == 409
    assert json.loads(answer.body) == {"message": "cannot stop web: because"}
    assert said[-1] == "stop web: cannot stop web: because"


@pytest.mark.parametrize("body", [
    b"", b"x", b"[]", b"null", b"{}", b'{"action":"kill","unit":"web"}', b"\xff",
    b'{"action":["start"],"unit":"web"}', b'{"action":"start","unit":["web"]}',
    b'{"action":"start","unit":7}', b'{"action":"start","unit":"' + b"x" * 5000 + b'"}',
])
def test_what_there_is_not_is_not_done(loop: Loop, body: bytes) -> None:
    answer, _ = post(loop, body)
    assert answer.status == 400
    assert loop.desk.calls == []


def test_the_page_has_all_rows_and_ends_no_script_early(loop: Loop) -> None:
    evil = "</script><script>alert(1)</script>&<!--\u2028"
    loop.desk.answers["Status"] = status(instance("web", description=evil))

    async def act(watch: Watch, asker: Asker) -> Answer:
        app = make(watch, asker, Secret("t" * 43), lambda _: None)
        return await ask(app, "/", {})

    page = watching(loop.directory, act).body
    first = page.split('id="first">')[1].split("</script>")[0]
    assert json.loads(first)["rows"]["web"]["about"] == evil
    assert "alert" not in page.replace(first, "")
    assert "<" not in first


def test_what_is_told_of_a_unit_leaves_out_its_definition(loop: Loop) -> None:
    async def act(watch: Watch, asker: Asker) -> Answer:
        app = make(watch, asker, Secret("t" * 43), lambda _: None)
        return await ask(app, "/unit?key=web", {})

    answer = watching(loop.directory, act)
    told = json.loads(answer.body)
    assert [one["pid"] for one in told["tree"]] == [42]
    assert told["chain"][0]["because"] == 6
    assert "PASSWORD" not in answer.body


def test_too_many_questions_are_refused_at_once(loop: Loop) -> None:
    async def act(_: Watch, asker: Asker) -> None:
        waiting = [asyncio.ensure_future(asker.call("Status", {}, 5)) for _ in range(WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(ControlError, match="questions wait"):
            await asker.call("Status")
        loop.desk.held.clear()
        for one in waiting:
            one.cancel()

    loop.desk.held.add("Status")
    watching(loop.directory, act)


def test_every_file_of_the_page_is_served_and_no_other(loop: Loop) -> None:
    async def act(watch: Watch, asker: Asker) -> None:
        app = make(watch, asker, Secret("t" * 43), lambda _: None)
        page = (await ask(app, "/", {})).body
        for path in re.findall(r'(?:src|href)="(/page/[^"]+)"', page):
            answer = await ask(app, path, {})
            assert answer.status == 200, path
            assert answer.headers["content-type"].startswith(("text/", "image/svg+xml")), path
        for path in ("/page/../main.py", "/page/main.py", "/page/..%2fmain.py", "/page/"):
            assert (await ask(app, path, {})).status == 404, path

    watching(loop.directory, act)


def test_no_script_or_style_of_the_page_names_another_host() -> None:
    folder = Path(watch_module.__file__).parent / "page"
    allowed = {"http://www.w3.org/2000/svg"}
    for path in folder.iterdir():
        named = set(re.findall(r"""https?://[^\s"'`]+""", path.read_text()))
        assert named <= allowed, path
        assert "innerHTML" not in path.read_text()

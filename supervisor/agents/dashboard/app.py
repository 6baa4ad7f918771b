"""The pages and answers of the dashboard, for whoever got through the door."""
from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from supervisor.agents.dashboard.ask import Asker
from supervisor.agents.dashboard.secret import Secret
from supervisor.agents.dashboard.stream import Place, stream
from supervisor.agents.dashboard.watch import Watch
from supervisor.control.client import ControlError

FIRST_S = 2.0  # the page comes after that, with or without the supervisor's answer
DONE_S = 20.0  # an action that takes longer goes on without the page waiting
MOST_STREAMS = 48
_MOST_BODY = 4096
_ACTIONS = {"start": "Start", "stop": "Stop", "restart": "Restart", "reload": "Reload"}
_FOLDER = os.path.join(os.path.dirname(__file__), "page")
_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_STATUS = {3: 404, 4: 403, 5: 504}  # by the exit code of an error


def make(
    watch: Watch, asker: Asker, secret: Secret, say: Callable[[str], None]
) -> Starlette:
    """`say`: a line for our own log."""
    page = _Page(watch, asker, secret, say)
    return Starlette(routes=[
        Route("/", page.whole),
        Route("/page/{name}", page.file),
        Route("/stream", page.stream),
        Route("/unit", page.unit),
        Route("/relations", page.relations),
        Route("/do", page.act, methods=["POST"]),
    ])


class _Page:
    def __init__(
        self, watch: Watch, asker: Asker, secret: Secret, say: Callable[[str], None]
    ) -> None:
        self._watch = watch
        self._asker = asker
        self._secret = secret
        self._say = say
        self._streams = 0
        self._doing: set[asyncio.Future[Any]] = set()
        self._files = {
            name: _read(name) for name in sorted(os.listdir(_FOLDER))
            if os.path.splitext(name)[1] in _KINDS
        }
        self._html = _read("index.html").decode()

    async def whole(self, _: Request) -> Response:
        """With all rows in it, so that they are painted at once."""
        await self._watch.look(FIRST_S)
        place = Place()
        found = place.news(self._watch)
        first = {**found, "id": str(place), "word": self._secret.action}
        html = self._html.replace("@FIRST@", _inside_script(first), 1)
        return Response(html, media_type="text/html")

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        data = self._files.get(name)
        if data is None:
            return Response("there is no such file\n", 404, media_type="text/plain")
        return Response(data, media_type=_KINDS[os.path.splitext(name)[1]])

    async def stream(self, request: Request) -> Response:
        if self._streams >= MOST_STREAMS:
            return Response("too many pages are open\n", 503, media_type="text/plain")
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        place = Place(request.query_params.get("unit", "")[:256], after)

        async def counted() -> Any:
            self._streams += 1
            try:
                async for one in stream(self._watch, place):
                    yield one
            finally:
                self._streams -= 1

        return StreamingResponse(counted(), media_type="text/event-stream")

    async def unit(self, request: Request) -> Response:
        """What is only asked for about the unit that is looked at. Its definition, which has its
        environment, stays here."""
        asked = {"unit": request.query_params.get("key", "")}
        try:
            described, why = await asyncio.gather(
                self._asker.call("Describe", asked), self._asker.call("Why", asked))
        except ControlError as exc:
            return _refused(exc)
        return JSONResponse({
            "tree": described["tree"], "listeners": described["listeners"],
            "cgroup": described["cgroup"], "chain": [_event(one) for one in why["chain"]],
        })

    async def relations(self, _: Request) -> Response:
        try:
            return JSONResponse(await self._asker.call("Relations", {}))
        except ControlError as exc:
            return _refused(exc)

    async def act(self, request: Request) -> Response:
        """Done by the supervisor, or refused by it, as what this process is (access.toml)."""
        try:
            body = await _body(request)
            asked = json.loads(body)
            action, key = asked["action"], asked["unit"]
            method = _ACTIONS[action]
        except (ValueError, LookupError, TypeError, ClientDisconnect):
            return _sentence("cannot do that: the page asked for what there is not", 400)
        if not isinstance(key, str):
            return _sentence("cannot do that: a unit has a name", 400)
        self._say(f"{action} {key}: asked for on the page")
        doing = asyncio.ensure_future(self._asker.operate(method, key))
        self._doing.add(doing)
        doing.add_done_callback(lambda done: self._told(done, f"{action} {key}"))
        done, _ = await asyncio.wait({doing}, timeout=DONE_S)
        if not done:
            return _sentence(f"{action} {key}: it goes on, and takes longer than usual", 202)
        try:
            results = doing.result()
        except ControlError as exc:
            return _refused(exc)
        bad = [one for one in results if not one["ok"]]
        if bad:
            return _sentence(bad[0]["message"] or f"cannot {action} {key}", _STATUS.get(
                bad[0]["code"], 409))
        return _sentence(f"{action} {key}: {results[0]['message'] or 'done'}" if results else
                         f"{action} {key}: done")

    def _told(self, done: asyncio.Future[list[dict[str, Any]]], what: str) -> None:
        self._doing.discard(done)
        if done.cancelled():
            return
        problem = done.exception()
        if problem is not None:
            self._say(f"{what}: {problem}")


async def _body(request: Request) -> bytes:
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > _MOST_BODY:
            raise ValueError("too long")
    return data


def _refused(exc: ControlError) -> Response:
    return _sentence(exc.message, _STATUS.get(exc.code, 409))


def _sentence(text: str, status: int = 200) -> Response:
    return JSONResponse({"message": text}, status)


def _event(transition: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": transition["id"], "key": transition["key"], "from": transition["from"],
        "to": transition["to"], "cause": transition["cause"], "because": transition["cause_id"],
        "time": transition["time_ns"] // 1_000_000,
    }


def _inside_script(document: dict[str, Any]) -> str:
    """JSON that ends no script element, whatever it says."""
    text = json.dumps(document, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _read(name: str) -> bytes:
    with open(os.path.join(_FOLDER, name), "rb") as file:
        return file.read()

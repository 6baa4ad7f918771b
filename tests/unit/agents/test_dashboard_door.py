"""Who gets in: each way that is closed, closed by itself."""
from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from supervisor.agents.dashboard.door import WORD, Door
from supervisor.agents.dashboard.main import names
from supervisor.agents.dashboard.secret import Secret
from tests.unit.agents.dashboard_kit import Answer, ask

SECRET = Secret("t" * 43)
HOST = {"host": "127.0.0.1:9465"}
COOKIE = {"cookie": f"other=1; unboxed-9465={SECRET.cookie}"}
OURS = {"origin": "http://127.0.0.1:9465", WORD: SECRET.action}
PATHS = ("/", "/stream", "/unit?key=web", "/relations", "/page/main.js", "/nowhere")


def door() -> ASGIApp:
    return Door(PlainTextResponse("inside"), SECRET, names("127.0.0.1", 9465, []), 9465)


def get(path: str, *headers: dict[str, str], **more: Any) -> Answer:
    given = {name: value for one in headers for name, value in one.items()}
    return asyncio.run(ask(door(), path, given, **more))


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_there_is_a_page_that_tells_how_to_get_in_and_nothing_else(
    path: str,
) -> None:
    answer = get(path, HOST)
    assert answer.status == 401
    assert "needs its token" in answer.body
    assert "inside" not in answer.body
    assert SECRET.token not in answer.body + str(answer.headers)


def test_the_token_in_the_address_becomes_a_cookie_that_no_script_and_no_other_site_has() -> None:
    answer = get(f"/?token={SECRET.token}", HOST)
    assert answer.status == 303
    assert answer.headers["location"] == "/"
    parts = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
    assert f"unboxed-9465={SECRET.cookie}" in parts
    assert {"httponly", "samesite=strict", "path=/"} <= parts
    assert SECRET.token not in str(answer.headers)
    assert get("/", HOST, COOKIE).body == "inside"


@pytest.mark.parametrize("token", ["", "x", "t" * 42, SECRET.cookie, "%00", "%ff"])
def test_a_wrong_token_is_refused_even_with_the_cookie(token: str) -> None:
    answer = get(f"/?token={token}", HOST, COOKIE if token else {})
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("cookie", [
    "", "unboxed-9465=", "unboxed-9465=x", f"unboxed-9466={SECRET.cookie}",
    f"unboxed-9465={SECRET.token}", f"unboxed-9465={SECRET.action}", "=;=;\x7f", "a" * 5000,
])
def test_no_other_cookie_lets_in(cookie: str) -> None:
    assert get("/", HOST, {"cookie": cookie}).status == 401


@pytest.mark.parametrize("host", [
    "evil.example:9465", "127.0.0.1", "127.0.0.1:9466", "127.0.0.1:9465.evil.example",
    "evil.example", "", "localhost", "[::1]:9466", "127.0.0.2:9465",
])
@pytest.mark.parametrize("token", [f"/?token={SECRET.token}", "/"])
def test_a_foreign_name_that_leads_here_gets_nothing(host: str, token: str) -> None:
    answer = get(token, {"host": host}, COOKIE)
    assert answer.status == 421
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1:9465", "localhost:9465", "LOCALHOST:9465"])
def test_our_own_names_lead_in(host: str) -> None:
    assert get("/", {"host": host}, COOKIE).body == "inside"


def test_a_name_that_was_allowed_leads_in() -> None:
    allowed = names("10.0.0.7", 9465, ["Ops.example"])
    assert allowed == {"10.0.0.7:9465", "ops.example"}
    assert "localhost:80" not in names("127.0.0.1", 80, [])
    assert {"localhost", "127.0.0.1", "[::1]"} <= names("127.0.0.1", 80, [])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("wrong", [
    {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": ""},
    {"origin": "http://127.0.0.1:8080"}, {"origin": "http://localhost:9465"},
    {WORD: ""}, {WORD: "x"}, {WORD: SECRET.token}, {WORD: SECRET.cookie},
])
def test_what_is_not_asked_for_by_our_page_is_not_done(
    method: str, wrong: dict[str, str]
) -> None:
    answer = get("/do", HOST, COOKIE, {**OURS, **wrong}, method=method)
    assert answer.status == 403
    assert get("/do", HOST, COOKIE, OURS, method=method).body == "inside"


def test_an_action_needs_the_cookie_as_well() -> None:
    assert get("/do", HOST, OURS, method="POST").status == 401


@pytest.mark.parametrize("headers", [HOST, {**HOST, **COOKIE}, {"host": "evil.example"}])
def test_every_answer_forbids_what_no_page_here_does(headers: dict[str, str]) -> None:
    answer = get("/", headers)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"

"""Who gets in, and what a browser may do with what it gets.

Law: whatever comes is looked at in this order, and what fails is answered here, without a look at
the rest: its Host is one of ours (a foreign name that resolves to us must get nothing: DNS
rebinding); it has the cookie, or the token in its address, which gives it the cookie; what is
to change something (POST) comes from a page of ours, by its Origin, and says the word that only
such a page knows.
"""
from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from supervisor.agents.dashboard.secret import Secret

WORD = "x-unboxed-word"
_HEADERS = {
    "Content-Security-Policy":
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_ENTER = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>unboxed: not let in</title>
<h1>This dashboard needs its token</h1>
<p>{why}</p>
<p>The address that lets a browser in is told to whoever may read the token's file, by</p>
<pre>unboxed agent dashboard --url</pre>
<p>with the <code>--state</code> and <code>--listen</code> of the dashboard that runs. Open that
address once; the browser is remembered from then on.</p>
</html>
"""
_NO_TOKEN = "This browser has not shown it yet."  # noqa: S105 - a sentence
_WRONG_TOKEN = "What this address has is not the token."  # noqa: S105 - a sentence


class Door:
    """Around `app`. `hosts`: what may stand in the Host header, with the port. `port`: a browser
    sends the cookies of a host to all its ports, so ours is named after it."""

    def __init__(self, app: ASGIApp, secret: Secret, hosts: frozenset[str], port: int) -> None:
        self._app = app
        self._secret = secret
        self._hosts = hosts
        self._cookie = f"unboxed-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                for name, value in _HEADERS.items():
                    headers[name] = value
                message["headers"] = headers.raw
            await send(message)

        answer = self._refusal(scope) or self._app
        await answer(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return PlainTextResponse(
                "cannot answer: this is not a name of this dashboard; allow it with --host\n", 421)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if given is not None and scope["method"] == "GET":
            if not self._secret.is_token(given[0]):
                return HTMLResponse(_ENTER.format(why=_WRONG_TOKEN), 401)
            response = RedirectResponse("/", 303)
            response.set_cookie(
                self._cookie, self._secret.cookie, max_age=30 * 86400, httponly=True,
                samesite="strict")
            return response
        if not self._secret.is_cookie(_cookie(headers, self._cookie)):
            return HTMLResponse(_ENTER.format(why=_NO_TOKEN), 401)
        if scope["method"] not in {"GET", "HEAD"}:
            return self._no_action(headers, hosts[0])
        return None

    def _no_action(self, headers: Headers, host: str) -> Response | None:
        origin = headers.get("origin", "")
        if origin.lower() not in {f"http://{host}".lower(), f"https://{host}".lower()}:
            return PlainTextResponse("cannot do that: it was not asked for by this page\n", 403)
        if not self._secret.is_action(headers.get(WORD, "")):
            return PlainTextResponse(
                "cannot do that: the page is not of this dashboard any more; load it again\n", 403)
        return None


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""

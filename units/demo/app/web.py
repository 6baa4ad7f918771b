"""The monolith: pages, forms, a JSON API, health and metrics, on a listening socket it was given.

Started without one (by hand) it listens on 127.0.0.1:8080. SIGHUP reads `settings.json` in the data
directory again: {"name": "...", "banner": "..."}.
"""
from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from typing import Any

from . import figures, pages, sd, store
from .serve import Request, Response, Server, private_listener

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
SPAN_MINUTES = 60
MOST_PIECES = 20


class Shop:
    """Routes and counters of one instance. Every method may be called from any thread."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self._lock = threading.Lock()
        self._answers: dict[int, int] = {}
        self._seconds = 0.0
        self._name = "Corner Shop"
        self._banner = ""

    def read_settings(self) -> None:
        """Missing settings are the defaults; broken ones leave everything as it was."""
        path = os.path.join(store.data_dir(), "settings.json")
        try:
            with open(path, encoding="utf-8") as file:
                found = json.load(file)
            self._name = str(found.get("name", "Corner Shop"))
            self._banner = str(found.get("banner", ""))
        except FileNotFoundError:
            self._name, self._banner = "Corner Shop", ""
        except (OSError, ValueError, AttributeError) as error:
            print(f"cannot read {path}: {error}; the settings stay as they are", flush=True)

    def seen(self, method: str, path: str, status: int, seconds: float) -> None:
        with self._lock:
            self._answers[status] = self._answers.get(status, 0) + 1
            self._seconds += seconds
        shown = path.encode("unicode_escape").decode()  # one line, whatever somebody asked for
        line = f"method={method} path={shown} status={status} ms={seconds * 1000:.1f}\n"
        os.write(1, line.encode())  # one write: lines of two threads never mix

    # --- answers ---------------------------------------------------------------------------------

    def handle(self, request: Request) -> Response:
        where = (request.path.rstrip("/") or "/").split("/")[1:]
        read_only = request.method in {"GET", "HEAD"}
        match where:
            case ["healthz"] if read_only:
                return Response(200, f"ok, {store.figures()['orders']} orders\n", TEXT)
            case ["metrics"] if read_only:
                return Response(200, self.metrics(), figures.KIND)
            case ["api", *rest]:
                return self._api(request, rest)
            case ["orders"] if request.method == "POST":
                return self._order(request)
        if not read_only:
            return Response(405, "Only GET and HEAD here.\n", TEXT)
        match where:
            case [""]:
                return self._page(200, "Goods", pages.goods(store.products()))
            case ["goods", slug] if product := store.product(slug):
                return self._page(200, product.name, pages.article(product))
            case ["orders"]:
                return self._page(200, "Orders", pages.orders(store.latest_orders(50)))
            case ["orders", token] if order := store.order(token):
                return self._page(200, "Thank you", pages.receipt(order))
            case ["sales"]:
                now = int(time.time()) // 60
                body = pages.sales(store.sales(now - SPAN_MINUTES + 1), now, SPAN_MINUTES)
                return self._page(200, "Sales", body)
        return self._page(404, "Not here", pages.missing())

    def _page(self, status: int, title: str, body: str) -> Response:
        return Response(status, pages.page(
            title, body, name=self._name, banner=self._banner,
            served_by=f"instance {self.instance}"))

    def _order(self, request: Request) -> Response:
        try:
            form = request.form()
        except UnicodeDecodeError:
            return Response(400, "A form in UTF-8, please.\n", TEXT)
        product = store.product(form.get("product", ""))
        if product is None:
            return self._page(404, "Not here", pages.missing())
        quantity, email = form.get("quantity", ""), form.get("email", "").strip()
        token, problem = self._sell(product.slug, quantity, email)
        if not token:
            product = store.product(product.slug) or product
            return self._page(422, product.name, pages.article(product, problem, quantity, email))
        return Response(303, "", location=f"/orders/{token}")  # a reload must not order again

    def _sell(self, slug: str, quantity: str, email: str) -> tuple[str, str]:
        """(token, "") or ("", what is wrong, for people)."""
        number = quantity.isascii() and quantity.isdigit() and len(quantity) < 4 and int(quantity)
        if not 1 <= number <= MOST_PIECES:
            return "", f"How many? From 1 to {MOST_PIECES} pieces."
        local, at, host = email.partition("@")
        if not (local and at and host) or len(email) > 200 or not email.isprintable():
            return "", "That is no mail address."
        try:
            return store.place_order(slug, number, email) or "", "We do not have that."
        except store.OutOfStock as short:
            return "", f"Only {short.left} left, and a delivery is on its way."

    def _api(self, request: Request, where: list[str]) -> Response:
        match request.method, where:
            case "GET", ["products"]:
                return _json(200, [one._asdict() for one in store.products()])
            case "GET", ["orders", token] if order := store.order(token):
                return _json(200, order._asdict())
            case "POST", ["orders"]:
                try:
                    wanted = json.loads(request.body)
                    fields = (str(wanted[key]) for key in ("product", "quantity", "email"))
                    token, problem = self._sell(*fields)
                except (ValueError, KeyError, TypeError):
                    problem = 'send {"product": "mug", "quantity": 1, "email": "ada@example.org"}'
                    return _json(400, {"error": problem})
                return _json(201, {"token": token}) if token else _json(422, {"error": problem})
        return _json(404, {"error": "no such thing"})

    def metrics(self) -> str:
        """This instance's own counters, and what the shop as a whole has in its database."""
        found = figures.Figures()
        with self._lock:
            answers, seconds = dict(self._answers), self._seconds
        for status, count in sorted(answers.items()):
            found.add("shop_http_requests", "counter", "Answered requests.", count,
                      instance=self.instance, status=str(status))
        found.add("shop_http_seconds", "counter", "Time spent answering.", seconds,
                  instance=self.instance)
        return found.render()


def _json(status: int, body: Any) -> Response:
    return Response(status, json.dumps(body, ensure_ascii=False) + "\n", JSON)


def main() -> int:
    instance = os.environ.get("INSTANCE", "0")
    shop = Shop(instance)
    shop.read_settings()
    server = Server(shop.handle, seen=shop.seen, reload=lambda: reload(shop))
    public = sd.listeners() or [socket.create_server(("127.0.0.1", 8080))]
    for listener in public:
        listener.setblocking(False)
        server.listen(listener)
    # The listeners are shared, so nobody can ask *this* instance there: hence a door of its own.
    door = os.path.join(store.data_dir(), f"web-{instance}.sock")
    server.listen(private_listener(door))
    store.figures()  # not ready without a database: better to fail now than at the first request
    server.serve(
        started=lambda: sd.notify("READY=1", f"STATUS=open, instance {instance}"),
        stopping=lambda: sd.notify("STOPPING=1", "STATUS=answering what was asked already"))
    os.unlink(door)
    return 0


def reload(shop: Shop) -> None:
    sd.reloading()
    shop.read_settings()
    print("settings read again", flush=True)
    sd.notify("READY=1")


if __name__ == "__main__":
    sys.exit(main())

"""The demo's programs, each for itself: what they promise in their first lines."""
from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from units.demo.app import figures, logtail, pages, store, web, worker
from units.demo.app.serve import Request


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> web.Shop:
    monkeypatch.setenv("SHOP_DATA", str(tmp_path))
    store.migrate()
    found = web.Shop("0")
    found.read_settings()
    return found


def get(shop: web.Shop, path: str) -> tuple[int, str]:
    answer = shop.handle(Request("GET", path, {}, "", b""))
    return answer.status, answer.body


def post(shop: web.Shop, path: str, body: str) -> tuple[int, str]:
    answer = shop.handle(Request("POST", path, {}, "", body.encode()))
    return answer.status, answer.location or answer.body


def test_migrating_twice_changes_nothing_the_second_time(shop: web.Shop) -> None:
    token = store.place_order("mug", 1, "ada@example.org")
    assert store.migrate() == (len(store.SCHEMA), len(store.SCHEMA))
    assert token is not None
    assert store.order(token) is not None


def test_the_last_pieces_are_sold_once(shop: web.Shop) -> None:
    clocks = store.product("clock")
    assert clocks is not None
    sold = []

    def buy() -> None:
        try:
            sold.append(store.place_order("clock", 1, "ada@example.org"))
        except store.OutOfStock:
            pass

    buyers = [threading.Thread(target=buy) for _ in range(clocks.stock + 5)]
    for one in buyers:
        one.start()
    for one in buyers:
        one.join()
    assert len(sold) == clocks.stock
    left = store.product("clock")
    assert left is not None
    assert left.stock == 0


def test_an_order_is_confirmed_once_and_totalled(shop: web.Shop, tmp_path: Path) -> None:
    status, location = post(shop, "/orders", "product=lamp&quantity=2&email=ada%40example.org")
    assert status == 303
    assert "received" in get(shop, location)[1]
    assert worker.send_mails() == 1
    assert worker.send_mails() == 0
    assert store.total_up() == 1
    assert "confirmed by mail" in get(shop, location)[1]
    assert "To: ada@example.org" in (tmp_path / "outbox.mbox").read_text()
    assert [(one.orders, one.cents) for one in store.sales(0)] == [(1, 2 * 5900)]


@pytest.mark.parametrize("body", [
    "product=mug&quantity=0&email=a@b", "product=mug&quantity=21&email=a@b",
    "product=mug&quantity=one&email=a@b", "product=mug&quantity=1&email=nobody",
    "product=mug&quantity=1&email=a@b%0aBcc:%20c@d", "product=mug",
])
def test_a_bad_order_is_refused_in_words_and_takes_nothing(shop: web.Shop, body: str) -> None:
    before = store.products()
    status, text = post(shop, "/orders", body)
    assert status == 422
    assert 'class="wrong"' in text
    assert store.products() == before
    assert store.latest_orders(1) == []


def test_the_api_takes_and_tells_orders(shop: web.Shop) -> None:
    wanted = '{"product": "%s", "quantity": 3, "email": "a@b"}'
    status, text = post(shop, "/api/orders", wanted % "mug")
    assert status == 201
    status, text = get(shop, f"/api/orders/{json.loads(text)['token']}")
    assert (status, json.loads(text)["quantity"]) == (200, 3)
    assert post(shop, "/api/orders", "{")[0] == 400
    assert post(shop, "/api/orders", wanted % "yacht")[0] == 422


@pytest.mark.parametrize("path", ["/", "/goods/mug", "/orders", "/sales", "/healthz", "/metrics",
                                  "/api/products"])
def test_every_page_is_there(shop: web.Shop, path: str) -> None:
    assert get(shop, path)[0] == 200


def test_what_is_not_there_is_said_to_be_missing(shop: web.Shop) -> None:
    for path in ("/nothing", "/goods/yacht", "/orders/none", "/api/nothing", "/healthz/more"):
        assert get(shop, path)[0] == 404
    assert post(shop, "/sales", "")[0] == 405


def test_what_people_wrote_is_escaped(shop: web.Shop) -> None:
    post(shop, "/orders", "product=mug&quantity=1&email=%3Cscript%3E%40x")
    order = store.latest_orders(1)[0]
    text = pages.receipt(order)
    assert "<script>" not in text
    assert "&lt;script&gt;@x" in text


def test_broken_settings_leave_the_old_ones(
    shop: web.Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"banner": "Open on Sunday"}')
    shop.read_settings()
    settings.write_text('{"banner": ')
    shop.read_settings()
    assert "Open on Sunday" in get(shop, "/")[1]
    assert "cannot read" in capsys.readouterr().out


def test_figures_of_two_sources_are_merged_by_family() -> None:
    def one(instance: str) -> str:
        found = figures.Figures()
        found.add("asked", "counter", "Requests.", 3, instance=instance)
        found.add("load", "gauge", "Load.", 0.25, instance=instance)
        return found.render()

    merged = figures.Figures()
    merged.merge(one("0"))
    merged.merge(one('"\\'))
    assert merged.render() == (
        "# TYPE asked counter\n# HELP asked Requests.\n"
        'asked_total{instance="0"} 3\nasked_total{instance="\\"\\\\"} 3\n'
        "# TYPE load gauge\n# HELP load Load.\n"
        'load{instance="0"} 0.25\nload{instance="\\"\\\\"} 0.25\n# EOF\n')


def record(status: int, ms: float = 1.0) -> str:
    return json.dumps({"message": f"method=GET path=/ status={status} ms={ms}"})


def mailed(count: int) -> str:
    return json.dumps({"message": f"mails={count} deliveries=1 ms=3"})


def test_the_log_reader_counts_minutes_and_warns_once() -> None:
    report = logtail.Report()
    warnings = [report.take(record(500 if n % 2 else 200, n), 120.0) for n in range(10)]
    assert [bool(one) for one in warnings] == [n == 4 for n in range(10)]
    assert report.take(record(200), 180.0) == ""
    assert report.minutes == {2: logtail.Minute(10, 5, 9.0), 3: logtail.Minute(1, 0, 1.0)}


def test_the_log_reader_counts_what_the_worker_mailed_beside_requests() -> None:
    report = logtail.Report()
    for text in (record(200), mailed(2), mailed(0), record(200)):
        assert report.take(text, 120.0) == ""
    assert report.minutes == {2: logtail.Minute(2, 0, 1.0, mails=2)}
    assert report.text().endswith("requests=2 errors=0 slowest_ms=1.0 mails=2\n")


@pytest.mark.parametrize("line", [
    "", "{", "[]", "null", '{"message": 5}', '{"message": "settings read again"}',
])
def test_the_log_reader_passes_over_what_is_no_request(line: str) -> None:
    report = logtail.Report()
    assert report.take(line, 0.0) == ""
    assert not report.changed


def test_the_log_reader_keeps_an_hour() -> None:
    report = logtail.Report()
    for minute in range(logtail.KEPT_MINUTES + 3):
        report.take(record(200), minute * 60.0)
    assert list(report.minutes) == list(range(3, logtail.KEPT_MINUTES + 3))

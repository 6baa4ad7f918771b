"""The shop's pages: values in, HTML out. Whatever came from people is escaped here."""
from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

from .art import picture
from .store import Minute, Order, Product

STYLE = Path(__file__).with_name("shop.css").read_text(encoding="utf-8")
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect"
    " width='16' height='16' rx='4' fill='%232f5d50'/%3E%3Cpath d='M4 6h8l-1 6H5z' fill='%23fff'/"
    "%3E%3C/svg%3E")


def money(cents: int) -> str:
    return f"€ {cents // 100}.{cents % 100:02}"


def page(title: str, body: str, *, name: str, banner: str, served_by: str) -> str:
    """A whole document. `served_by` names the instance, so that a reload shows who answers."""
    strip = f'<div class="banner">{escape(banner)}</div>' if banner else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{escape(title)} · {escape(name)}</title><link rel="icon" href="{ICON}">'
        f"<style>{STYLE}</style></head><body>{strip}"
        f'<header><a class="name" href="/">{escape(name)}</a><nav><a href="/">Goods</a>'
        '<a href="/orders">Orders</a><a href="/sales">Sales</a></nav></header>'
        f"<main>{body}</main><footer>Answered by {escape(served_by)}."
        " Reload to meet its colleague; end one and look again.</footer></body></html>")


def _left(stock: int) -> str:
    if stock == 0:
        return '<span class="left few">sold out for the moment</span>'
    return f'<span class="left{" few" if stock < 6 else ""}">{stock} left</span>'


def goods(products: Sequence[Product]) -> str:
    cards = "".join(
        f'<a class="card" href="/goods/{one.slug}">{picture(one.slug)}<div><h2>{escape(one.name)}'
        f'</h2><p>{escape(one.blurb)}</p><div class="row" style="padding:0"><span class="price">'
        f"{money(one.cents)}</span>{_left(one.stock)}</div></div></a>" for one in products)
    return f'<h1>Good things, on the corner</h1><div class="goods">{cards}</div>'


def article(product: Product, problem: str = "", quantity: str = "1", email: str = "") -> str:
    wrong = f'<p class="wrong">{escape(problem)}</p>' if problem else ""
    return (
        f'<div class="wide">{picture(product.slug)}<div><h1>{escape(product.name)}</h1>'
        f'<p>{escape(product.blurb)}</p><div class="row"><span class="price">'
        f"{money(product.cents)}</span>{_left(product.stock)}</div>{wrong}"
        '<form method="post" action="/orders">'
        f'<input type="hidden" name="product" value="{escape(product.slug)}">'
        '<label for="q">How many</label><input id="q" name="quantity" type="number" min="1"'
        f' max="20" required value="{escape(quantity)}"><label for="m">Your mail address</label>'
        f'<input id="m" name="email" type="email" required maxlength="200" value="{escape(email)}"'
        ' placeholder="ada@example.org"><button>Order</button></form></div></div>')


def _state(order: Order) -> str:
    if order.sent_s is None:
        return '<span class="tag wait">received</span>'
    return '<span class="tag">confirmed by mail</span>'


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def receipt(order: Order) -> str:
    return (
        f'<h1>Thank you</h1><div class="wide">{picture(order.slug)}<div><p>{order.quantity} x'
        f" {escape(order.name)}, {money(order.cents)}</p><p>{_state(order)}</p>"
        f"<p>Order {escape(order.token)} of {_when(order.placed_s)}. The confirmation goes to"
        f' {escape(order.email)}; the worker mails every few seconds.</p><p><a href="/orders">All'
        " orders</a></p></div></div>")


def orders(latest: Sequence[Order]) -> str:
    if not latest:
        return '<h1>Orders</h1><p>None yet. <a href="/">Be the first.</a></p>'
    rows = "".join(
        f'<tr><td>{_when(one.placed_s)}</td><td><a href="/orders/{escape(one.token)}">'
        f'{escape(one.name)}</a></td><td class="n">{one.quantity}</td><td class="n">'
        f"{money(one.cents)}</td><td>{_state(one)}</td></tr>" for one in latest)
    return (
        '<h1>Orders</h1><table><tr><th>Placed</th><th>What</th><th class="n">Pieces</th>'
        f'<th class="n">Sum</th><th>State</th></tr>{rows}</table>')


def sales(minutes: Sequence[Minute], now_minute: int, span: int) -> str:
    """Bars of the orders of the last `span` minutes, the present one on the right."""
    counts = {one.minute: one.orders for one in minutes}
    top = max(counts.values(), default=0) or 1
    bars = []
    for place in range(span):
        height = 130 * counts.get(now_minute - span + 1 + place, 0) / top
        colour = "#2f5d50" if height else "#dcd7ca"
        bars.append(f'<rect x="{place * 12 + 2}" y="{140 - height:.1f}" width="8" rx="2"'
                    f' height="{max(height, 1.5):.1f}" fill="{colour}"/>')
    orders_sum = sum(one.orders for one in minutes)
    cents = sum(one.cents for one in minutes)
    return (
        f'<h1>Sales of the last hour</h1><div class="sums"><div><b>{orders_sum}</b>'
        f"<span>orders</span></div><div><b>{money(cents)}</b><span>turnover</span></div><div><b>"
        f"{top if counts else 0}</b><span>orders in the best minute</span></div></div>"
        f'<div class="chart"><svg viewBox="0 0 {span * 12} 145" width="100%" role="img"'
        f' aria-label="orders a minute">{"".join(bars)}</svg><div class="row left"><span>an hour'
        " ago</span><span>now</span></div></div>")


def missing() -> str:
    return (
        '<h1>Not here</h1><p>We looked under the counter, too.'
        ' <a href="/">Back to the goods</a></p>')

"""The shop's memory: one SQLite file, shared by every instance and the worker.

Law: each function is one transaction, and takes the write lock at its beginning if it writes, so
two instances never sell the same last piece. Connections are made for each use (0.2 ms) and belong
to the thread that made them.
"""
from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

SCHEMA = (
    """CREATE TABLE products (
        id INTEGER PRIMARY KEY, slug TEXT UNIQUE NOT NULL, name TEXT NOT NULL,
        blurb TEXT NOT NULL, cents INTEGER NOT NULL, stock INTEGER NOT NULL CHECK (stock >= 0));
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY, token TEXT UNIQUE NOT NULL,
        product INTEGER NOT NULL REFERENCES products, quantity INTEGER NOT NULL,
        cents INTEGER NOT NULL, email TEXT NOT NULL, placed_s INTEGER NOT NULL);
    CREATE INDEX orders_by_time ON orders (placed_s);
    CREATE TABLE mails (
        id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders,
        sent_s INTEGER);
    CREATE INDEX mails_waiting ON mails (id) WHERE sent_s IS NULL;""",
    """CREATE TABLE sales (
        minute INTEGER PRIMARY KEY, orders INTEGER NOT NULL, cents INTEGER NOT NULL);""",
)

PRODUCTS = (
    ("mug", "Enamel mug", "Survives every fall, and keeps its colour.", 1450, 40),
    ("lamp", "Desk lamp", "A warm circle of light, exactly where you work.", 5900, 12),
    ("plant", "Window fern", "Asks for water once a week, and for nothing else.", 2200, 18),
    ("book", "Notebook", "192 pages of dotted paper, sewn, lies flat.", 1200, 60),
    ("clock", "Wall clock", "Silent movement. It shows the time, and that is all.", 4800, 9),
    ("chair", "Workshop chair", "Beech, oiled. Made for sitting, repaired for ever.", 18900, 5),
)
LOW_STOCK = 4
DELIVERY = 20


class Product(NamedTuple):
    id: int
    slug: str
    name: str
    blurb: str
    cents: int
    stock: int


class Order(NamedTuple):
    """`sent_s`: when its confirmation was mailed, None before."""

    id: int
    token: str
    slug: str
    name: str
    quantity: int
    cents: int
    email: str
    placed_s: int
    sent_s: int | None


class Minute(NamedTuple):
    minute: int  # since 1970
    orders: int
    cents: int


class OutOfStock(Exception):
    """There is less left than was ordered; nothing was changed."""

    def __init__(self, left: int) -> None:
        super().__init__(f"only {left} left")
        self.left = left


def data_dir() -> str:
    return os.environ.get("SHOP_DATA", "/var/lib/corner-shop")


@contextmanager
def _database(*, write: bool = False) -> Iterator[sqlite3.Connection]:
    path = os.path.join(data_dir(), "shop.db")
    with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")  # safe with the write-ahead log
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def migrate() -> tuple[int, int]:
    """Bring the schema up to date. Returns (version before, version now)."""
    path = os.path.join(data_dir(), "shop.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # readers never wait; kept in the file
    with _database(write=True) as db:
        (before,) = db.execute("PRAGMA user_version").fetchone()
        for step in SCHEMA[before:]:
            for statement in filter(str.strip, step.split(";")):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(SCHEMA)}")
        db.executemany(
            "INSERT OR IGNORE INTO products (slug, name, blurb, cents, stock)"
            " VALUES (?, ?, ?, ?, ?)", PRODUCTS)
    return before, len(SCHEMA)


def products() -> list[Product]:
    with _database() as db:
        return [Product(*row) for row in db.execute(
            "SELECT id, slug, name, blurb, cents, stock FROM products ORDER BY id")]


def product(slug: str) -> Product | None:
    return next((one for one in products() if one.slug == slug), None)


def place_order(slug: str, quantity: int, email: str) -> str | None:
    """Take the goods from stock and queue the confirmation. Returns the order's token, None if
    there is no such product. Raises OutOfStock."""
    token = secrets.token_urlsafe(9)
    with _database(write=True) as db:
        row = db.execute("SELECT id, cents, stock FROM products WHERE slug = ?", (slug,)).fetchone()
        if row is None:
            return None
        number, cents, stock = row
        if stock < quantity:
            raise OutOfStock(stock)
        db.execute("UPDATE products SET stock = stock - ? WHERE id = ?", (quantity, number))
        order = db.execute(
            "INSERT INTO orders (token, product, quantity, cents, email, placed_s)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (token, number, quantity, cents * quantity, email, int(time.time()))).lastrowid
        db.execute("INSERT INTO mails (order_id) VALUES (?)", (order,))
    return token


_ORDERS = (
    "SELECT o.id, o.token, p.slug, p.name, o.quantity, o.cents, o.email, o.placed_s, m.sent_s"
    " FROM orders o JOIN products p ON p.id = o.product JOIN mails m ON m.order_id = o.id ")


def order(token: str) -> Order | None:
    with _database() as db:
        row = db.execute(_ORDERS + "WHERE o.token = ?", (token,)).fetchone()
    return Order(*row) if row else None


def latest_orders(count: int) -> list[Order]:
    with _database() as db:
        return [Order(*row) for row in db.execute(
            _ORDERS + "ORDER BY o.id DESC LIMIT ?", (count,))]


def unsent(count: int) -> list[Order]:
    """Orders whose confirmation was not mailed yet, oldest first."""
    with _database() as db:
        return [Order(*row) for row in db.execute(
            _ORDERS + "WHERE m.sent_s IS NULL ORDER BY m.id LIMIT ?", (count,))]


def mark_sent(orders: list[Order]) -> None:
    with _database(write=True) as db:
        db.executemany(
            "UPDATE mails SET sent_s = ? WHERE order_id = ?",
            [(int(time.time()), one.id) for one in orders])


def total_up() -> int:
    """Bring the sales of each minute up to date; all that is not final yet is counted anew.
    Returns how many minutes were written."""
    with _database(write=True) as db:
        (last,) = db.execute("SELECT coalesce(max(minute), 0) FROM sales").fetchone()
        rows = db.execute(
            "SELECT placed_s / 60, count(*), sum(cents) FROM orders WHERE placed_s >= ?"
            " GROUP BY placed_s / 60", (last * 60,)).fetchall()
        db.executemany("INSERT OR REPLACE INTO sales VALUES (?, ?, ?)", rows)
    return len(rows)


def sales(since_minute: int) -> list[Minute]:
    with _database() as db:
        return [Minute(*row) for row in db.execute(
            "SELECT minute, orders, cents FROM sales WHERE minute >= ? ORDER BY minute",
            (since_minute,))]


def restock() -> list[str]:
    """A delivery for all that ran low. Returns their names."""
    with _database(write=True) as db:
        return [name for (name,) in db.execute(
            "UPDATE products SET stock = stock + ? WHERE stock < ? RETURNING name",
            (DELIVERY, LOW_STOCK)).fetchall()]


def figures() -> dict[str, int]:
    """Counts for /metrics."""
    with _database() as db:
        orders, cents = db.execute(
            "SELECT count(*), coalesce(sum(cents), 0) FROM orders").fetchone()
        (waiting,) = db.execute("SELECT count(*) FROM mails WHERE sent_s IS NULL").fetchone()
        (stock,) = db.execute("SELECT sum(stock) FROM products").fetchone()
    return {"orders": orders, "cents": cents, "mails_waiting": waiting, "stock": stock}

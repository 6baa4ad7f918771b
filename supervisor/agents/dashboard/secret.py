"""The token that lets a browser in, and what is derived from it.

Law: the token itself is in one file, 0600, and in the address that is printed for who asks. A
browser keeps neither: its cookie and the word that goes with each action are made from the token,
and neither tells it.
"""
from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat

_BYTES = 32
_SHORTEST = 32  # characters; whoever writes a token of their own does not make it guessable


class Unsafe(Exception):
    """The token's file cannot be used: a whole sentence."""


class Secret:
    def __init__(self, token: str) -> None:
        self.token = token
        self.cookie = self._derived("cookie")
        self.action = self._derived("action")

    def _derived(self, purpose: str) -> str:
        return hmac.new(self.token.encode(), purpose.encode(), hashlib.sha256).hexdigest()

    def is_token(self, given: str) -> bool:
        return _same(given, self.token)

    def is_cookie(self, given: str) -> bool:
        return _same(given, self.cookie)

    def is_action(self, given: str) -> bool:
        return _same(given, self.action)


def _same(given: str, known: str) -> bool:
    """In a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), known.encode())


def load(folder: str) -> Secret:
    """The one of `folder`, which is made if need be, as is the token. Raises Unsafe."""
    path = f"{folder}/token"
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        try:
            return Secret(_read(path))
        except FileNotFoundError:
            token = secrets.token_urlsafe(_BYTES)
            _write(path, token)
            return Secret(token)
    except FileExistsError:
        return Secret(_read(path))  # another one made it meanwhile
    except OSError as exc:
        raise Unsafe(
            f"cannot keep a token in {folder}: {exc.strerror}; name another directory with --state"
        ) from exc


def known(folder: str) -> Secret:
    """The one that is in `folder`, to be told to whoever may read it: root finds there that of the
    unit's own user. Nothing is made. Raises Unsafe."""
    try:
        return Secret(_read(f"{folder}/token", anyones=True))
    except OSError as exc:
        raise Unsafe(
            f"cannot read a token in {folder}: {exc.strerror}; name the directory of the dashboard"
            " that runs with --state"
        ) from exc


def _read(path: str, *, anyones: bool = False) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd) as file:
        facts = os.fstat(fd)
        ours = anyones or facts.st_uid in {0, os.geteuid()}
        if not stat.S_ISREG(facts.st_mode) or not ours:
            raise Unsafe(f"cannot use {path}: it is not a file of this user; remove it")
        if facts.st_mode & 0o077:
            raise Unsafe(
                f"cannot use {path}: others may have read it (mode {facts.st_mode & 0o777:o});"
                " remove it, and a new token is made")
        token = file.read(1024).strip()
    if len(token) < _SHORTEST or not token.isprintable():
        raise Unsafe(
            f"cannot use {path}: it holds no token of at least {_SHORTEST} characters; remove it,"
            " and a new one is made")
    return token


def _write(path: str, token: str) -> None:
    """Whole or not at all: it gets its name when it is complete."""
    new = f"{path}.{secrets.token_hex(4)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(new, flags, 0o600), "w") as file:
            file.write(token + "\n")
        os.link(new, path)
    finally:
        os.unlink(new)

"""The shipper's settings: a TOML file, accepted exactly or refused with the line that is wrong."""
from __future__ import annotations

import os
import re
import tomllib
from typing import Any, NamedTuple
from urllib.parse import urlsplit

SCHEMES = {"loki": ("http", "https"), "otlp": ("http", "https"), "syslog": ("tcp", "tls")}
PORTS = {"http": 80, "https": 443, "tcp": 601, "tls": 6514}  # RFC 6587, RFC 5425
PATHS = {"loki": "/loki/api/v1/push", "otlp": "/v1/logs", "syslog": ""}
FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
)  # RFC 5424, 6.2.1
LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
OWN_LABELS = {"unit", "instance", "stream", "host"}
HEADER = re.compile(r"[A-Za-z0-9-]+")


class BadSettings(Exception):
    """A whole sentence with the file and, if it is known, the line."""


class Tls(NamedTuple):
    """Paths; "" stands for the system's authorities, no certificate, and the URL's host."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""
    verify: bool = True


class Settings(NamedTuple):
    """`headers` are HTTP's, credentials among them. Times are seconds."""

    to: str
    scheme: str
    host: str
    port: int
    path: str
    tls: Tls
    headers: dict[str, str]
    labels: dict[str, str]
    host_name: str
    facility: int
    metadata: bool
    gzip: bool
    batch_bytes: int
    batch_lines: int
    batch_seconds: float
    timeout_seconds: float
    end_seconds: float

    @property
    def url(self) -> str:
        """For people: without anything secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


_TOP: dict[str, type] = {
    "to": str, "url": str, "host_name": str, "labels": dict, "headers": dict, "tls": dict,
    "auth": dict, "facility": str, "metadata": bool, "gzip": bool, "batch_bytes": int,
    "batch_lines": int, "batch_seconds": float, "timeout_seconds": float, "end_seconds": float,
}
_TLS: dict[str, type] = {"ca": str, "cert": str, "key": str, "server_name": str, "verify": bool}
_AUTH: dict[str, type] = {"bearer": str, "user": str, "password": str}
_RANGES: dict[str, tuple[float, float]] = {
    "batch_bytes": (1024, 64 << 20), "batch_lines": (1, 100_000), "batch_seconds": (0, 60),
    "timeout_seconds": (0.1, 600), "end_seconds": (0, 600),
}
_WORDS = {str: "text in quotes", bool: "true or false", int: "a whole number", float: "a number",
          dict: "a table"}


def load(path: str, host_name: str) -> Settings:
    """`host_name`: unless the file says another. Raises BadSettings."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadSettings(f"cannot read {path}: {why}; nothing is shipped") from None
    return _Reader(path, text).settings(host_name)


class _Reader:
    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._lines = text.split("\n")
        try:
            self._found = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"\(at line (\d+)", str(error))
            number = line[1] if line else str(len(self._lines))
            raise BadSettings(f"{path}:{number}: cannot read it as TOML: {error}") from None

    def settings(self, host_name: str) -> Settings:
        top = self._checked("", self._found, _TOP)
        to = self._one_of("to", top.get("to"), tuple(SCHEMES))
        scheme, host, port, path = self._target(to, top.get("url"))
        for key, (least, most) in _RANGES.items():
            if not least <= top.get(key, least) <= most:
                raise self._bad(key, f"cannot use {top[key]}: write {least:g} to {most:g}")
        for key, only in (("facility", "syslog"), ("metadata", "loki")):
            if key in top and to != only:
                raise self._bad(key, f"cannot be set: it is for {only} only")
        for key in ("headers", "auth", "gzip"):
            if key in top and to == "syslog":
                raise self._bad(key, "cannot be set: syslog has no such thing")
        facility = self._one_of("facility", top.get("facility", "daemon"), FACILITIES)
        return Settings(
            to, scheme, host, port, path, self._tls(scheme, top.get("tls", {})),
            self._headers(top), self._labels(to, top.get("labels", {})),
            top.get("host_name", host_name), FACILITIES.index(facility),
            top.get("metadata", True), top.get("gzip", True), top.get("batch_bytes", 1 << 20),
            top.get("batch_lines", 5000), top.get("batch_seconds", 1.0),
            top.get("timeout_seconds", 10.0), top.get("end_seconds", 5.0),
        )

    def _checked(self, table: str, found: dict[str, Any], known: dict[str, type]) -> dict[str, Any]:
        for key, value in found.items():
            where = f"{table}.{key}" if table else key
            if key not in known:
                raise self._bad(where, f"cannot use it: the keys are {', '.join(known)}")
            wanted = known[key]
            is_number = wanted is float and type(value) is int
            if type(value) is not wanted and not is_number:
                raise self._bad(where, f"cannot use {value!r}: write {_WORDS[wanted]}")
        return found

    def _one_of(self, key: str, value: str | None, choices: tuple[str, ...]) -> str:
        if value is None:
            raise self._bad(key, f"cannot be left out: write one of {', '.join(choices)}")
        if value not in choices:
            raise self._bad(key, f"cannot use {value!r}: write one of {', '.join(choices)}")
        return value

    def _target(self, to: str, url: str | None) -> tuple[str, str, int, str]:
        schemes = SCHEMES[to]
        example = f"{schemes[-1]}://logs.example:{PORTS[schemes[-1]]}"
        if url is None:
            raise self._bad("url", f'cannot be left out: write where to, such as "{example}"')
        if "@" in url:
            raise self._bad("url", "cannot hold a password: put it into a file, and see [auth]")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise self._bad("url", f"cannot use {url!r}: {error}") from None
        path = parts.path if parts.path != "/" else ""
        wrong_end = parts.query or parts.fragment or (path and to == "syslog")
        if parts.scheme not in schemes or not parts.hostname or wrong_end or port == 0:
            raise self._bad("url", f'cannot use {url!r}: write it like "{example}"')
        return parts.scheme, parts.hostname, port or PORTS[parts.scheme], path or PATHS[to]

    def _tls(self, scheme: str, table: dict[str, Any]) -> Tls:
        found = self._checked("tls", table, _TLS)
        if found and scheme not in {"https", "tls"}:
            raise self._bad("tls", f"cannot be set: {scheme}:// has no TLS; write "
                            + ("tls://" if scheme == "tcp" else "https://"))
        if ("cert" in found) != ("key" in found):
            raise self._bad("tls", "cannot be one of cert and key without the other")
        ca, cert, key = (
            self._file(f"tls.{key}", found[key]) if key in found else ""
            for key in ("ca", "cert", "key"))
        return Tls(ca, cert, key, found.get("server_name", ""), found.get("verify", True))

    def _headers(self, top: dict[str, Any]) -> dict[str, str]:
        headers = dict(self._texts("headers", top.get("headers", {}), HEADER))
        auth = self._checked("auth", top.get("auth", {}), _AUTH)
        if "bearer" in auth:
            if len(auth) > 1:
                raise self._bad("auth", "cannot be both bearer and user with password")
            headers["Authorization"] = f"Bearer {self._secret('auth.bearer', auth['bearer'])}"
        elif auth:
            if len(auth) < 2:
                raise self._bad("auth", "cannot be one of user and password without the other")
            from base64 import b64encode

            password = self._secret("auth.password", auth["password"])
            both = b64encode(f"{auth['user']}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {both}"
        return headers

    def _labels(self, to: str, table: dict[str, Any]) -> dict[str, str]:
        found = self._texts("labels", table, LABEL if to == "loki" else ATTRIBUTE)
        for key in found:
            if key in OWN_LABELS:
                raise self._bad(f"labels.{key}", "cannot be set: it is the shipper's own")
        return found

    def _texts(self, table: str, found: dict[str, Any], names: re.Pattern[str]) -> dict[str, str]:
        for key, value in found.items():
            if not names.fullmatch(key):
                raise self._bad(f"{table}.{key}", "cannot use it: it is no name for one")
            if type(value) is not str or "\n" in value or "\r" in value:
                raise self._bad(f"{table}.{key}", f"cannot use {value!r}: write one line of text")
        return found

    def _file(self, key: str, name: str) -> str:
        """An absolute path, or the name of one of the unit's secrets."""
        directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
        path = name if "/" in name else os.path.join(directory, name)
        if not os.path.isabs(path):
            why = "it is neither an absolute path nor one of the unit's secrets"
            raise self._bad(key, f"cannot use {name!r}: {why}")
        try:
            with open(path, "rb"):
                return path
        except OSError as error:
            raise self._bad(key, f"cannot read {path}: {error.strerror}") from None

    def _secret(self, key: str, name: str) -> str:
        with open(self._file(key, name), encoding="utf-8", errors="replace") as file:
            secret = file.read().strip()
        if not secret.isascii() or not secret.isprintable() or not secret:
            raise self._bad(key, f"cannot use what is in {name}: it is not one line of text")
        return secret

    def _bad(self, where: str, why: str) -> BadSettings:
        table, _, key = where.rpartition(".")
        number = self._line(table, key) or self._line("", where) or self._header(where)
        at = f"{self._path}:{number}" if number else self._path
        return BadSettings(f"{at}: {where}: {why}; nothing is shipped")

    def _line(self, table: str, key: str) -> int:
        """The line where KEY is set in [TABLE], 0 if it is not found."""
        plain = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
        inline = rf"\s*{re.escape(table)}\s*[.=].*\b{re.escape(key)}\b" if table else "$."
        short = re.compile(inline)
        inside = ""
        for number, line in enumerate(self._lines, 1):
            if header := re.match(r"\s*\[([^\[\]]*)\]", line):
                inside = header[1].strip()
            elif (inside == table and plain.match(line)) or (not inside and short.match(line)):
                return number
        return 0

    def _header(self, table: str) -> int:
        header = re.compile(rf"\s*\[\s*{re.escape(table)}\s*\]")
        return next((at for at, line in enumerate(self._lines, 1) if header.match(line)), 0)

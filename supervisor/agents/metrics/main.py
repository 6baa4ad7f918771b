"""`unboxed agent metrics`: answers scrapes, and keeps the list of what else may be scraped."""
from __future__ import annotations

import argparse
import os
import socket
import sys
import zlib
from collections.abc import Sequence

from supervisor.agents.metrics.ask import figures, patiently, runtime_dir, statuses
from supervisor.agents.metrics.discovery import Discovery
from supervisor.agents.metrics.families import families, none
from supervisor.agents.metrics.http import Request, Response, Server
from supervisor.agents.metrics.targets import Target, target
from supervisor.agents.metrics.text import Family, negotiate, render
from supervisor.control.client import Client, ControlError

LISTEN = "127.0.0.1:9464"
_LISTEN_FDS_START = 3  # sd_listen_fds(3)
_ROOM = 128  # connections that may wait
_GZIP = 16 + zlib.MAX_WBITS
_FAST = 1  # level: the text repeats itself so much that more effort saves little
_PAGE = b"""<!doctype html><title>unboxed metrics</title><a href="/metrics">Metrics</a>
<a href="/targets">Targets</a>\n"""


def main(argv: Sequence[str]) -> int:
    """Exit status 2 for options that are wrong, 1 if it cannot listen; else it does not end."""
    parser = argparse.ArgumentParser(
        prog="unboxed agent metrics", description="Metrics of the supervisor for a Prometheus.")
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default=LISTEN,
        help=f"where to answer, unless a socket is passed by LISTEN_FDS (default: {LISTEN})")
    parser.add_argument(
        "--sd-file", metavar="PATH",
        help="keep the targets there, as file_sd_configs of a Prometheus reads them; a relative one"
        " is in RUNTIME_DIRECTORY, if there is one")
    parser.add_argument(
        "--target", metavar="UNIT[:LISTENER][/PATH]", action="append", type=target, default=[],
        help="what is a target: the tcp listeners (or the one of that name) of units; repeatable."
        " UNIT may be a pattern. Default: every tcp listener of the name metrics")
    options = parser.parse_args(argv)
    try:
        listener = _listener(options.listen)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        print(f"cannot listen on {options.listen}: {reason}; the agent ends", file=sys.stderr)
        return 1
    runtime, path = runtime_dir(os.environ), ""
    if options.sd_file:
        home = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        path = os.path.abspath(os.path.join(home, options.sd_file))
    discovery = Discovery(runtime, path, options.target or [Target("*", "metrics", "")])
    if path:
        discovery.start()
    Server(listener, lambda request: answer(runtime, discovery, request)).serve()
    return 0


def answer(runtime: str, discovery: Discovery, request: Request) -> Response:
    if request.path == "/":
        return Response(200, _PAGE, (("Content-Type", "text/html; charset=utf-8"),))
    if request.path == "/targets":
        text = discovery.text()
        kind = (("Content-Type", "application/json"),)  # the one that http_sd_configs takes
        return Response(200, text.encode(), kind) if text else Response(503, b"")
    if request.path != "/metrics":
        return Response(404, b"Metrics are at /metrics, and targets at /targets.\n")
    return _metrics(runtime, request)


def _metrics(runtime: str, request: Request) -> Response:
    try:
        told = patiently(runtime, _told)
    except ControlError:
        told = none()
    is_open, content_type = negotiate(request.headers.get("accept", ""))
    body = render(told, is_open=is_open)
    headers = [("Content-Type", content_type), ("Vary", "Accept, Accept-Encoding")]
    if _takes_gzip(request.headers.get("accept-encoding", "")):
        packer = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP)
        body = packer.compress(body) + packer.flush()
        headers.append(("Content-Encoding", "gzip"))
    return Response(200, body, tuple(headers))


def _told(client: Client) -> list[Family]:
    told = figures(client)
    return families(told, statuses(client, told))


def _takes_gzip(accepted: str) -> bool:
    for word in accepted.lower().split(","):
        coding, _, weight = word.replace(" ", "").partition(";")
        if coding == "gzip":
            return weight not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _listener(address: str) -> socket.socket:
    """The socket that was passed, else one of our own. Raises OSError, ValueError."""
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and count.isdigit() and int(count):
        return socket.socket(fileno=_LISTEN_FDS_START)
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()):
        raise ValueError("it is no HOST:PORT")
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=_ROOM)

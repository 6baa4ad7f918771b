"""From arguments to a server: where it listens, which supervisor it shows, who gets in."""
from __future__ import annotations

import argparse
import asyncio
import os
import socket
import stat
import sys
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from supervisor.agents.dashboard.app import make
from supervisor.agents.dashboard.ask import Asker, Kind
from supervisor.agents.dashboard.door import Door
from supervisor.agents.dashboard.lines import Feed, Lines
from supervisor.agents.dashboard.secret import Secret, Unsafe, known, load
from supervisor.agents.dashboard.server import QuietServer, listen
from supervisor.agents.dashboard.watch import Watch
from supervisor.model.paths import paths

_LISTEN = "127.0.0.1:9465"
_BAD_USAGE = 2
_FIRST_PASSED = 3  # of LISTEN_FDS (sd_listen_fds(3))


def main(argv: Sequence[str]) -> int:
    """The exit code. Ends on SIGTERM or SIGINT."""
    given = _arguments(argv)
    try:
        host, port = _address(given.listen)
        folder = given.state or _state_folder()
        secret = (known if given.url else load)(folder)
        sock = None if given.url else _socket(host, port)
    except (Unsafe, ValueError) as exc:
        print(exc, file=sys.stderr)
        return _BAD_USAGE if isinstance(exc, ValueError) else 1
    if sock is None:
        print(_url(host, port, secret))
        return 0
    host, port = sock.getsockname()[:2]
    # Whatever reads its log, and what that is shipped to, would be let in by the token.
    shows = given.show or sys.stdout.isatty()
    asyncio.run(_serve(sock, given.host, secret, _asker(given.status), "" if shows else folder))
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="unboxed agent dashboard", allow_abbrev=False,
        description="A web page that shows what runs, why, and since when.")
    parser.add_argument(
        "--listen", default=_LISTEN, metavar="HOST:PORT",
        help=f"where browsers find it (default {_LISTEN}); a socket that is passed comes first")
    parser.add_argument(
        "--host", action="append", default=[], metavar="NAME[:PORT]",
        help="one more name by which browsers may ask for it, as behind a proxy")
    parser.add_argument(
        "--state", default="", metavar="DIR",
        help="where the token is kept (default: STATE_DIRECTORY, else the user's own)")
    parser.add_argument(
        "--status", action="store_true",
        help="only look: use the status socket, even where more is allowed")
    parser.add_argument(
        "--url", action="store_true", help="print the address with the token, and do nothing else")
    parser.add_argument(
        "--show", action="store_true",
        help="print it when it begins, as it does on a terminal: whoever reads its log gets in")
    return parser.parse_args(argv)


def _address(text: str) -> tuple[str, int]:
    """Raises ValueError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"cannot listen on {text!r}: it is not HOST:PORT, like {_LISTEN}")
    if host == "localhost":
        host = "127.0.0.1"
    try:
        ip_address(host)
    except ValueError:
        raise ValueError(
            f"cannot listen on {text!r}: {host!r} is no address, like 127.0.0.1 or [::1]") from None
    return host, int(port)


def _socket(host: str, port: int) -> socket.socket:
    """What was passed (LISTEN_FDS), else a new one. Raises ValueError."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        return socket.socket(fileno=_FIRST_PASSED)
    try:
        return listen(host, port)
    except OSError as exc:
        raise ValueError(f"cannot listen on {host}:{port}: {exc.strerror}") from exc


def _state_folder() -> str:
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return given or f"{paths(os.environ, os.geteuid()).state}/dashboard"


def _asker(only_status: bool) -> Asker:
    """UNBOXED_STATUS names the status socket of whoever started us as an agent."""
    runtime = paths(os.environ, os.geteuid()).runtime
    status = os.environ.get("UNBOXED_STATUS", "")
    prefer: Kind = "status" if only_status else "control"
    if status and not os.environ.get("UNBOXED_RUNTIME_DIR"):
        runtime = os.path.dirname(status)
    return Asker(runtime, prefer)


def _url(host: str, port: int, secret: Secret) -> str:
    return f"http://{_name(host, port)}/?token={secret.token}"


def _name(host: str, port: int) -> str:
    if ip_address(host).is_unspecified:
        host = "127.0.0.1"
    host = f"[{host}]" if ":" in host else host
    return host if port == 80 else f"{host}:{port}"


def names(host: str, port: int, more: Sequence[str]) -> frozenset[str]:
    """What a browser may call us, in its Host header."""
    own = {_name(host, port)}
    address = ip_address(host)
    if address.is_loopback or address.is_unspecified:
        own |= {_name("127.0.0.1", port), _name("::1", port)}
        own.add("localhost" if port == 80 else f"localhost:{port}")
    return frozenset(own | {one.lower() for one in more})


async def _serve(
    sock: socket.socket, more: Sequence[str], secret: Secret, asker: Asker, folder: str
) -> None:
    """`folder`: where the token is, if it is not to be printed."""
    host, port = sock.getsockname()[:2]
    lines = Lines()
    watch = Watch(asker, lines)
    app = make(watch, asker, secret, lambda text: print(text, flush=True))
    server = QuietServer(Door(app, secret, names(host, port, more), port), watch.end)
    watch.listen()
    await _feed(watch, lines, server.end)
    if folder:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        listen = "" if where == _LISTEN else f" --listen {where}"
        print(f"serving http://{_name(host, port)}/ to whoever has the token, which `unboxed agent"
              f" dashboard --url{listen} --state {folder}` tells", flush=True)
    else:
        print(f"open {_url(host, port, secret)}", flush=True)
    if not ip_address(host).is_loopback:
        print(f"{host} is reached from other hosts, and nothing is encrypted: put a proxy with TLS"
              " in front", flush=True)
    await server.serve([sock])


class _Reader(asyncio.Protocol):
    def __init__(self, watch: Watch, lines: Lines, end: Callable[[], None]) -> None:
        self._watch = watch
        self._feed = Feed(lines)
        self._end = end

    def data_received(self, data: bytes) -> None:
        if self._feed.take(data):
            self._watch.tell()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing will come any more: an agent whose feed ends is being stopped."""
        self._end()


async def _feed(watch: Watch, lines: Lines, end: Callable[[], None]) -> None:
    """Read standard input from now on, if lines may come from there."""
    kind = os.fstat(0).st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: _Reader(watch, lines, end), os.fdopen(0, "rb", buffering=0))

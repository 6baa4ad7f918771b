"""The probe for tests: built once, a world for it to act in, and what came of each action.

How a test uses it: `with World(uid) as world:` makes fresh directories, listeners and a peer, since
actions use up what they act on; `run(world, prefix)` tries every action under whatever `prefix`
(a command that ends in its argument) puts around it, `run(world, filter=...)` under a seccomp
filter. A policy that refuses to make processes runs them one by one: `run(world, prefix,
each=True)`; a unit does the same with `instances` and `world.command(probe, "{instance}")`.
What is expected stands in tests/native/actions.py.
"""
from __future__ import annotations

import atexit
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pytest

SOURCES = Path(__file__).parent
FLAGS = ("-O1", "-static", "-std=c17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wconversion",
         "-Werror")
LOADERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}
PATIENCE_S = 60
NOBODY = 65534


@cache
def build() -> Path:
    """The program, in a directory that every user may look into; skips without a C compiler, unless
    UNBOXED_PROBE names one that was built elsewhere."""
    if given := os.environ.get("UNBOXED_PROBE"):
        return Path(given)
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("the probe cannot be built: no gcc and no cc")
    if platform.machine() not in LOADERS:
        pytest.skip(f"the probe has no code for {platform.machine()}")
    folder = Path(tempfile.mkdtemp(prefix="unboxed-probe-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    built = folder / "probe"
    sources = sorted(str(path) for path in SOURCES.glob("*.c"))
    done = subprocess.run(
        [compiler, *FLAGS, *sources, "-o", str(built)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return built


class About(NamedTuple):
    name: str
    group: str
    what: str


@cache
def actions() -> tuple[About, ...]:
    """Every action, in the order of their numbers."""
    text = subprocess.run([build(), "--list"], capture_output=True, text=True, check=True).stdout
    return tuple(About(*line.split("\t")) for line in text.splitlines())


class World:
    """Directories, ports, sockets and processes, those a policy would list and those it would not.

    `uid` is who will run the probe: the files and the peer are that user's. The stranger is the
    test itself.
    """

    def __init__(self, uid: int | None = None, where: str | None = None) -> None:
        """`where`: not in the directory for temporary files, of which a unit may have its own."""
        self.uid = os.getuid() if uid is None else uid
        self.path = Path(tempfile.mkdtemp(prefix="unboxed-world-", dir=where))
        self.port = 0  # the one that a policy would list
        self._sockets: list[socket.socket] = []
        self._peer: subprocess.Popen[bytes] | None = None
        self.options: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._make_files()
            self._listen()
            self._peer = subprocess.Popen(["sleep", "1000"], **as_user(self.uid))
        except BaseException:
            self.close()
            raise
        self.options += ["--peer", str(self._peer.pid), "--stranger", str(os.getpid())]
        loader = LOADERS[platform.machine()]
        if os.path.exists(loader):
            self.options += ["--loader", loader]
        for disk in sorted(os.listdir("/sys/block")):
            if os.path.exists(f"/dev/{disk}"):
                self.options += ["--block", f"/dev/{disk}"]
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        for each in self._sockets:
            each.close()
        if self._peer is not None:
            self._peer.kill()
            self._peer.wait()
        shutil.rmtree(self.path, ignore_errors=True)

    def command(self, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """The probe's command line: `--all`, or an action's name or number."""
        program = str(self.path / "exec" / "program")
        return [program, *self.options, *options, *arguments, str(self.path)]

    def _make_files(self) -> None:
        self.path.chmod(0o755)
        for place in ("read", "write", "exec", "other"):
            folder = self.path / place
            for name in ("empty", "plain"):
                (folder / name).mkdir(parents=True)
            for name in ("file", "unlink", "rename", "suid"):
                (folder / name).write_text("text\n")
            (folder / "pointer").symlink_to("file")
            if place != "read":
                shutil.copy(build(), folder / "program")
        if self.uid != os.getuid():
            for path in (*self.path.rglob("*"), self.path):
                os.chown(path, self.uid, self.uid, follow_symlinks=False)

    def _listen(self) -> None:
        """Ports that are taken, of IPv4 and IPv6; unix sockets that anyone may connect to."""
        for option in ("--port", "--other-port"):
            four = self._keep(socket.socket(socket.AF_INET))
            four.bind(("127.0.0.1", 0))
            four.listen()
            port: int = four.getsockname()[1]
            if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
                six = self._keep(socket.socket(socket.AF_INET6))
                six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                six.bind(("::1", port))
                six.listen()
            self.port = self.port or port
            self.options += [option, str(port)]
        abstract = f"unboxed-world-{os.getpid()}-{self.options[1]}"
        paths = [str(self.path / place / "socket") for place in ("write", "other")]
        for name in (*paths, f"\0{abstract}"):
            listener = self._keep(socket.socket(socket.AF_UNIX))
            listener.bind(name)
            listener.listen()
        for path in paths:
            os.chmod(path, 0o666)
        self.options += ["--abstract", abstract]

    def _keep(self, made: socket.socket) -> socket.socket:
        self._sockets.append(made)
        return made


def as_user(uid: int) -> dict[str, Any]:
    """Arguments for subprocess. Empty for oneself, who need not be root."""
    return {} if uid == os.getuid() else {"user": uid, "group": uid, "extra_groups": []}


def parse(text: str) -> dict[str, str]:
    """What the probe printed, by action. A program that died of its action said nothing."""
    return {name: outcome.strip() for name, _, outcome in
            (line.partition(" ") for line in text.splitlines())}


def run(
    world: World, prefix: Sequence[str] = (), *, filter: bytes = b"", each: bool = False,  # noqa: A002 - the option's name
) -> dict[str, str]:
    """The outcome of every action, as the world's user.

    `each`: a process of its own from `prefix` on, not a child of the probe.
    """
    options: list[str] = []
    if filter:
        program = world.path / "filter"
        program.write_bytes(filter)
        program.chmod(0o644)
        options = ["--filter", str(program)]
    if not each:
        done = _start([*prefix, *world.command("--all", options=options)], world.uid)
        assert done.returncode == 0, done.stderr
        return parse(done.stdout)
    outcomes = {}
    for name, _, _ in actions():
        done = _start([*prefix, *world.command(name, options=options)], world.uid)
        outcomes[name] = parse(done.stdout).get(name, _ended(done.returncode))
    return outcomes


def _start(command: Sequence[str], uid: int) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S,
        check=False, **as_user(uid))
    return done


def _ended(status: int) -> str:
    return f"killed {signal.Signals(-status).name}" if status < 0 else f"exited {status}"

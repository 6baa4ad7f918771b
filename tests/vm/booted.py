"""A machine that boots by itself: its first process is unboxed-init, as `init=` names it.

    with Booted(tmp_path, {"web": 'command = "/bin/sleep 1000"'}) as machine:
        machine.wait("web", "running")
        machine.sh("kill -9 ...")
        machine.power("off")

Its root is the host's, read-only, and /run its own; `disk` is an image with an ext4 file system,
/dev/ubda inside. An agent among its units does what a test asks for (agent.py). What the console
says is here at once; leaving the block is a power failure.
"""
from __future__ import annotations

import atexit
import functools
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from tests.keeper.keeperclient import build
from tests.stack import ROOT, keeper_binary
from tests.vm.machine import HOSTS_ROOT, Kernel

AGENT = Path(__file__).with_name("agent.py")
MKFS = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin")
# Its root could change the host's files: its own view of them stays read-only.
AGENT_UNIT = f"""
command = ["{sys.executable}", "-I", "-S", "{AGENT}", "/dev/ttyS0"]
restart = {{when = "always", delay = 0, limit = "none"}}
sandbox.level = "off"
"""
# What a machine with a root of its own has itself.
OWN = ("dev", "etc", "lost+found", "proc", "run", "sys", "var")
FSTAB = "/dev/ubda / ext4 defaults 0 1\n"
FILES = {
    "etc/hostname": "machine\n",
    "etc/fstab": FSTAB,
    "etc/passwd": "root::0:0:root:/root:/bin/sh\nnobody:*:65534:65534::/:/usr/sbin/nologin\n",
    "etc/shadow": "root::20000:0:99999:7:::\n",
    "etc/group": "root:*:0:\ntty:*:5:\nnogroup:*:65534:\n",
}
NO_LOGIN = 'command = "/bin/true"\nautostart = false\n'  # the console is the test's
PATIENCE_S = 150.0  # the whole life of one: some seconds, unless a test fails
PANIC = "Kernel panic"
SIGNALS = {"off": 38, "halt": 37}  # SIGRTMIN+4 and +3, as systemd numbers them
DOWN = {"off": "powering off", "halt": "halting"}


needs_disk = pytest.mark.skipif(MKFS is None, reason="there is no mkfs.ext4 (Debian: e2fsprogs)")


class Lost(Exception):
    """The agent did not answer: it ended, or the machine did."""


class Booted(Kernel):
    def __init__(
        self, home: Path, units: Mapping[str, str], *, disk: Path | None = None,
        root: Path | None = None, kill: str = "", before: str = "", args: Sequence[str] = (),
        words: Sequence[str] = (), edit: Callable[[list[str]], list[str]] = list,
        mebibytes: int = 256, patience_s: float = 0, own_init: str = "",
        disk_flags: str = "",
    ) -> None:  # fmt: skip
        """`units`: name -> TOML. `root`: an image as `root_image` makes it, for its root;
        `own_init`: a file of it that is the first process instead of the host's unboxed-init.
        `kill`: when the manager is killed, as first.c has it. `before`: what a shell does as the
        first process on the host's root, before it becomes unboxed-init. `args`: of `unboxed boot
        args`. `edit`: changes its lines. `words`: of the kernel's command line."""
        home.mkdir(exist_ok=True)
        self.units = home / "units"
        self.units.mkdir(exist_ok=True)
        for name, text in {"agent": AGENT_UNIT, "getty-tty0": NO_LOGIN, **units}.items():
            self.write(name, text)
        self.args = home / "boot.args"
        self.args.write_text("\n".join([*edit(boot_args(self.units, args)), ""]))
        words = [f"unboxed.args={self.args}", *words]
        init = Path(keeper_binary())
        if before:
            init = home / "init"
            init.write_text(f"#!/bin/sh\n{before}\nexec {keeper_binary()}\n")
            init.chmod(0o755)
        elif root or kill:
            words.append(f"INIT={own_init or init}")
            init = Path(first_program())
        if kill:
            words.append(f"KILL={kill}")
        if root:
            init = Path("/first")
            words.append(f"HOST={':'.join(shown())}")
        super().__init__(
            home, init, words, mebibytes=mebibytes, disk=root or disk, disk_flags=disk_flags,
            patience_s=patience_s or PATIENCE_S,
            root="root=/dev/ubda rootfstype=ext4" if root else HOSTS_ROOT,
        )  # fmt: skip
        self._plain = self._words
        self._heard = b""

    def write(self, name: str, text: str) -> Path:
        path = self.units / f"{name}.toml"
        path.write_text(text)
        return path

    def __enter__(self) -> Self:
        self._line, theirs = socket.socketpair()
        self._keys, keyboard = socket.socketpair()
        self._inherited = [theirs.fileno(), keyboard.fileno()]
        self._words = [
            word.replace("con0=null", f"con0=fd:{keyboard.fileno()}") for word in self._plain
        ] + [f"ssl0=fd:{theirs.fileno()}"]  # fmt: skip
        self._stack.callback(self._line.close)
        self._stack.callback(self._keys.close)
        self._ready = False
        try:
            return super().__enter__()
        finally:
            theirs.close()
            keyboard.close()

    # --- what a person at it does ---------------------------------------------------------------

    def type(self, text: str) -> None:
        """At the console's keyboard."""
        self._keys.sendall(text.encode())

    def until_true(self, test: Callable[[], object], what: str) -> None:
        self._await(test, what)

    def said_after(self, mark: int, text: str) -> None:
        """Wait until the console says it later than its first `mark` characters."""
        self._await(lambda: text in self.console()[mark:], repr(text))

    def _await(self, test: Callable[[], object], what: str) -> None:
        while not test():
            console = self.console()
            assert PANIC not in console, console
            assert self.process.poll() is None, f"the machine ended:\n{console}"
            assert time.monotonic() < self._deadline, f"no {what}:\n{console}"
            time.sleep(0.02)

    def ended(self) -> str:
        """Wait until the machine is off, by its own doing; all that the console said."""
        console = super().ended()
        assert PANIC not in console, console
        return console

    def power(self, how: str = "off", *, kill: str = "") -> str:
        """Ask for it, wait for it, and return what the console said."""
        self.ask_power(how, kill=kill)
        return self.went(how)

    def ask_power(self, how: str, *, kill: str = "") -> None:
        """`kill`: when managers are killed from then on, as first.c has it."""
        killer = f"{first_program()} --kill {kill} >/dev/null 2>&1; " if kill else ""
        self.ask({"sh": f"{killer}kill -{SIGNALS[how]} 1"}, lost=True)

    def went(self, how: str) -> str:
        console = self.ended()
        assert f"unboxed-init: {DOWN[how]}" in console, console
        return console

    # --- what the agent does --------------------------------------------------------------------

    def agent(self) -> None:
        """Wait until it is there (again)."""
        while not self._ready:
            self._ready = self._read() == "ready"

    def ask(self, request: dict[str, Any], *, lost: bool = False) -> dict[str, Any]:
        """`lost`: it may end before it answers."""
        self.agent()
        try:
            self._line.sendall(json.dumps(request).encode() + b"\n")
            answer = self._read()
            if answer == "ready":
                raise Lost(f"it was replaced while it did {request}")
        except (Lost, OSError):
            if not lost:
                raise
            return {}
        assert isinstance(answer, dict)
        return answer

    def sh(self, script: str, *, status: int | None = 0) -> str:
        """What the script says, in a shell inside; None: whatever its exit status."""
        answer = self.ask({"sh": script})
        assert status in (None, answer["status"]), f"{script}: {answer}\n{self.console()}"
        return str(answer["text"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A reply's parameters. Raises ConnectionError if there is none."""
        answer = self.ask({"method": method, "parameters": parameters})
        if "error" in answer:
            raise ConnectionError(answer["error"])
        reply = answer["reply"]
        assert isinstance(reply, dict)
        return reply

    def rows(self) -> dict[str, dict[str, Any]]:
        """key -> InstanceStatus."""
        return {row["key"]: row for row in self.call("Status")["instances"]}

    def wait(self, key: str, *states: str) -> dict[str, Any]:
        """The row of `key` as soon as it is in one of these states."""
        while True:
            try:
                row = self.rows().get(key, {"state": "unknown"})
            except ConnectionError as error:  # the manager is being replaced
                row = {"state": str(error)}
            if row["state"] in states:
                return row
            assert time.monotonic() < self._deadline, f"{key} is {row}:\n{self.console()}"
            time.sleep(0.05)

    def manager(self) -> int:
        return int(self.call("Status")["supervisor"]["pid"])

    def _read(self) -> Any:
        while b"\n" not in self._heard:
            self._line.settimeout(0.2)
            try:
                part = self._line.recv(1 << 16)
            except TimeoutError:
                part = None
            if part == b"" or self.process.poll() is not None:
                raise Lost(f"the machine ended:\n{self.console()}")
            assert PANIC not in self.console(), self.console()
            assert time.monotonic() < self._deadline, f"no answer:\n{self.console()}"
            self._heard += part or b""
        text, _, self._heard = self._heard.partition(b"\n")
        return json.loads(text) if text.strip() else None


UNBOXED = f"PYTHONPATH={ROOT} {sys.executable} -m supervisor.cli"


def boot_args(units: Path, more: Sequence[str] = ()) -> list[str]:
    """The lines of a file of boot arguments. What is not on a disk is in memory."""
    places = {"--state-dir": "/run/state", "--log-dir": "/run/log"}
    for name, value in places.items():
        if name not in more:
            more = [*more, name, value]
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.cli", "boot", "args", "--units", str(units), *more],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@functools.cache
def first_program() -> str:
    """first.c, compiled."""
    directory = tempfile.TemporaryDirectory(prefix="first-")
    atexit.register(directory.cleanup)
    return build(Path(directory.name), sources=[AGENT.with_name("first.c")], name="first")


def shown() -> list[str]:
    """The host's directories that a machine with a root of its own shows in their place: those
    with programs, and with what a test wrote."""
    used = [sys.executable, sys.prefix, sys.base_prefix, str(ROOT), keeper_binary(),
            tempfile.gettempdir(), "/usr"]  # fmt: skip
    tops = {Path(path).absolute().parts[1] for path in used}
    return sorted(top for top in tops if not Path("/", top).is_symlink() and top not in OWN)


def image(path: Path, mebibytes: int = 32, tree: Path | None = None) -> Path:
    """A disk with an empty ext4 file system, or one that holds `tree`."""
    with path.open("wb") as file:
        file.truncate(mebibytes << 20)
    words = ["-d", str(tree)] if tree else []
    subprocess.run([str(MKFS), "-q", "-F", *words, str(path)], check=True)
    return path


def shipped(name: str) -> str:
    """The unit of units/system, which runs steps of this source tree."""
    text = (ROOT / "units/system" / f"{name}.toml").read_text()
    return text.replace('command = "unboxed ', f'command = "/usr/bin/env {UNBOXED} ')


def on_disk() -> list[str]:
    """Arguments for logs and state where a machine has them that has a root of its own."""
    return ["--log-dir", "/var/log/unboxed", "--state-dir", "/var/lib/unboxed"]


def root_image(
    home: Path, files: Mapping[str, str | Path] | None = None, *, without: Container[str] = (),
) -> Path:  # fmt: skip
    """A root file system with an /etc and /var of its own and `files`, texts or copies of the
    host's; programs are the host's. `without`: directories that it has not."""
    tree = home / "tree"
    for name in [*OWN, *shown()]:
        if name not in without:
            (tree / name).mkdir(parents=True)
    for path in Path("/").iterdir():
        if path.is_symlink() and path.readlink().parts[0] == "usr":
            (tree / path.name).symlink_to(path.readlink())
    shutil.copy(first_program(), tree / "first")
    for name in ("ld.so.cache", "ld.so.conf"):
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), tree / "etc" / name)
    for name, what in {**FILES, **(files or {})}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, Path):
            shutil.copy(what, tree / name)
        else:
            (tree / name).write_text(what)
    return image(home / "root.img", tree=tree)

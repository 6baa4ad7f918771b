"""A Debian machine with the usual services, as packaging/vm/build.py makes it, and a network to it.

    with Server(tmp_path, image) as server:
        server.up("ssh")
        server.run("uptime")

Its console is a keyboard and a text; its network a tap device in a namespace that holds nothing
else, in which `outside` runs programs of this host. Its root's key is ours.
"""
from __future__ import annotations

import os
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from tests.stack import ROOT
from tests.vm.machine import EACH_S, Kernel

BUILDER = ROOT / "packaging" / "vm" / "build.py"
OURS, THEIRS = "10.7.0.1", "10.7.0.2"
TOOLS = ("mmdebstrap", "ssh", "ssh-keygen", "nsenter", "ip")


def missing() -> str:
    """Why there can be no such machine here, "" if there can: that needs root as well."""
    absent = [name for name in TOOLS if not shutil.which(name)]
    if absent:
        return f"there is no {', '.join(absent)} in PATH"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun, so no network with a machine"
    mirror = runpy.run_path(str(BUILDER))["MIRROR"]
    try:
        urllib.request.urlopen(  # noqa: S310 - the builder's mirror, as apt gets it
            f"{mirror}/debian/dists/bookworm/Release", timeout=20).close()
    except (urllib.error.URLError, OSError) as error:
        return f"no Debian can be made without a mirror: {error}"
    return ""


@contextmanager
def room_for_an_image() -> Iterator[Path]:
    """A directory, in memory if there is enough of it: a machine waits for its disk often."""
    free = os.statvfs("/dev/shm") if Path("/dev/shm").is_dir() else None
    large = free is not None and free.f_bavail * free.f_frsize >= 6 << 30
    with tempfile.TemporaryDirectory(prefix="vm-", dir="/dev/shm" if large else None) as name:
        yield Path(name)


def build(image: Path, packages: Sequence[str], files: Mapping[str, str], *words: str) -> None:
    """An image with these packages and files."""
    add = image.parent / "add"
    for name, text in files.items():
        (add / name).parent.mkdir(parents=True, exist_ok=True)
        (add / name).write_text(text)
    tops = [f"--add={path}:/{path.relative_to(add)}" for path in add.rglob("*") if path.is_file()]
    done = subprocess.run(
        [sys.executable, str(BUILDER), "--packages", ",".join(packages), "--image", str(image),
         *tops, *words], capture_output=True, check=False, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def packages_for_later(directory: Path, *names: str) -> None:
    """The .debs of these packages and of what they need that a minimal machine has not."""
    builder: dict[str, Any] = runpy.run_path(str(BUILDER))
    (directory / "partial").mkdir(parents=True)
    builder["inside"](
        builder["base"](), "apt-get", "install", "-y", "-qq", "--no-install-recommends",
        "--download-only", "-o", "Dir::Cache::archives=/mnt", *names, mounts={"/mnt": directory})
    (directory / "partial").rmdir()
    (directory / "lock").unlink(missing_ok=True)


class Server(Kernel):
    def __init__(self, home: Path, image: Path, key: Path) -> None:
        network = "vec0:transport=tap,ifname=tap0,depth=64,gro=0"
        super().__init__(home, Path("/sbin/init"), [network, "noreboot"], disk=image,
                         root="root=/dev/ubda rootfstype=ext4")  # fmt: skip
        # The manager tells what it does, and the kernel no more than with `quiet`.
        self._plain = [word if word != "quiet" else "loglevel=4" for word in self._words]
        self._ssh = [
            "ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=20",
        ]  # fmt: skip

    def __enter__(self) -> Self:
        # The name of the socket in it must be short.
        own = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="vm-"))
        self._shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={own}/%r",
                        "-o", "ControlPersist=yes"]  # fmt: skip
        script = (f"ip tuntap add tap0 mode tap && ip addr add {OURS}/24 dev tap0"
                  " && ip link set tap0 up && echo up && exec sleep infinity")
        holder = subprocess.Popen(["unshare", "--net", "--kill-child", "sh", "-c", script],
                                  stdout=subprocess.PIPE)  # fmt: skip
        self._stack.callback(holder.wait)
        self._stack.callback(holder.kill)
        assert holder.stdout is not None
        self._stack.enter_context(holder.stdout)
        assert holder.stdout.readline() == b"up\n", "no tap device"
        self._there = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        self._keys, theirs = socket.socketpair()
        self._stack.callback(self._keys.close)
        self._inherited = [theirs.fileno()]
        self._words = [*self._there, *(
            word.replace("con0=null", f"con0=fd:{theirs.fileno()}") for word in self._plain)]
        try:
            super().__enter__()
        finally:
            theirs.close()
        self._stack.callback(self.hang_up)
        return self

    # --- at its console -------------------------------------------------------------------------

    def type(self, text: str) -> None:
        self._keys.sendall(text.encode())

    def mark(self) -> int:
        """Where the console is: what comes is behind it."""
        return len(self.console())

    def says(self, text: str, mark: int = 0) -> str:
        """Wait for it on the console; all that came since `mark`."""
        self.wait(lambda: text in self.console()[mark:], repr(text))
        return self.console()[mark:]

    def wait(self, test: Callable[[], object], what: str) -> Any:
        deadline = time.monotonic() + EACH_S
        while not (found := test()):
            assert self.process.poll() is None, f"the machine ended:\n{self.console()}"
            assert time.monotonic() < deadline, f"no {what}:\n{self.console()}"
            time.sleep(0.05)
        return found

    # --- over the network -----------------------------------------------------------------------

    def outside(self, *command: str, text: str = "") -> str:
        """A program of this host in the machine's network; what it says."""
        done = subprocess.run([*self._there, *command], capture_output=True, check=False, text=True,
                              timeout=60, input=text)  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.console()}"
        return done.stdout

    def run(self, script: str) -> str:
        """What root's shell says, in a session that lasts from one call to the next."""
        words = [*self._ssh, *self._shared, f"root@{THEIRS}"]
        return self.outside(*words, "sh -ec " + quote(script))

    def hang_up(self) -> None:
        """End the connection that `run` keeps."""
        subprocess.run([*self._there, *self._ssh, *self._shared, "-O", "exit", f"root@{THEIRS}"],
                       capture_output=True, check=False)  # fmt: skip

    @contextmanager
    def session(self, user: str, script: str = "") -> Iterator[Callable[[str], str]]:
        """A login of that user, in which a line comes back; `script` is run before."""
        process = subprocess.Popen(
            [*self._there, *self._ssh, f"{user}@{THEIRS}", f"{script} echo in; exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
        said, heard = process.stdout, process.stdin
        assert said is not None
        assert heard is not None

        def echo(line: str) -> str:
            heard.write(f"{line}\n")
            heard.flush()
            return said.readline().rstrip("\n")

        try:
            assert said.readline() == "in\n", self.console()
            yield echo
        finally:
            heard.close()
            process.wait(EACH_S)
            said.close()

    def up(self, *units: str) -> None:
        """Wait until they are ready, by what the manager says on the console."""
        for unit in units:
            self.says(f"{unit}: up (")


def quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def make_key(home: Path) -> Path:
    """A key; its public half has the suffix .pub."""
    key = home / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return key


def skip_unless_possible() -> None:
    if reason := missing():
        pytest.skip(reason)

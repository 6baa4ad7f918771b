"""What the tests of real servers share: a place outside /tmp, presets as drop-ins, load, and proof
that the process is confined.

Law: these tests run what the distribution has installed and nothing else, on loopback, with data
and unit names of their own; a program that is not there is a skip with its name.
"""
from __future__ import annotations

import http.client
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.places import let_in
from tests.stack import ROOT, Stack

PRESETS = ROOT / "units" / "presets"
CLIENTS = 8
TOPS = ("/var/lib", "/var/cache", "/var/log", "/run")
PREFIX = f"unboxed-test-{os.getpid()}-"  # of every unit: no directory of the host is meant
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def program(*paths: str) -> str:
    """The first of `paths` (or names) that is installed; without any, the test is skipped."""
    for path in paths:
        found = shutil.which(path, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
        if found:
            return found
    pytest.skip(f"{paths[0]} is not installed")


def place() -> Iterator[Path]:
    """A directory that everybody may look into and that a private /tmp does not hide. What the
    units of the test kept goes with it."""
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/srv"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)
        for top in TOPS:
            for path in [*Path(top).glob(f"{PREFIX}*"), *Path(top, "private").glob(f"{PREFIX}*")]:
                if path.is_symlink():
                    path.unlink()
                else:
                    shutil.rmtree(path)


def ordinary(home: Path) -> list[str]:
    """Words before a supervisor's command that make it an ordinary user's, who owns `home`."""
    if os.geteuid() != 0:
        return []
    let_in(home)
    for path in (home, *home.rglob("*")):
        os.chown(path, 65534, 65534)
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def preset(home: Path, unit: str, name: str, more: str = "") -> None:
    """Lay a preset over a unit as people do, and their own keys over that."""
    drop_ins = home / "units" / f"{unit}.toml.d"
    drop_ins.mkdir(parents=True)
    shutil.copy(PRESETS / f"{name}.toml", drop_ins / f"00-{name}.toml")
    (drop_ins / "own.toml").write_text(more)
    for path in drop_ins.iterdir():
        path.chmod(0o644)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def at_once(client: Callable[[int], object], count: int = CLIENTS) -> None:
    """So many clients at the same time; each gets its number, and whatever one raises is raised."""
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(client, range(count)))


def http_load(port: int, path: str, body: bytes, *, requests: int = 50) -> None:
    """`requests` of each client over one connection; every answer is 200 with that body."""

    def client(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            for _ in range(requests):
                connection.request("GET", path)
                answer = connection.getresponse()
                assert (answer.status, answer.read()) == (200, body)
        finally:
            connection.close()

    at_once(client)


def get(port: int, path: str, body: bytes = b"") -> bytes:
    """What one request, a POST if it has a body, is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST" if body else "GET", path, body)
        return connection.getresponse().read()
    finally:
        connection.close()


def accepts(port: int) -> bool:
    """Whether something answers there."""
    try:
        return bool(get(port, "/version"))
    except OSError:
        return False


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def confined(
    pid: int, *, capabilities: int = 0, bounding: int | None = None, user: int | None = None
) -> None:
    """That level app holds for a process. `user`: its uid; None: a dynamic one. `bounding`: the
    rights that it may have once more; None: the same as `capabilities`."""
    known = status(pid)
    uids = set(map(int, known["Uid"].split()))
    assert uids == {user} if user is not None else uids <= set(range(61184, 65520)), uids
    assert known["NoNewPrivs"] == "1"
    assert known["Seccomp"] == "2"
    assert int(known["CapEff"], 16) == capabilities
    assert int(known["CapBnd"], 16) == (capabilities if bounding is None else bounding)
    assert os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    (root,) = [
        line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        if line.split()[4] == "/"
    ]  # fmt: skip
    assert "ro" in root[5].split(",")
    assert not os.listdir(f"/proc/{pid}/root/root")


def stopped_cleanly(stack: Stack, key: str) -> None:
    """It ends on the first signal of its ladder, by itself with exit 0."""
    stack.call("Stop", units=[key], wait=True)
    row = stack.row(key)
    assert (row["state"], row["last_exit"].split(",")[0]) == ("stopped", "exit 0"), row

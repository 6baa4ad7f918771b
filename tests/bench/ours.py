"""Unboxed as one more peer: the keeper as a machine boots it, and through `unboxed run`.

What is measured is what is installed beside this Python (`pip install .`, or `make bench`), so
every byte of it is as a user has it.
"""
from __future__ import annotations

import importlib.util
import json
import socket
import sys
import time
from binascii import crc32
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.harness import Tree, remove_groups
from tests.bench.peers import Command, Peer, words

BIN = Path(sys.executable).parent
KEEPER = BIN / "unboxed-init"
EARLY = BIN / "unboxed-early"
UNBOXED = BIN / "unboxed"

_UNIT = """\
command = [{command}]
[restart]
when = "always"
delay = 0
limit = {{ count = 1000000, within = "1s" }}
"""
_KEEP = """\
[logs]
keep = "8GiB"
compress = false
"""


def package() -> Path:
    """Where the installed package is. Raises SystemExit if there is none."""
    found = importlib.util.find_spec("supervisor.manager")
    if found is None or not found.origin or not KEEPER.exists():
        raise SystemExit(
            f"cannot measure unboxed: it is not installed beside {sys.executable}; `make bench`"
            " installs it"
        )
    return Path(found.origin).parent.parent


class Unboxed(Peer):
    name = "unboxed"
    tool = str(KEEPER)
    notes = "keeper, manager and logger; every service logged, and in a cgroup of its own"

    _log: Path | None = None

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        self._log = log
        (root / "units").mkdir()
        quoted = ", ".join(f'"{word}"' for word in command)
        keep = _KEEP if log else ""
        for i in range(n):
            (root / "units" / f"s{i}.toml").write_text(_UNIT.format(command=quoted) + keep)

    def argv(self, root: Path) -> Command:
        home, python, log = package(), [sys.executable, "-I", "-S"], self._log or root / "log"
        return [
            KEEPER, "--supervise",
            "--", *python, home / "manager" / "__main__.py", "--site", home.parent,
            "--units", root / "units", "--runtime-dir", root / "rt",
            "--state-dir", root / "st", "--log-dir", log,
            "--", *python, home / "logger" / "__main__.py", "--log-dir", log,
            "--runtime-dir", root / "rt",
        ]  # fmt: skip

    def status(self, root: Path, tree: Tree) -> Command:
        return [UNBOXED, "status", "--runtime-dir", root / "rt"]

    def role(self, argv: Sequence[str]) -> str:
        if "--supervise" in argv:
            return "keeper"
        line = words(argv)
        if "unboxed-spawner" in line:
            return "spawner"
        return "manager" if "/manager/__main__.py" in line else "logger"

    def cleanup(self, root: Path) -> None:
        """The cgroups of a keeper that was killed: empty, and named after its runtime directory."""
        name = f"unboxed-{crc32(str(root / 'rt').encode()):08x}"
        own = next((line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines()
                    if line.startswith("0::")), "/")
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if " - cgroup2 " in line:
                remove_groups(Path(line.split()[4] + own) / name)


class UnboxedRun(Unboxed):
    name = "unboxed run"
    tool = str(UNBOXED)
    notes = "the same through the command line: one more interpreter's start before the keeper"

    def argv(self, root: Path) -> Command:
        return [
            UNBOXED, "run", "--units", root / "units", "--runtime-dir", root / "rt",
            "--state-dir", root / "st", "--log-dir", self._log or root / "log",
        ]  # fmt: skip


class Units(Unboxed):
    """The keeper with units as they are written here, by name."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        self._log = log
        (root / "units").mkdir()
        for name, text in self._texts.items():
            (root / "units" / f"{name}.toml").write_text(text)


def call(
    path: str | Path, method: str, limit_s: float = 60.0, **parameters: object
) -> tuple[int, dict[str, Any]]:
    """A call on the control socket at `path`, over a connection of its own: the monotonic time in
    ns from right before that was made, and the answer. Raises OSError, or RuntimeError for what
    was refused."""
    sent = {"method": f"io.unboxed.Supervisor.{method}", "parameters": parameters}
    request = json.dumps(sent).encode() + b"\0"
    answer = b""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(limit_s)
        begin = time.monotonic_ns()
        sock.connect(str(path))
        sock.sendall(request)
        while not answer.endswith(b"\0"):
            part = sock.recv(1 << 16)
            if not part:
                raise ConnectionResetError(f"{path} went away")
            answer += part
    found = json.loads(answer[:-1])
    if "error" in found:
        raise RuntimeError(f"{method}: {found}")
    return begin, found["parameters"]

"""Who else stores what a service writes: programs at the end of a pipe, and journald.

A pipeline's writer ends when it has written, so its reader is done when it ends too. journald's
files grow in big steps and its sockets buffer: it is done when it has nothing more to do.
"""
from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from tests.bench.harness import Tree
from tests.bench.peers import Command, Peer, Systemd, words, write_script

SEGMENT_BYTES = 16 << 20

# What is at the end of the pipe: {log} is an empty directory, {bin} where the probes are.
_READERS = (
    ("(limit) splice to file", "{bin}/sink {log}/out"),
    ("(limit) cat > file", "cat > {log}/out"),
    ("(limit) C stamp > file", "{bin}/stamp {log}/out"),
    ("s6-log, no stamps", f"s6-log n1000 s{SEGMENT_BYTES} {{log}}"),
    ("s6-log, ISO 8601", f"s6-log T n1000 s{SEGMENT_BYTES} {{log}}"),
    ("svlogd -tt", "svlogd -tt {log}"),
    ("multilog t", f"multilog t s{SEGMENT_BYTES - 1} n1000 {{log}}"),
    ("json-file", "{bin}/jsonfile {log}/out"),
)
# Megabytes for each size of write (64 KiB, a line): enough for half a second or more.
_AMOUNTS = {
    "svlogd -tt": (100, 50), "multilog t": (100, 50), "s6-log, ISO 8601": (200, 100),
    "json-file": (200, 100), "(limit) C stamp > file": (500, 100),
}  # fmt: skip
_MOST = (1000, 200)

# Files of theirs beside the logs.
STATE_FILES = frozenset({"config", "lock", "state", "status"})


class Pipeline(Peer):
    """A shell's pipe from the writer into something that stores."""

    def __init__(self, name: str, reader: str, bindir: Path) -> None:
        self.name = name
        self._reader, self._bindir, self._line = reader, bindir, ""
        self.tool = reader.format(bin=bindir, log="").split()[0]

    def installed(self) -> bool:
        return shutil.which(self.tool) is not None

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        if log and "svlogd" in self._reader:
            (log / "config").write_text(f"s{SEGMENT_BYTES}\nn1000\n")
        reader = self._reader.format(bin=self._bindir, log=log)
        self._line = f"{words(command)} once | {reader}"

    def argv(self, root: Path) -> Command:
        return ["sh", "-c", self._line]


def pipelines(bindir: Path) -> list[tuple[Peer, tuple[int, int]]]:
    return [
        (Pipeline(name, reader, bindir), _AMOUNTS.get(name, _MOST)) for name, reader in _READERS
    ]


class Journald(Systemd):
    """systemd-journald under a namespaced systemd: volatile storage, no rate limit."""

    name, tool = "systemd-journald", "/lib/systemd/systemd-journald"

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        super().configure(root, n, command, log)
        units = root / "units"
        (units / "systemd-journald.socket").write_text(
            "[Unit]\nDefaultDependencies=no\n[Socket]\n"
            "ListenStream=/run/systemd/journal/stdout\n"
            "ListenDatagram=/run/systemd/journal/socket\nPassCredentials=yes\nReceiveBuffer=8M\n"
        )
        (units / "systemd-journald.service").write_text(
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nStandardOutput=null\n"
            f"ExecStart={self.tool}\nFileDescriptorStoreMax=4224\n"
        )
        with (units / "bench.target").open("a") as target:
            target.write("Wants=systemd-journald.socket\n")
        script = (root / "init").read_text()
        write_script(root / "init", script.replace(
            "export container",
            "mkdir -p /run/systemd/journald.conf.d\n"
            "printf '[Journal]\\nStorage=volatile\\nRateLimitIntervalSec=0\\nRuntimeMaxUse=16G\\n"
            "RuntimeMaxFiles=1000\\nReadKMsg=no\\nAudit=no\\n'"
            " > /run/systemd/journald.conf.d/bench.conf\nexport container",
        ).replace(
            f"exec {self.tool} ", f"exec {Systemd.tool} "))

    def lines(self, tree: Tree) -> int:
        """What it can give back."""
        time.sleep(1)
        count = "journalctl -q -o cat _COMM=flood | wc -l"
        command = list(map(str, self._inside(tree, "sh", "-c", count)))
        return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)

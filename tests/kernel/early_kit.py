"""unboxed-early with the test as its keeper and a shell as its manager.

Plans are packed here anew, by the layout that early.c states, so that neither side's mistake
hides the other's.
"""
from __future__ import annotations

import os
import socket
import struct
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PATIENCE_S = 30.0  # only a failing test waits so long
TELLS = 'printf "%s\\n" "$UNBOXED_BOOT_PLAN" "$0" "$@"'
PROGRAM = ("/bin/sh", "-c", TELLS, "manager", "--machine", "")
MAGIC = b"UBPLAN1\0"
HOLDS = b"a frame that stores the plan itself"
FRAME = 1 << 18  # bytes, at most
Record = tuple[str, str | bytes, bytes]  # kind, text, data


def packed(kind: str, text: str | bytes = "", data: bytes = b"") -> bytes:
    name = os.fsencode(text) + b"\0"
    return struct.pack("<III", ord(kind), len(name), len(data)) + name + data


def plan(*records: Record) -> bytes:
    """Each E without data gets the sum that it is to have."""
    text = b""
    for kind, name, data in records:
        text += end(text) if kind == "E" and not data else packed(kind, name, data)
    return MAGIC + text


def end(text: bytes) -> bytes:
    return packed("E", "", struct.pack("<I", zlib.crc32(text)))


def arguments(*words: str) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def entries(count: int) -> bytes:
    return struct.pack("<i", count)


class Outcome(NamedTuple):
    frames: list[tuple[bytes, list[str]]]  # each with what its descriptors are
    sent_ns: int
    path: str
    argv: list[str]


class Early:
    """One machine: its plan, its groups' directory, and whatever the plan was made from."""

    def __init__(self, home: Path, program: str) -> None:
        self.home, self.program = home, program
        self.path = home / "plan"
        self.base = home / "groups" / "units"
        self.spawns = [b"the launch of web \0\1\2" + bytes(range(256)), b"\0" * 70_000, b"x"]

    def records(self, *between: Record) -> list[Record]:
        """A plan that holds, if these do."""
        return [
            ("G", str(self.base), b"a frame that stores it"),
            ("H", "", HOLDS),
            *between,
            *(("S", "", frame) for frame in self.spawns),
            ("E", "", b""),
        ]

    def write(self, text: bytes) -> None:
        self.path.write_bytes(text)
        self.path.chmod(0o600)

    def begin(self, *between: Record) -> Outcome:
        self.write(plan(*self.records(*between)))
        return self.run()

    def process(
        self, keeper: socket.socket, command: Sequence[str] = PROGRAM
    ) -> subprocess.CompletedProcess[str]:
        """With that socket as descriptor 3."""
        return subprocess.run(
            self.words(*command), stdin=keeper.fileno(), capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
            env={"UNBOXED_BOOT_PLAN": "7 /another", "CMDLINE": f"{self.home}/cmdline"},
        )  # fmt: skip

    def words(self, *command: str) -> list[str]:
        """A command whose standard input is the keeper's socket."""
        script = 'exec "$@" 3<&0 0</dev/null'
        return ["/bin/sh", "-c", script, "sh", self.program, str(self.path), *command]

    def run(self) -> Outcome:
        """What comes of the plan that is there. That the program is executed is part of it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            done = self.process(theirs)
            frames = received(ours)
        assert (done.returncode, done.stderr) == (0, "")
        told, *argv = done.stdout.splitlines()
        assert argv == list(PROGRAM[3:])
        when, _, path = told.partition(" ")
        return Outcome(frames, int(when), path, argv)

    def nothing(self) -> None:
        """Nothing is sent, and the program is told so."""
        found = self.run()
        assert (found.frames, found.sent_ns, found.path) == ([], 0, str(self.path))


def received(keeper: socket.socket) -> list[tuple[bytes, list[str]]]:
    found: list[tuple[bytes, list[str]]] = []
    keeper.setblocking(False)
    while True:
        try:
            data, fds, flags, _ = socket.recv_fds(keeper, FRAME, 8)
        except BlockingIOError:
            return found
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        found.append((data, [os.readlink(f"/proc/self/fd/{fd}") for fd in fds]))
        for fd in fds:
            os.close(fd)

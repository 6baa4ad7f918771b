"""Fault 1, inside a pid namespace of its own: `python -m tests.fault.pid_reuse ROUNDS`.

A process of a unit ends, its pid is given to a stranger at once (ns_last_pid), and then the unit is
stopped, killed or frozen. The stranger blocks every signal, so any that was sent to it is still
pending and can be read. Prints one JSON line: rounds, those in which the number was really used
again, and what strangers were sent.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.fault.lifecycle import SLEEP, UID, supervisor, wait_for_death
from tests.stack import PATIENCE, Stack, children

EVERY = signal.valid_signals()
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
TREE = (
    "command = ['/bin/sh', '-c', '''for i in 1 2 3 4 5 6 7 8; do setsid sleep 1000 & done;"
    " exec sleep 1000''']\n"
)
# It tells that its child is its main process now, and ends: its own pid means nothing any more.
HANDS_OVER = """
import os, socket, sys, time
parent = os.getpid()
r, w = os.pipe()
if os.fork():
    os.close(w)
    os.read(r, 1)
    os._exit(0)
os.setsid()
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.connect(os.environ["NOTIFY_SOCKET"])
sock.send(b"MAINPID=%d\\nREADY=1" % os.getpid())
os.read(os.open(os.environ["GO"], os.O_RDONLY), 1)
os.write(w, b"x")
time.sleep(1000)
"""


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Stranger:
    """A process in a session of its own that no unit has anything to do with, as `pid`."""

    def __init__(self, uid: int, pid: int) -> None:
        ready, tell = os.pipe()
        old = signal.pthread_sigmask(signal.SIG_BLOCK, EVERY)
        LAST_PID.write_text(str(pid - 1))
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(tell, b"x")
            os.close(tell)
            while True:
                signal.sigwait([])
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        os.close(tell)
        os.read(ready, 1)
        os.close(ready)
        self.taken = self.pid == pid

    def leave(self) -> str:
        """End it; what it was sent, "" for nothing."""
        hit = ""
        pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        if pid:
            return f"status {status:x}"
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("SigPnd", "ShdPnd") and int(value, 16):
                hit = f"{name} {value.strip()}"
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return hit


class Rounds:
    def __init__(self, stack: Stack, uid: int) -> None:
        self.stack = stack
        self.uid = uid
        self.reused = 0
        self.hits: list[str] = []
        self.chance = random.Random(1)

    def take_over(self, pid: int) -> Stranger:
        """Wait until the number is free, and give it to a stranger."""
        self.stack.until(lambda: not Path(f"/proc/{pid}").exists(), f"{pid} to be reaped")
        return Stranger(self.uid, pid)

    def judge(self, stranger: Stranger, what: str) -> None:
        self.reused += stranger.taken
        hit = stranger.leave()
        if hit:
            self.hits.append(f"{what}: {hit}")

    def prepared(self, method: str, unit: str) -> tuple[socket.socket, bytes]:
        """A connection that is idle in the manager's view, and what to say on it."""
        sock = self.stack.connect()
        hello = {"method": "org.varlink.service.GetInfo"}
        sock.sendall(json.dumps(hello).encode() + b"\0")
        assert sock.recv(1 << 16)
        call = {"method": f"io.unboxed.Supervisor.{method}", "parameters": {"units": [unit]}}
        return sock, json.dumps(call).encode() + b"\0"

    # --- one round each ---------------------------------------------------------------------

    def main_ends(self) -> None:
        """The manager, held still, finds the request before the exit, or after it."""
        stack = self.stack
        method = self.chance.choice(["Stop", "Restart", "Freeze"])
        stack.call("Start", units=["plain"], wait=True)
        pid = stack.row("plain")["pid"]
        sock, words = self.prepared(method, "plain")
        manager = stack.manager
        os.kill(manager, signal.SIGSTOP)
        first = self.chance.random() < 0.5
        if first:
            sock.sendall(words)
        os.kill(pid, signal.SIGKILL)
        stranger = self.take_over(pid)
        if not first:
            sock.sendall(words)
        os.kill(manager, signal.SIGCONT)
        assert sock.recv(1 << 16)
        sock.close()
        stack.call("Stop", units=["plain"], wait=True)
        self.judge(stranger, f"{method}, main process")

    def straggler_ends(self) -> None:
        """One of many processes ends at some instant of a stop."""
        stack = self.stack
        stack.call("Start", units=["tree"], wait=True)
        pid = stack.row("tree")["pid"]
        stack.until(lambda: len(children(pid)) == 8, "the whole tree")
        straggler = self.chance.choice(children(pid))
        stack.call("Stop", units=["tree"], wait=False)
        until = time.monotonic() + self.chance.random() * 0.025
        while time.monotonic() < until:
            pass
        try:
            os.kill(straggler, signal.SIGKILL)
        except ProcessLookupError:
            pass  # the stop was quicker
        stranger = self.take_over(straggler)
        stack.wait("tree", "stopped")
        self.judge(stranger, "straggler")

    def main_hands_over(self) -> None:
        """The number of a main process that named another one (MAINPID) and left."""
        stack = self.stack
        go = stack.home / "go"
        stack.call("Start", units=["heir"], wait=True)
        heir = stack.wait("heir", "running", test=lambda row: row["pid"])["pid"]
        old = parent(heir)
        go.write_bytes(b"x")
        stranger = self.take_over(old)
        stack.call("Stop", units=["heir"], wait=True)
        assert wait_for_death(heir, PATIENCE)
        self.judge(stranger, "MAINPID")


def main(rounds: int) -> None:
    reused, hits, done = 0, [], 0
    for mode in ("cgroup", "session"):
        units = {"plain": SLEEP, "tree": TREE}
        with supervisor(mode, units) as stack:
            go = stack.home / "go"
            os.mkfifo(go, 0o666)
            go.chmod(0o666)
            (stack.home / "heir.py").write_text(HANDS_OVER)
            stack.write("heir", (
                f'command = ["{sys.executable}", "-I", "-S", "{stack.home}/heir.py"]\n'
                f'env = {{GO = "{go}"}}\n[start]\nready = "notify"\n'))  # fmt: skip
            stack.call("ReloadUnits")
            play = Rounds(stack, UID if mode == "session" else 0)
            kinds: list[Callable[[], None]] = [
                play.main_ends, play.straggler_ends, play.main_ends, play.straggler_ends,
                play.main_hands_over,
            ]  # fmt: skip
            number = 0
            # Now and then, more often on a busy host, somebody else of this namespace is quicker:
            # the round does not count.
            while play.reused < rounds // 2 and number < rounds:
                kinds[number % len(kinds)]()
                number += 1
            reused += play.reused
            hits += [f"{mode}, {hit}" for hit in play.hits]
            done += number
    print(json.dumps({"rounds": done, "reused": reused, "hits": hits}))


if __name__ == "__main__":
    main(int(sys.argv[1]))

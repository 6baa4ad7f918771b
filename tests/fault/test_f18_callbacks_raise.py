"""Fault 18: an exception is raised in every callback in turn.

The manager stays; at most the one unit is stopped for whose sake it worked; it is said where; the
client gets an answer or is hung up on; and afterwards everything works again.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.fault.witness import check, starts, witness
from tests.stack import ROOT, Refused, Stack, alive

FINISHED = ("finished", "stopped", "failed")
PATIENCE_S = 5.0  # for a client; the manager never works that long


def mutilated(home: Path) -> Path:
    """A tree like ours whose manager starts as saboteur.py."""
    tree = home / "tree"
    ours = ROOT / "supervisor"
    (tree / "supervisor" / "manager").mkdir(parents=True)
    for path in [*ours.iterdir(), *(ours / "manager").iterdir()]:
        place = tree / path.relative_to(ROOT)
        if path.name not in ("manager", "__main__.py", "__pycache__"):
            place.symlink_to(path)
    saboteur = Path(__file__).with_name("saboteur.py")
    (tree / "supervisor" / "manager" / "__main__.py").symlink_to(saboteur)
    return tree


VICTIM = """
import array, os, signal, socket
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def tell(text, fds=()):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([text], rights, 0, os.environ["NOTIFY_SOCKET"])
signal.signal(signal.SIGHUP, lambda *_: tell(b"STATUS=heard"))
tell(b"FDSTORE=1\\nFDNAME=one", [os.memfd_create("one")])
tell(b"FDSTOREREMOVE=1\\nFDNAME=one")
tell(b"FDSTORE=1\\nFDNAME=two", [os.memfd_create("two")])
tell(b"READY=1\\nMAINPID=%d\\nSTATUS=serving" % os.getpid())
while True:
    signal.pause()
"""


class Tour:
    """Everything that the manager is ever asked for, with one unit in the middle of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "victim.py").write_text(VICTIM)
        self.units = {
            "calm": witness(home, "calm"),
            "busy": witness(home, "busy") + "[restart]\ndelay = 0\n",
            "victim": self.victim("first"),
            "need": 'kind = "task"\ncommand = ["/bin/true"]\n',
        }
        env = {"SABOTAGE_HOME": str(home), "UNBOXED_PING_TIMEOUT_MS": "2000"}
        self.stack = Stack(home, self.units, env=env, source=mutilated(home))
        self.silent: list[str] = []  # calls that nobody answered

    def victim(self, words: str) -> str:
        home = self.home
        return (
            f'description = "{words}"\n'
            + witness(home, "victim", before="trap : HUP; ", after=f"exec {sys.executable} -I -S "
                      f"{home}/victim.py")
            + 'reload = {command = ["/bin/true"]}\n[needs]\nwants = ["need"]\n[start]\n'
            'ready = "notify"\nbefore = [["/bin/true"]]\nafter = [["/bin/true"]]\n'
            '[stop]\ncommand = ["/bin/false"]\nladder = ["TERM", "50ms", "KILL"]\n'
            '[restart]\ndelay = 0\nmemory_budget = "1GiB"\nmax_age = "1h"\n'
            f'[[listen]]\nname = "x"\naddress = "unix:{home}/s"\nreuse_port = false\n'
        )

    def call(self, method: str, **parameters: Any) -> None:
        try:
            self.stack.call(method, **parameters)
        except Refused:
            pass  # what the sabotage led to
        except TimeoutError:
            self.silent.append(method)
        except OSError:
            pass  # hung up

    def rest(self) -> dict[str, Any]:
        """The victim's row once nothing more happens to it."""

        def resting() -> dict[str, Any] | None:
            row = self.stack.row("victim")
            up = row["phase"] == row["goal"] == "up"
            return row if up or row["phase"] in ("down", "failed") else None

        found = self.stack.until(resting, "the victim to rest", PATIENCE_S)
        assert isinstance(found, dict)
        return found

    def everything(self) -> None:
        """Each step waits for nothing but its own answer; the victim may be anywhere."""
        stack, victim = self.stack, ["victim"]
        for method in ("Describe", "Why", "Explain"):
            self.call(method, unit="victim")
        self.call("Start", units=victim, wait=False)
        self.rest()
        for method in ("Reload", "Freeze", "Thaw", "ResetFailed"):
            self.call(method, units=victim)
        self.call("Kill", units=victim, signal=1)
        with stack.connect() as events:
            events.sendall(b'{"method":"io.unboxed.Supervisor.Events","more":true}\0')
            self.call("Restart", units=victim, wait=False)
            self.rest()
            pid = stack.row("victim")["pid"]
            if pid:
                os.kill(pid, 9)
                stack.until(lambda: not alive(pid), "its end")
            self.rest()
        stack.write("victim", self.victim(str(time.monotonic_ns())))
        self.call("ReloadUnits")
        self.call("Try", command=["/bin/true"], keys={})
        self.call("Stop", units=victim, wait=False)
        self.rest()
        busy = stack.row("busy")["pid"]
        os.kill(busy, 9)

    def sabotage(self, place: str) -> bool:
        """Raise there once, in the midst of everything, and see that it costs no more than it may.
        False: nothing of this tour calls it."""
        stack, order = self.stack, self.home / "raise"
        manager, calm = stack.manager, stack.row("calm")["pid"]
        said = stack.errors.stat().st_size
        order.write_text(place)
        try:
            self.everything()
            hit = not order.exists()
            order.unlink(missing_ok=True)
            words = stack.errors.read_text()[said:]
            assert stack.manager == manager, "another manager"
            assert not self.silent, f"nobody answered {self.silent}"
            told = [line for line in words.splitlines() if line.startswith("unboxed: cannot")]
            assert len(told) == hit, "it is said once"
            assert not hit or f"Sabotage: {place}" in told[0]
            self.call("Start", units=["victim", "busy"], wait=False)
            tried = {key: FINISHED for key in stack.rows() if key.startswith("try-")}
            running = dict.fromkeys(("calm", "busy", "victim"), ("running",))
            check(stack, {**running, **tried, "need": FINISHED})
            assert stack.row("calm")["pid"] == calm
            assert len(starts(self.home, "calm")) == 1
        except Exception as exc:
            words = stack.errors.read_text()[said:]
            raise AssertionError(f"{place}: {exc!r}\n{words}") from exc
        return hit

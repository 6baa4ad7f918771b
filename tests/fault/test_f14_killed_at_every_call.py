"""Fault 14: the manager is killed at every system call of an operation.

Whatever the call, nothing runs twice, nothing is lost or left over, and every unit ends where it
was asked to go, or is where it was before if the request was not accepted. Each life of a
supervisor serves a few operations, all killed at the same point; lives go on until every operation
was done before its point came.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.fault.stepper import Stepper
from tests.fault.witness import abandon, check, replaced, starts, witness
from tests.stack import Stack, alive

LIVES = 4  # at a time
UP, DOWN = ("running",), ("stopped",)
EITHER = UP + DOWN
KEYS = ("db", "web", "job", "stray")
# Parks a descriptor at its first start, says READY=1, and tells if the former is missing later.
RICH = r"""
import array, os, signal, socket, sys
home = sys.argv[1]
def tell(text, fds=()):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([text], rights, 0, os.environ["NOTIFY_SOCKET"])
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
if "mine" in os.environ.get("LISTEN_FDNAMES", ""):
    pass
elif len(open(home + "/rich.starts").readlines()) > 1:
    open(home + "/unparked", "w").close()
else:
    tell(b"FDSTORE=1\nFDNAME=mine", [os.memfd_create("mine")])
tell(b"READY=1")
while True:
    signal.pause()
"""


Operation = Callable[["Life", int], bool]


class Life(Stack):
    """A supervisor whose next manager waits to be traced if there is a file `hold`."""

    def __init__(self, home: Path, *, rich: bool) -> None:
        home.mkdir()
        super().__init__(home, _rich(home) if rich else _plain(home))
        self.hold = home / "hold"

    def argv(self) -> list[str]:
        words = super().argv()
        at = words.index("--") + 1
        wait = 'if [ -e "$0" ]; then rm "$0"; kill -STOP $$; fi; exec "$@"'
        return [*words[:at], "/bin/sh", "-c", wait, str(self.hold), *words[at:]]

    def held(self) -> int:
        """The pid of the manager that waits to be traced."""

        def waits() -> int:
            pid = self.manager
            stat = Path(f"/proc/{pid}/stat").read_text() if pid else ""
            return pid if stat.rpartition(") ")[2].startswith("T") else 0

        return int(str(self.until(waits, "a manager that waits to be traced")))

    def killed(self, manager: int, point: int, method: str, **parameters: Any) -> bool:
        """Ask for something and kill the manager at its point-th call. False: it answered
        before that."""
        stepper = Stepper(manager)
        with self.connect() as sock:
            call = {"method": f"io.unboxed.Supervisor.{method}", "parameters": parameters}
            sock.sendall(json.dumps(call).encode() + b"\0")
            sock.setblocking(False)
            answer = b""

            def answered() -> bool:
                nonlocal answer
                with contextlib.suppress(BlockingIOError):
                    answer += sock.recv(1 << 16)
                return answer.endswith(b"\0")

            if not stepper.run(point, answered):
                assert b'"error"' not in answer, answer
                return False
        replaced(self, manager)
        return True


def _plain(home: Path) -> dict[str, str]:
    ready = '[start]\nready = "fd:5"\nbefore = [["/bin/true"]]\n'
    stop = '[stop]\nladder = ["TERM", "20ms", "KILL"]\n'
    deaf = witness(home, "web", before="trap '' TERM; ", after="echo >&5; exec sleep 1000")
    hups = f"trap 'echo >> {home}/hups' HUP; "
    return {
        "db": witness(home, "db"),
        "web": deaf + f'[[listen]]\nname = "main"\naddress = "unix:{home}/s"\n'
        f'[needs]\nrequires = ["db"]\n{ready}{stop}',
        "job": witness(home, "job", before=hups, after="while :; do sleep 0.1; done"),
        "stray": witness(home, "stray"),
    }


def _rich(home: Path) -> dict[str, str]:
    (home / "rich.py").write_text(RICH)
    script = f"exec {sys.executable} -I -S {home}/rich.py {home}"

    def note(name: str, then: str = ":") -> str:
        return json.dumps(["/bin/sh", "-c", f"echo >> {home}/{name}; {then}"])

    return {"rich": witness(home, "rich", after=script)
            + f"""reload = {{command = {note("reloads")}}}
[start]
ready = "notify"
after = [{note("afters")}]
[stop]
command = {note("stops", "kill $MAINPID")}
ladder = ["TERM", "5s", "KILL"]
"""}


def boot(life: Life, point: int) -> bool:
    """The first manager of all is killed while it starts everything."""
    life.hold.touch()
    life.launch()
    first = life.held()
    stepper = Stepper(first)
    with life.errors.open("rb") as words:
        said = b""

        def all_up() -> bool:
            nonlocal said
            said += words.read()
            return all(b"%s: up (" % key.encode() in said for key in KEYS)

        killed = stepper.run(point, all_up)
    life.until(life.answers, "control to answer")
    assert all(state == "running" for state in check(life, dict.fromkeys(KEYS, UP)).values())
    for key in KEYS:
        assert len(starts(life.home, key)) == 1, key
    return killed


def stop(life: Life, point: int) -> bool:
    killed = life.killed(life.manager, point, "Stop", units=["db"])
    units = {**dict.fromkeys(KEYS, UP), "db": EITHER, "web": EITHER}
    states = check(life, units)
    assert states["db"] == states["web"], states
    life.call("Stop", units=["db"])
    check(life, {**units, "db": DOWN, "web": DOWN})
    assert not (life.home / "s").exists(), "its listener is left"
    return killed


def start(life: Life, point: int) -> bool:
    """After `stop`."""
    killed = life.killed(life.manager, point, "Start", units=["web"])
    ran = {key: len(starts(life.home, key)) for key in ("db", "web")}
    units = {**dict.fromkeys(KEYS, UP), "db": EITHER, "web": EITHER}
    states = check(life, units)
    assert states["db"] == states["web"], states
    life.call("Start", units=["web"])
    check(life, dict.fromkeys(KEYS, UP))
    assert ran.keys() == {"db", "web"}
    for key in ran:
        assert len(starts(life.home, key)) == 2, f"{key}: asked for one start more"
    return killed


def restart(life: Life, point: int) -> bool:
    before = len(starts(life.home, "web"))
    other = life.row("db")["pid"]
    killed = life.killed(life.manager, point, "Restart", units=["web"])
    check(life, dict.fromkeys(KEYS, UP))
    assert len(starts(life.home, "web")) - before in ((0, 1) if killed else (1,))
    assert life.row("db")["pid"] == other
    return killed


def reload(life: Life, point: int) -> bool:
    pids = {key: row["pid"] for key, row in life.rows().items()}
    hups = life.home / "hups"
    killed = life.killed(life.manager, point, "Reload", units=["job"])
    check(life, dict.fromkeys(KEYS, UP))
    assert {key: row["pid"] for key, row in life.rows().items()} == pids
    if not killed:
        life.until(hups.exists, "the signal")
    if hups.exists():  # which it does a moment before something is written into it
        life.until(hups.read_text, "its word of the signal")
        assert len(hups.read_text()) == 1
    return killed


def reload_units(life: Life, point: int) -> bool:
    """One is added, one changed, one removed that runs."""
    pids = {key: row["pid"] for key, row in life.rows().items()}
    life.write("late", "autostart = false\n" + witness(life.home, "late"))
    life.write("db", 'description = "new"\n' + witness(life.home, "db"))
    (life.units / "stray.toml").unlink()
    killed = life.killed(life.manager, point, "ReloadUnits")
    rows = life.rows()
    new = {**pids, "late": 0}
    assert {key: row["pid"] for key, row in rows.items()} in (pids, new)
    happened = "late" in rows
    assert (rows["db"]["description"] == "new") == happened
    assert happened or killed
    assert rows["db"]["stale"] == happened
    answer = life.call("ReloadUnits")
    assert answer["removed"] == [] if happened else answer["removed"] == ["stray"]
    check(life, {**dict.fromkeys(KEYS, UP), "late": DOWN})
    assert {key: row["pid"] for key, row in life.rows().items()} == new
    life.call("Stop", units=["stray"])
    assert "stray" not in life.rows()
    assert not alive(pids["stray"])
    return killed


def recovery(life: Life, point: int) -> bool:
    """The manager is killed while it stops something, and the next one while it goes on."""
    pids = {key: life.row(key)["pid"] for key in ("db", "web")}
    life.hold.touch()
    life.call("Stop", units=["db"], wait=False)
    os.kill(life.manager, signal.SIGKILL)
    killed = life.killed(life.held(), point, "Stop", units=["db"])
    check(life, {**dict.fromkeys(KEYS, UP), "db": DOWN, "web": DOWN})
    assert not any(map(alive, pids.values()))
    return killed


def restart_rich(life: Life, point: int) -> bool:
    """With a stop command, readiness by notify, an after-hook and a parked descriptor."""
    before = len(starts(life.home, "rich"))
    killed = life.killed(life.manager, point, "Restart", units=["rich"])
    check(life, {"rich": UP})
    assert len(starts(life.home, "rich")) - before in ((0, 1) if killed else (1,))
    assert not (life.home / "unparked").exists(), "what it had parked is lost"
    return killed


def reload_rich(life: Life, point: int) -> bool:
    """By a command."""
    pid = life.row("rich")["pid"]
    killed = life.killed(life.manager, point, "Reload", units=["rich"])
    check(life, {"rich": UP})
    reloads = life.home / "reloads"
    assert (len(reloads.read_text()) if reloads.exists() else 0) in ((0, 1) if killed else (1,))
    assert life.row("rich")["pid"] == pid
    return killed


def _live(life: Life, point: int, operations: Sequence[Operation]) -> bool:
    """One life; whether anything was killed in it."""
    began = ""
    try:
        if boot not in operations:
            life.begin()
            check(life, dict.fromkeys(life.rows(), UP))
        killed = False
        for operation in operations:
            began = operation.__name__
            killed |= operation(life, point)
        life.end()
    except BaseException as exc:
        words = f"{began}, killed at {point}: {exc}\n{life.errors.read_text()}"
        raise AssertionError(words) from exc
    finally:
        abandon(life)
    return killed


def sweep(home: Path, operations: Sequence[Operation]) -> int:
    """Lives with ever later points, until one in which nothing was killed; that point."""
    points, last = count(1), [0]

    def lives() -> None:
        while not last[0]:
            point = next(points)
            try:
                killed = _live(Life(home / str(point), rich=restart_rich in operations), point,
                               operations)
            except BaseException:
                last[0] = point
                raise
            if not killed:
                last[0] = point

    with ThreadPoolExecutor(LIVES) as pool:
        for done in [pool.submit(lives) for _ in range(LIVES)]:
            done.result()
    return last[0]


@pytest.mark.slow
@pytest.mark.parametrize("operations", [
    (boot, stop, start), (restart, reload, reload_units), (restart_rich, reload_rich), (recovery,),
], ids=lambda operations: "_".join(o.__name__ for o in operations))  # fmt: skip
def test_f14_a_manager_killed_at_any_call_of_an_operation_breaks_nothing(
    tmp_path: Path, operations: tuple[Operation, ...]
) -> None:
    last = sweep(tmp_path, operations)
    assert last > 10, "the points are not counted"
    print(f"{last - 1} points")

"""`make run`, as a person would see it: pages come, a killed instance is back, nothing is left."""
from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.request import HTTPCookieProcessor, Request, build_opener, urlopen

import pytest

from tests.places import let_in

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
NOBODY = 65534
PATIENCE_S = 30

pytestmark = pytest.mark.skipif(
    not (BIN / "unboxed-init").exists(),
    reason="unboxed is not installed beside this Python; `make test` installs it")


class Demo:
    """One `make run` without the make. `lines` is what it has said so far."""

    def __init__(self, scratch: Path, *, uid: int | None = None, terminal: bool = False) -> None:
        self.scratch = scratch
        self.lines: list[str] = []
        self._seen = 0
        env = {"PATH": os.defpath, "TMPDIR": str(scratch), "HOME": str(scratch), "TERM": "xterm"}
        command = [sys.executable, "-I", str(ROOT / "units/demo/run.py")]
        ours, theirs = pty.openpty() if terminal else os.pipe()
        self._said = ours
        self.process = subprocess.Popen(
            command, env=env, user=uid, group=uid, extra_groups=None if uid is None else [],
            stdin=theirs if terminal else subprocess.DEVNULL, stdout=theirs, stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal if terminal else None)  # noqa: PLW1509 - there are no threads
        os.close(theirs)
        self._rest = ""

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for a line after the last one waited for. Fails with all that was said when it does
        not come."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for line in self.lines[self._seen:]:
                self._seen += 1
                if found := re.search(pattern, line):
                    return found
            if not self._read():
                break
        raise AssertionError("\n".join([f"no line with {pattern}:", *self.lines]))

    def at_any_time(self, pattern: str) -> re.Match[str]:
        """Of all lines, before or after the last one waited for."""
        before, self._seen = self._seen, 0
        found = self.until(pattern)
        self._seen = max(before, self._seen)
        return found

    def _read(self) -> bool:
        try:
            data = os.read(self._said, 65536)
        except OSError:  # a pseudo-terminal's way to say end of file
            data = b""
        *whole, self._rest = (self._rest + data.decode(errors="replace")).split("\n")
        self.lines += whole
        return bool(data)

    def type(self, keys: bytes) -> None:
        os.write(self._said, keys)

    def ended(self) -> int:
        """Read to the end, and return the exit status."""
        while self._read():
            pass
        return self.process.wait(timeout=PATIENCE_S)

    @property
    def place(self) -> Path:
        (found,) = self.scratch.glob("unboxed-demo-*")
        return found

    def unboxed(self, *words: str) -> str:
        script = f'. {self.place}/env; exec unboxed "$@"'
        return subprocess.run(
            ["/bin/sh", "-c", script, "unboxed", *words], check=True, capture_output=True,
            text=True, timeout=PATIENCE_S).stdout

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._said)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A temporary directory that anybody may come into and make files in."""
    let_in(tmp_path)
    made = tmp_path / "t"
    made.mkdir()
    made.chmod(0o1777)
    return made


@pytest.fixture
def start(scratch: Path) -> Iterator[Callable[..., Demo]]:
    made: list[Demo] = []

    def begin(*, uid: int | None = None, terminal: bool = False) -> Demo:
        made.append(Demo(scratch, uid=uid, terminal=terminal))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def page(url: str, form: str | None = None) -> str:
    with urlopen(Request(url, form.encode() if form else None), timeout=20) as answer:  # noqa: S310 - loopback
        text: str = answer.read().decode()
        return text


def page_after_token(url: str) -> str:
    """What a browser shows that is sent on with a cookie."""
    browser = build_opener(HTTPCookieProcessor(CookieJar()))
    with browser.open(url, timeout=20) as answer:
        text: str = answer.read().decode()
        return text


def shop_of(demo: Demo) -> str:
    return demo.until(r"The shop +(http://\S+)/")[1]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids_of(demo: Demo) -> list[int]:
    found = json.loads(demo.unboxed("status", "--json"))
    return [one["pid"] for one in found["instances"] if one["pid"]]


def read_only(pid: int) -> bool:
    """Whether the root of what a process sees is."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    (root,) = (row for row in map(str.split, lines) if row[4] == "/")
    return "ro" in root[5].split(",")


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def wait_for(there: Callable[[], bool]) -> None:
    """For what no line tells of."""
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.05)


def left_behind(scratch: Path, pids: list[int]) -> list[object]:
    return [*scratch.iterdir(), *(pid for pid in pids if alive(pid))]


WHO = [
    pytest.param(None, id="as whoever runs the tests"),
    pytest.param(NOBODY, id="as an ordinary user"),
]


@pytest.mark.parametrize("uid", WHO)
def test_the_shop_opens_survives_a_kill_and_leaves_nothing(
    start: Callable[..., Demo], scratch: Path, uid: int | None
) -> None:
    if uid is not None:
        if os.geteuid() != 0:
            pytest.skip("only root can become another user")
        setpriv = shutil.which("setpriv")
        assert setpriv is not None
        look = [setpriv, f"--reuid={uid}", "--clear-groups", "test", "-r", str(BIN / "unboxed")]
        if subprocess.run(look, check=False).returncode != 0:
            pytest.skip(f"an ordinary user may not read {BIN}")
    demo = start(uid=uid)
    url = shop_of(demo)
    figures = demo.until(r"Figures +(http://\S+)")[1]
    lacking = demo.until(r"The dashboard +(?:there is none: (.+)|says below)")[1]
    demo.until(r"^demo: up")
    if lacking:
        assert "other users may not use" in lacking, "a checkout that is root's alone"
    else:
        address = demo.at_any_time(r"^open (http://\S+token=\S+)")[1]  # the dashboard's own word
        assert "<title>unboxed</title>" in page_after_token(address)

    said = re.search(r"instance (\d)", page(url + "/"))
    assert said is not None
    rows = {one["key"]: one for one in json.loads(demo.unboxed("status", "--json"))["instances"]}
    victim = rows[f"web/{said[1]}"]["pid"]
    units = {"web/0", "web/1", "worker", "exporter", "logtail"} | (
        set() if lacking else {"dashboard"})
    assert {key for key, row in rows.items() if row["pid"]} == units
    for key in units:
        if not any("sandbox.write" in words for words in rows[key]["missing_sandbox"]):
            assert read_only(rows[key]["pid"]), f"{key} could change this host's files"
    agents = sorted(units & {"logtail", "dashboard"})  # those that get logs
    if uid is None and os.geteuid() == 0:
        users = {
            key: Path(f"/proc/{row['pid']}").stat().st_uid for key, row in rows.items()
            if row["pid"]}
        assert users["web/0"] == users["worker"] == NOBODY
        strangers = {0, NOBODY, *(users[key] for key in agents)}
        assert len(strangers) == 2 + len(agents), "none is root, the shop or another one"
    os.kill(victim, signal.SIGKILL)
    assert all("Good things" in page(url + "/") for _ in range(10)), "none is refused meanwhile"
    demo.until(r"^web/\d: up")
    order = page(url + "/orders", "product=mug&quantity=1&email=ada%40example.org")
    assert "received" in order

    text = page(figures)
    for line in ('shop_up{instance="0"} 1', 'shop_up{instance="1"} 1', "shop_orders_total 1",
                 'exporter_source_up{source="supervisor"} 1'):
        assert line in text.splitlines()
    assert "finished" in demo.unboxed("status", "migrate")
    report = demo.place / "report" / "requests.txt"
    wait_for(lambda: "requests=" in read(report) and "mails=1" in read(report))
    rows = {one["key"]: one for one in json.loads(demo.unboxed("status", "--json"))["instances"]}
    assert (rows["logtail"]["state"], rows["logtail"]["restarts"]) == ("running", 0)

    pids = pids_of(demo)
    assert victim not in pids
    assert len(pids) == len(units)
    token = Path("/run", demo.place.name)
    if uid is None and os.geteuid() == 0 and not lacking:
        assert os.path.lexists(token), "the dashboard's own directory"
    demo.process.send_signal(signal.SIGTERM)
    assert demo.ended() == 0
    assert left_behind(scratch, pids) == []
    assert not os.path.lexists(token)


def test_a_port_that_is_taken_is_said_and_the_next_one_used(start: Callable[..., Demo]) -> None:
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taker.bind(("127.0.0.1", 8080))
            taker.listen(1)
        except OSError:
            pass  # somebody else has it: as good
        demo = start()
        assert demo.until(r"port 8080 is taken, so web listens on (\d+)")[1] != "8080"
        url = shop_of(demo)
        demo.until(r"^demo: up")
        assert "Good things" in page(url + "/")
        demo.process.send_signal(signal.SIGINT)
        assert demo.ended() == 0


def test_on_a_terminal_ctrl_c_ends_everything_in_order(
    start: Callable[..., Demo], scratch: Path
) -> None:
    demo = start(terminal=True)
    url = shop_of(demo)
    demo.until(r"web/1.*(up|running|ready)")
    assert "Good things" in page(url + "/")
    pids = pids_of(demo)
    demo.type(b"\x03")
    assert demo.ended() == 0
    assert left_behind(scratch, pids) == []

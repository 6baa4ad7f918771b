"""`unboxed learn`: what it finds is enough for the same work at level strict, and for no other."""
from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.kernel.sandbox.facts import facts
from tests.scenario.sandbox.kit import written
from tests.stack import ROOT, Stack

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not facts().root or facts().landlock < 4,
    reason="needs root, and Landlock's rules for ports (ABI 4, Linux 6.7)",
)
SERVER = """
import http.server, os, urllib.parse

class Handler(http.server.SimpleHTTPRequestHandler):
    def do_POST(self):
        with open(urllib.parse.unquote(self.path), "w") as file:
            file.write("posted")
        self.send_response(201)
        self.end_headers()

    def do_PUT(self):  # what it was never seen to do
        try:
            done = os.posix_spawn("/bin/true", ["true"], {})
        except OSError:
            done = 0
        self.send_response(200 if done else 403)
        self.end_headers()

os.chdir(os.environ["SITE"])
http.server.HTTPServer(("127.0.0.1", int(os.environ["SITE_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def site() -> Iterator[Path]:
    """A directory that a private /tmp does not hide, and that any user may read."""
    made = Path(tempfile.mkdtemp(prefix="unboxed-learn-", dir="/srv"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def public(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o644)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def learn(stack: Stack, *words: str) -> subprocess.Popen[str]:
    where = ["--runtime-dir", str(stack.runtime)]
    return subprocess.Popen(
        [sys.executable, "-m", "supervisor.cli", *where, "learn", *words], cwd=ROOT,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(learner: subprocess.Popen[str], code: int = 0) -> str:
    out, err = learner.communicate(timeout=50)
    assert learner.returncode == code, err
    return out if code == 0 else err


def ask(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Status and body; 0: no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def drop_in(stack: Stack, name: str, text: str) -> None:
    folder = stack.units / f"{name}.toml.d"
    folder.mkdir(mode=0o755)
    public(folder / "learned.toml", text)
    stack.call("ReloadUnits")


def test_a_server_does_under_strict_what_it_did_while_it_was_learned_and_nothing_else(
    tmp_path: Path, site: Path
) -> None:
    port = free_port()
    for name in ("app", "www"):  # Python lists the directory that a script is in
        (site / name).mkdir(mode=0o755)
    public(site / "app" / "server.py", SERVER)
    public(site / "www" / "page.html", "hello")
    public(site / "www" / "other.html", "not served then")
    unit = (
        f'autostart = false\ncommand = ["{shutil.which("python3", path="/usr/bin:/bin")}",'
        f' "{site}/app/server.py"]\nenv = {{ SITE = "{site}/www", SITE_PORT = "{port}" }}\n'
        '[sandbox]\nstate = ["unboxed-learn"]\n'
    )
    with Stack(tmp_path, {"site": unit}) as stack, kept("unboxed-learn"):
        learner = learn(stack, "site")
        stack.wait("site", "running")
        stack.until(lambda: ask(port, "/page.html") == (200, b"hello"), "its page")
        assert ask(port, "/var/lib/unboxed-learn/new", "POST")[0] == 201
        learner.send_signal(signal.SIGINT)
        found = finish(learner)
        stack.wait("site", "stopped")
        assert f'listen = ["tcp:{port}"]' in found
        assert f'"{site}/www/page.html"' in found
        assert '"exec"' not in found

        drop_in(stack, "site", found)
        stack.call("Start", units=["site"])
        stack.wait("site", "running")
        stack.until(lambda: ask(port, "/page.html") == (200, b"hello"), "its page under strict")
        assert ask(port, "/var/lib/unboxed-learn/newer", "POST")[0] == 201
        assert ask(port, "/other.html")[0] == 404  # it is there, but nobody asked for it then
        assert ask(port, f"{site}/www/other", "POST")[0] == 0  # refused: the handler raised
        assert ask(port, "/x", "PUT")[0] == 403  # it started no program


@contextlib.contextmanager
def kept(name: str) -> Iterator[None]:
    """Remove the directories that a unit of this test keeps."""
    try:
        yield
    finally:
        for top in ("/var/lib", "/var/lib/private"):
            path = Path(top, name)
            if path.is_symlink():
                path.unlink()
            elif path.is_dir():
                shutil.rmtree(path)


def test_children_and_what_they_execute_are_learned_too(tmp_path: Path, site: Path) -> None:
    public(site / "words", "one two\n")
    script = public(site / "job.sh", "#!/bin/sh\nwc -w < words | (read n; echo found $n)\n")
    script.chmod(0o755)
    more = public(site / "more.sh", "#!/bin/sh\n/bin/id && echo escaped\necho over\n")
    more.chmod(0o755)
    head = f'autostart = false\nkind = "task"\ndirectory = "{site}"\n'
    unit = f'{head}command = ["/bin/sh", "{script}"]\n'
    with Stack(tmp_path, {"job": unit}) as stack:
        found = finish(learn(stack, "job"))  # until it ends
        for path in ("/words", "/job.sh"):
            assert f'"{site}{path}"' in found
        assert '"proc",  # ' in found
        assert '"exec",  # execve' in found
        assert "/wc" in found

        drop_in(stack, "job", found)
        stack.call("Start", units=["job"])
        written(stack, "job", "found 2\nfound 2\n")
        stack.write("job", f'{head}command = ["/bin/sh", "-c", "cat words; . ./more.sh"]\n')
        public(stack.units / "job.toml.d" / "zz.toml", f'[sandbox]\nread = ["{site}"]\n')
        stack.call("ReloadUnits")
        stack.call("Start", units=["job"])
        assert "escaped" not in written(stack, "job", "over\n")


def test_a_unit_is_stopped_when_nobody_learns_it_any_more(tmp_path: Path) -> None:
    """Or it would wait in its next call for ever."""
    with Stack(tmp_path, {"nap": 'autostart = false\ncommand = ["/bin/sleep", "1000"]\n'}) as stack:
        learner = learn(stack, "nap")
        stack.wait("nap", "running")
        learner.kill()
        learner.communicate()
        row = stack.wait("nap", "stopped")
        assert row["reason"] == "who learned it has left"
        stack.call("Start", units=["nap"])  # as itself again
        pid = stack.wait("nap", "running")["pid"]
        assert not Path(f"/proc/{pid}/fd/256").exists()


def test_a_unit_is_stopped_when_the_manager_that_knew_its_learner_is_gone(tmp_path: Path) -> None:
    with Stack(tmp_path, {"nap": 'autostart = false\ncommand = ["/bin/sleep", "1000"]\n'}) as stack:
        learner = learn(stack, "nap")
        stack.wait("nap", "running")
        os.kill(stack.manager, signal.SIGKILL)
        assert "cannot hear the answer" in finish(learner, 1)
        stack.until(lambda: stack.answers() and stack.row("nap")["state"] == "stopped", "its stop")


def test_what_cannot_be_learned_is_refused_by_name(tmp_path: Path) -> None:
    units = {
        "nap": 'command = ["/bin/sleep", "1000"]\n',
        "none": 'autostart = false\ncommand = ["/bin/none"]\n',
        "all": 'kind = "group"\nmembers = ["nap"]\n',
    }
    with Stack(tmp_path, units) as stack:
        pid = stack.wait("nap", "running")["pid"]
        assert "cannot learn nap: it runs; stop it before" in finish(learn(stack, "nap"), 1)
        assert stack.row("nap")["pid"] == pid
        why = finish(learn(stack, "none"), 1)
        assert "cannot learn none: it did not start: " in why
        stack.wait("none", "stopped")
        assert "--force" in finish(learn(stack, "nap", "--force"), 2)
        assert "write a duration" in finish(learn(stack, "nap", "--for", "soon"), 2)


def test_it_is_written_as_a_drop_in_once(tmp_path: Path) -> None:
    with Stack(tmp_path, {"nap": 'command = ["/bin/sleep", "1000"]\n'}) as stack:
        stack.wait("nap", "running")
        words = ("nap", "--restart", "--for", "1s", "--write")
        path = stack.units / "nap.toml.d" / "learned.toml"
        assert f"wrote {path}" in finish(learn(stack, *words))
        first = path.read_text()
        assert 'level = "strict"' in first
        assert path.stat().st_mode & 0o777 == 0o644
        stack.call("Start", units=["nap"])
        pid = stack.wait("nap", "running")["pid"]
        assert f"cannot learn nap: {path} is there already" in finish(learn(stack, *words), 1)
        assert path.read_text() == first
        assert stack.row("nap")["pid"] == pid  # not stopped for nothing
        assert "wrote" in finish(learn(stack, *words, "--force"))
        stack.call("ReloadUnits")
        stack.call("Start", units=["nap"])
        definition = stack.call("Describe", unit="nap")["definition"]
        assert definition["sandbox.level"] == '"strict"'

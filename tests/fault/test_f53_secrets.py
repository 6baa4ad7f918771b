"""Fault 53: a secret is in its own unit's memory file system, and nowhere else: no environment, no
command line, no answer of the supervisor, no log, no file of its own, none of its processes'
memory, no other unit's view."""
from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import let_in
from tests.scenario.sandbox.kit import written
from tests.stack import ROOT, Stack, _children

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, others' memory")
LEVELS = ("base", "app", "strict")
_MAPPED = 64 << 20  # of one read


def owner(level: str, file: Path) -> str:
    script = "sha256sum < $CREDENTIALS_DIRECTORY/db; exec sleep 1000"
    promises = 'promises = ["stdio", "rpath", "exec", "proc"]\nread = ["/usr", "/bin"]\n'
    return (
        f"command = ['/bin/sh', '-c', '{script}']\nuser = 'nobody'\n[secrets]\ndb = '{file}'\n"
        f"[sandbox]\nlevel = '{level}'\n"
        + (promises + 'exec = ["/usr", "/bin", "@self"]\n' if level == "strict" else "")
    )


def other(level: str) -> str:
    """Of the same user. Looks for files that are called as the secret is, and into them."""
    script = (
        "find / -xdev -name db -path '*secrets*' 2>/dev/null | while read f; do cat \"$f\"; done; "
        "grep -rs . /run /proc/[0-9]*/environ /proc/[0-9]*/root/run 2>/dev/null | head -c 4000000;"
        " echo looked; exec sleep 1000"
    )
    return (
        f"command = ['/bin/sh', '-c', {json.dumps(script)}]\nuser = 'nobody'\n"
        f"[sandbox]\nlevel = '{level}'\n"
    )


@pytest.fixture
def secret(tmp_path: Path) -> bytes:
    let_in(tmp_path)
    text = secrets.token_hex(32).encode()
    (tmp_path / "db").write_bytes(text)
    (tmp_path / "db").chmod(0o600)
    return text


@pytest.fixture
def stack(tmp_path: Path, secret: bytes) -> Iterator[Stack]:
    units = {f"own-{level}": owner(level, tmp_path / "db") for level in LEVELS}
    units |= {f"other-{level}": other(level) for level in ("off", "base", "app")}
    with Stack(tmp_path, units, start=[f"own-{level}" for level in LEVELS]) as running:
        for level in LEVELS:  # they have it
            digest = hashlib.sha256(secret).hexdigest()
            assert digest in written(running, f"own-{level}", " ")
        yield running


def test_no_process_shows_it(stack: Stack, secret: bytes) -> None:
    seen = 0
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        for file in ("environ", "cmdline", "status", "mountinfo"):
            try:
                text = Path(f"/proc/{pid}/{file}").read_bytes()
            except OSError:
                continue  # it has ended
            assert secret not in text, (pid, file)
            seen += 1
    assert seen > 40
    pid = stack.row("own-app")["pid"]
    assert b"CREDENTIALS_DIRECTORY=" in Path(f"/proc/{pid}/environ").read_bytes()  # it was readable


def test_the_supervisor_says_it_to_nobody(stack: Stack, secret: bytes) -> None:
    word = secret.decode()
    for level in LEVELS:
        name = f"own-{level}"
        for method in ("Describe", "Explain", "Why"):
            said = json.dumps(stack.call(method, unit=name))
            assert name in said or "secrets" in said
            assert word not in said
    assert word not in json.dumps(stack.call("Status"))
    for event in stack.replies("Events"):
        assert word not in json.dumps(event)
        break
    for words in (["status"], ["status", "own-app"], ["explain", "own-app"], ["logs", "own-app"],
                  ["logs", "unboxed"], ["audit", "own-app"]):
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.cli", "--runtime-dir", str(stack.runtime), *words],
            cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.stdout, (words, done.stderr)
        assert word not in done.stdout + done.stderr, words


def test_no_file_of_the_supervisor_has_it(stack: Stack, secret: bytes) -> None:
    """Journal, event log, logs, runtime directory, and its own error output."""
    stack.call("Restart", units=["own-app"], wait=True)
    found = [path for path in stack.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(found) > 10
    having = [path for path in found if secret in path.read_bytes()]
    assert having == [stack.home / "db"]


def test_none_of_its_processes_has_it_in_memory(stack: Stack, secret: bytes) -> None:
    """Neither keeper, manager, logger nor holder, so no core dump of theirs either."""
    assert stack.process is not None
    services = {row["pid"] for row in stack.rows().values()}
    own = {stack.keeper, *_children(stack.keeper)} - services
    assert {stack.keeper, stack.manager, stack.logger} <= own
    for pid in own:
        assert not holds(pid, secret), Path(f"/proc/{pid}/cmdline").read_bytes()
    path = str(stack.home / "db").encode()
    assert holds(stack.manager, path)  # its file's name is found there, so this finds what there is


def holds(pid: int, needle: bytes) -> bool:
    """Whether any readable memory of a process has these bytes."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            first, end = (int(part, 16) for part in span.split("-"))
            if "r" not in rights or end - first > _MAPPED or "[v" in line:
                continue
            try:
                memory.seek(first)
                if needle in memory.read(end - first):
                    return True
            except OSError:
                continue  # unmapped meanwhile
    return False


def test_no_other_unit_sees_it(stack: Stack, secret: bytes) -> None:
    """Also one of the same user, at the least level."""
    for level in ("off", "base", "app"):
        stack.call("Start", units=[f"other-{level}"], wait=True)
        text = written(stack, f"other-{level}", "looked")
        assert secret.decode() not in text, level

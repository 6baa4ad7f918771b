"""What every refusal is held to: one clear message, and nothing half done."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.stack import PATIENCE, ROOT, Stack, command_line

SLEEP = 'command = ["/bin/sleep", "1000"]\n'
NOBODY = 65534
# cannot VERB OBJECT: reason; what happens next
MESSAGE = re.compile(r"cannot [a-z]+ [^:\n]+: [^;\n]+(; [^;\n]+)+")
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def refused(stack: Stack, prefix: Sequence[str] = ()) -> str:
    """The one message of a supervisor that does not begin; nothing of it runs."""
    ran = subprocess.run(
        [*prefix, *stack.argv()], capture_output=True, text=True, check=False, timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout == ""
    message = ran.stderr.removesuffix("\n")
    assert MESSAGE.fullmatch(message), message
    assert message.endswith("; nothing was started")
    assert not running(stack)
    return message


def running(stack: Stack) -> list[str]:
    """Command lines of all processes that name the stack's directory."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    lines = [command_line(pid) for pid in pids if pid != os.getpid()]
    return [line for line in lines if str(stack.home) in line and "pytest" not in line]


def said(stack: Stack, about: str) -> list[str]:
    """The lines on standard error that name `about`."""
    return [line for line in stack.errors.read_text().splitlines() if about in line]


def heard(stack: Stack, about: str) -> str:
    """The one line on standard error that names `about`, as soon as it is there."""
    stack.until(lambda: said(stack, about), f"a word about {about}")
    lines = said(stack, about)
    assert len(lines) == 1, lines
    return lines[0]


def unboxed(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The command line, in an environment that leads to nobody else's supervisor."""
    env = {
        **os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
        "UNBOXED_RUNTIME_DIR": str(home / "rt"), "UNBOXED_STATE_DIR": str(home / "state"),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "supervisor.cli", *words],
        env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip


def tree(folder: Path) -> dict[str, bytes]:
    """Every path below, with the content of regular files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def open_to_all(path: Path) -> None:
    """Let an ordinary user come by here."""
    for folder in (path, *path.parents):
        if folder.stat().st_mode & 0o011 != 0o011:
            folder.chmod(folder.stat().st_mode | 0o011)

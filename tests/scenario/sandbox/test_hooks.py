"""Commands around a service are under its sandbox: those before it in one of their own, those that
come while it runs among its processes."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenario.sandbox.kit import written
from tests.stack import Stack

SH = '"/bin/sh", "-c"'
FACTS = "echo $STATE_DIRECTORY; grep -E 'Seccomp:|CapBnd|NSpid' /proc/self/status |"
FACTS += " tr '\\\\n\\\\t' '  '; id -u; hostname"
BOX = (
    '[sandbox]\nprocesses = "own"\nhostname = "boxed"\nstate = ["unboxed-test-hooks"]\n'
    'promises = ["stdio", "rpath", "exec", "proc"]\n'
)


STATE = Path("/var/lib/unboxed-test-hooks")


@pytest.fixture
def cleared() -> Iterator[None]:
    yield
    if STATE.exists():
        STATE.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.usefixtures("cleared")
def test_every_hook_is_confined_as_its_service_is(tmp_path: Path) -> None:
    text = (
        f'user = "nobody"\ncommand = [{SH}, "trap \'echo told; exit 0\' HUP; echo main; '
        'while :; do sleep 0.05; done"]\n'
        f'[start]\nbefore = [[{SH}, "echo before; {FACTS}"]]\n'
        f'after = [[{SH}, "echo after; {FACTS}"]]\n'
        f'[stop]\ncommand = [{SH}, "echo stop; {FACTS}; kill -HUP 2"]\n'
        f'[reload]\ncommand = [{SH}, "echo reload; {FACTS}; kill -0 2 && echo sees"]\n{BOX}'
    )
    with Stack(tmp_path, {"web": text}) as stack:
        stack.wait("web", "running")
        stack.call("Reload", units=["web"], wait=True)
        written(stack, "web", "sees")  # the main process, in its pid namespace
        stack.call("Stop", units=["web"], wait=True)
        said = written(stack, "web", "told")
        for name in ("before", "after", "reload", "stop"):
            rest = said[said.index(f"{name}\n") :].splitlines()
            assert rest[1] == str(STATE), name
            words = rest[2].split()
            assert words[words.index("Seccomp:") + 1] == "2", name
            assert int(words[words.index("CapBnd:") + 1], 16) == 0, name
            assert int(words[words.index("NSpid:") + 1]) < 100, name  # as its own /proc has it
            assert words[-1] == "65534", name
            assert rest[3] == "boxed", name
        assert stack.row("web")["reason"].startswith("stopped by uid")

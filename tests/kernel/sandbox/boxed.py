"""A program in a sandbox as units have it: a policy, this kernel, and the real keeper."""
from __future__ import annotations

import atexit
import errno
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.kernel import plan
from supervisor.kernel.calls import lead
from supervisor.kernel.plan import Identity, Launch, Step
from supervisor.kernel.sandbox import compile as sandbox
from supervisor.kernel.sandbox.facts import facts
from supervisor.kernel.sandbox.part import Context
from supervisor.model.policy import Policy, resolve
from supervisor.model.sandbox import Network, Sandbox
from supervisor.model.unit import Unit
from tests.keeper.keeperclient import Peer
from tests.native import probe
from tests.native.probe import NOBODY, World

PYTHON = "/usr/bin/python3"
ROOT = Identity("root", 0, 0, (), "/", "")
SOMEBODY = Identity("nobody", NOBODY, NOBODY, (), "/", "")
# For tests of level app where no part is to make a group of devices, or look for one.
HERE = facts()._replace(devices_v1="")
_RUNTIME = tempfile.mkdtemp(prefix="boxed-run-", dir="/run") if HERE.root else ""
_numbers = itertools.count(1)

atexit.register(shutil.rmtree, _RUNTIME, ignore_errors=True)


class Failed(Exception):
    """The step of the launch that failed, and its errno's name."""

    def __init__(self, step: Step, error: int) -> None:
        super().__init__(plan.describe(step), errno.errorcode[error])


class Ended(NamedTuple):
    text: str  # what it wrote
    signal: int  # that killed it, or 0


def context(identity: Identity = ROOT, program: str = PYTHON, **more: Any) -> Context:
    base = Context(
        HERE, "unit", "unit", identity, program, (program,), "/", _RUNTIME, "/var/lib", "", ()
    )
    return base._replace(**more)


def policy(
    box: Sandbox | None = None, network: Network | None = None, user: str = "nobody", **more: Any
) -> Policy:
    return resolve(Unit("unit", user=user, sandbox=box, network=network, **more))


def run(manager: Peer, confined: Policy, ctx: Context, command: Sequence[str]) -> Ended:
    """Raises Failed if it was not started."""
    box = sandbox.confine(confined, ctx)
    with tempfile.TemporaryDirectory(prefix="boxed-") as folder:
        written = Path(folder) / "written"
        written.touch()
        launch = Launch(
            tuple(command), ctx.program, (("LANG", "C"),), ctx.identity,
            confinement=box.confinement, opens=((1, os.O_WRONLY, str(written)),),
            no_new_privs=confined.no_new_privileges,
        )  # fmt: skip
        steps = plan.compile(launch)
        number = next(_numbers)
        encoded = plan.encode(steps)
        manager.spawn(number, f"unit{number}", encoded)
        started = manager.started(number)
        ended = manager.exited(number)
        if started.op != "EXECED":
            _, at, _, error = started.ints("iIIi")
            raise Failed(steps[at - lead(encoded)], error)
        return Ended(written.read_text(), ended.status if ended.code == 2 else 0)


HEAD = """
import ctypes, errno, json, os, socket, sys
def say(value):
    os.write(1, json.dumps(value).encode())
def tried(call, *args):
    try:
        call(*args)
    except OSError as exc:
        return errno.errorcode[exc.errno]
    return "ok"
"""


def python(manager: Peer, confined: Policy, code: str, ctx: Context | None = None) -> Any:
    """What this code, which has tried(CALL, ARGUMENT...), gave to say()."""
    command = (PYTHON, "-I", "-S", "-c", HEAD + code)
    ended = run(manager, confined, ctx or context(SOMEBODY), command)
    return json.loads(ended.text)


def probed(manager: Peer, world: World, confined: Policy, ctx: Context) -> dict[str, str]:
    """The outcome of each of the probe's actions in this sandbox."""
    command = world.command("--all")
    ended = run(manager, confined, ctx._replace(program=command[0]), command)
    return probe.parse(ended.text)

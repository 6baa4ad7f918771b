"""What a program sees of the file system in a view, launched by the real keeper."""
from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

from supervisor.kernel.calls import lead
from supervisor.kernel.plan import Identity, Step, encode
from supervisor.kernel.sandbox import namespaces, view
from supervisor.kernel.sandbox.facts import facts
from supervisor.kernel.sandbox.part import Context
from supervisor.model.policy import Policy, resolve
from supervisor.model.sandbox import Network, Sandbox
from supervisor.model.unit import Unit
from tests.keeper.keeperclient import Peer

PYTHON = "/usr/bin/python3"
ROOT = Identity("root", 0, 0, (), "/root", "/bin/sh")
USER = Identity("web", 61300, 61300, (), "/", "")
_numbers = itertools.count(1)
_HEAD = """
import errno, json, os, stat, sys
def tried(call, *args, **named):
    try:
        found = call(*args, **named)
    except OSError as exc:
        return errno.errorcode[exc.errno]
    return found if isinstance(found, (str, list, int)) and not isinstance(found, bool) else "ok"
def write(path, text="x"):
    with open(path, "w") as file:
        file.write(text)
def read(path):
    with open(path) as file:
        return file.read()
def mounts():
    return {line.split()[4]: line.split()[5].split(",") for line in open("/proc/self/mountinfo")}
seen = {}
"""


class Failed(Exception):
    """A step of the launch: the call and its words, the errno."""


def policy(box: Sandbox | None = None, network: Network | None = None, **more: Any) -> Policy:
    return resolve(Unit("web", sandbox=box, network=network, **more))


def context(runtime: Path, identity: Identity = USER, **more: Any) -> Context:
    base = Context(
        facts(), "web", "web/0", identity, PYTHON, (PYTHON,), "/", str(runtime), str(runtime), "",
        (),
    )  # fmt: skip
    return base._replace(**more)


def steps_of(found: Policy, ctx: Context, code: str) -> list[Step]:
    part = view.part(found, ctx)
    assert not part.missing
    who = namespaces.inside(found, ctx, ctx.identity)
    born = namespaces.part(found, ctx)
    steps = [Step("SIGNALS", (0,)), Step("SESSION"), Step("UMASK", (0o077,)), *part.first]
    steps += namespaces.birth(part.holds | born.holds, born.joins, False, found, ctx)
    steps += (*born.setup, *part.setup)
    if who.uid is not None:
        steps += (Step("GROUPS", who.groups), Step("GID", (who.gid,)), Step("UID", (who.uid,)))
    env = ("PATH=/usr/bin:/bin", *(f"{name}={value}" for name, value in part.env))
    command = (ctx.program, "python3", "-I", "-S", "-c", code)
    steps += (
        Step("DIRECTORY", (ctx.directory,)), Step("ENV", env), Step("SENT_FD", (1, 0)),
        Step("CLOSE_FROM", (3,)), Step("NO_NEW_PRIVS"), Step("EXEC", command),
    )  # fmt: skip
    return steps


def look(manager: Peer, found: Policy, ctx: Context, code: str, *, prepare: bool = True) -> Any:
    """What the code puts into `seen`. Raises Failed if a step fails."""
    if prepare:
        view.prepare(found, ctx)
    for name, make in view.part(found, ctx).stores:
        fd = make()
        assert manager.put(name, fd) == 0
        os.close(fd)
    steps = steps_of(found, ctx, f"{_HEAD}{code}\nos.write(1, json.dumps(seen).encode())")
    plan, launch = encode(steps), next(_numbers)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    manager.spawn(launch, f"web/{launch}", plan, [writer])
    os.close(writer)
    answer = manager.started(launch)
    with open(reader, "rb") as file:
        text = file.read()
    record = manager.exited(launch)
    if answer.op != "EXECED":
        _, at, _, error = answer.ints("iIIi")
        step = steps[at - lead(plan)]
        raise Failed(step.args[0], step.args[-1], os.strerror(error))
    assert record.status == 0, text
    return json.loads(text)

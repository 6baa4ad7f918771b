"""One launch by the real keeper under parts of a sandbox, and what its process saw."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from supervisor.kernel.calls import lead
from supervisor.kernel.plan import Identity, Step, encode
from supervisor.kernel.sandbox import namespaces
from supervisor.kernel.sandbox.facts import facts
from supervisor.kernel.sandbox.part import Context, Part
from supervisor.model.policy import Policy
from tests.keeper.keeperclient import Keeper, Peer

STAY = Identity("root", None, 0, (), "/root", "/bin/sh")
_TELL = "import json, os, sys\nseen = {}\n%s\nos.write(1, json.dumps(seen).encode())"


class Failed(Exception):
    """A step of the launch: its name, the call, the errno."""


class Running(NamedTuple):
    """A service that reads its standard input until it is to end."""

    stage: Stage
    launch: int
    pid: int
    output: int
    input: int

    def line(self) -> Any:
        """The next line it writes, as JSON."""
        text = b""
        while not text.endswith(b"\n"):
            more = os.read(self.output, 65536)
            assert more, (text, self.stage.keeper.said())
            text += more
        return json.loads(text)

    def say(self, text: str) -> None:
        os.write(self.input, text.encode() + b"\n")

    def end(self) -> int:
        os.close(self.input)
        record = self.stage.manager.exited(self.launch)
        os.close(self.output)
        return record.status


class Stage:
    """`base`: the directory of units' groups, "" to be in none."""

    def __init__(self, keeper: Keeper, base: str = "") -> None:
        self.keeper = keeper
        self.manager: Peer = keeper.manager()
        self.launches = 0
        self.base = base
        if base:
            fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            assert self.manager.put("cgroup", fd) == 0
            os.close(fd)

    def context(self, runtime: str = "/run/unboxed", key: str = "web", **changes: Any) -> Context:
        group = f"{self.base}/{key.replace('/', '@')}" if self.base else ""
        made = Context(
            facts(), key.partition("/")[0], key, STAY, sys.executable, (), "/", runtime, runtime,
            group, (),
        )  # fmt: skip
        return made._replace(**changes)

    def start(
        self, code: str, policy: Policy, ctx: Context, *parts: Callable[[Policy, Context], Part]
    ) -> Running:
        """Python's `code` as a service. Raises Failed if a step fails."""
        found = [part(policy, ctx) for part in parts]
        assert not [one.missing for one in found if one.missing]
        steps = [Step("CGROUP", (os.path.basename(ctx.group),))] if ctx.group else []
        steps += [Step("SIGNALS", (0,)), Step("SESSION")]
        holds = joins = 0
        for part in found:
            steps += part.first
            holds, joins = holds | part.holds, joins | part.joins
        steps += namespaces.birth(holds, joins, False, policy, ctx)
        for part in found:
            steps += part.setup
        who = namespaces.inside(policy, ctx, ctx.identity)
        if who.uid is not None:
            steps += (Step("GROUPS", who.groups), Step("GID", (who.gid,)), Step("UID", (who.uid,)))
        steps += (
            Step("ENV", ("PATH=/usr/bin:/bin",)), Step("SENT_FD", (0, 0)), Step("SENT_FD", (1, 1)),
            Step("CLOSE_FROM", (3,)), Step("NO_NEW_PRIVS"),
            Step("EXEC", (sys.executable, "python3", "-I", "-S", "-c", code)),
        )  # fmt: skip
        stdin, stdout = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        self.launches += 1
        plan = encode(steps)
        self.manager.spawn(self.launches, ctx.key, plan, [stdin[0], stdout[1]])
        os.close(stdin[0])
        os.close(stdout[1])
        answer = self.manager.started(self.launches)
        if answer.op != "EXECED":
            os.close(stdin[1])
            os.close(stdout[0])
            if answer.op == "REFUSED":
                raise Failed("refused", os.strerror(answer.ints("i")[0]))
            _, at, _, errno = answer.ints("iIIi")
            self.manager.exited(self.launches)
            raise Failed(steps[at - lead(plan)], os.strerror(errno))
        return Running(self, self.launches, answer.ints("i")[0], stdout[0], stdin[1])

    def look(
        self, code: str, policy: Policy, ctx: Context, *parts: Callable[[Policy, Context], Part]
    ) -> dict[str, Any]:
        """What `code` puts into the dictionary `seen`."""
        running = self.start(_TELL % code, policy, ctx, *parts)
        text = b""
        while more := os.read(running.output, 65536):
            text += more
        assert running.end() == 0, self.keeper.said()
        found = json.loads(text)
        assert isinstance(found, dict)
        return found


@contextmanager
def stage(base: str = "") -> Iterator[Stage]:
    with Keeper() as keeper:
        yield Stage(keeper, base)


def until(test: Callable[[], object], what: str) -> None:
    """Wait for something that no event tells of."""
    deadline = time.monotonic() + 20
    while not test():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)

"""Policies and contexts for tests of single mechanisms: everything off but what is named."""

from __future__ import annotations

from typing import Any

from supervisor.kernel.plan import Identity
from supervisor.kernel.sandbox.facts import Facts
from supervisor.kernel.sandbox.part import Context
from supervisor.model.policy import Policy, resolve
from supervisor.model.sandbox import Network, Sandbox
from supervisor.model.unit import Unit

FACTS = Facts("x86_64", (6, 1), True, 2, True, True, True, True, "")
STAY = Identity("root", None, 0, (), "/root", "/bin/sh")


def policy(
    level: Any = "off", *, network: Network | None = None, user: str = "", **keys: Any
) -> Policy:
    box = Sandbox(level=level, **keys)
    return resolve(Unit("web", command=("/bin/true",), user=user, sandbox=box, network=network))


def context(facts: Facts = FACTS, **changes: Any) -> Context:
    base = Context(
        facts, "web", "web", STAY, "/bin/true", ("/bin/true",), "/", "/run/unboxed",
        "/var/lib/unboxed", "/sys/fs/cgroup/unboxed/units/web", (),
    )  # fmt: skip
    return base._replace(**changes)

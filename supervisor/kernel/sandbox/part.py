"""What each mechanism of the sandbox is given, and what it gives back.

A mechanism has `part(policy, ctx) -> Part`, which only looks (it serves `explain` as well), and may
have `prepare(policy, ctx)`, which makes what must be there before the launch. compile.py knows them
all, and the one order that is safe.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from supervisor.kernel.plan import Identity, Step
from supervisor.kernel.sandbox.facts import Facts
from supervisor.model.sandbox import Secret


class CannotConfine(Exception):
    """Words that follow "cannot start UNIT: "; they name the key and what would enforce it."""


class Context(NamedTuple):
    """One launch. `identity` is who it becomes, ids resolved (dynamic ones too)."""

    facts: Facts
    unit: str
    key: str  # of the instance
    identity: Identity
    program: str  # absolute path
    command: tuple[str, ...]
    directory: str
    runtime: str  # the supervisor's runtime directory
    state: str  # the supervisor's state directory
    group: str  # absolute path of its v2 cgroup, "" if it has none
    listens: tuple[str, ...]  # paths of unix sockets that must stay reachable (notify and the like)
    secrets: tuple[Secret, ...] = ()
    shows: tuple[str, ...] = ()  # directories of ours that it may read
    reaches: tuple[str, ...] = ()  # and those in which it may read by descriptors that it is handed
    main: int = 0  # the process whose pid namespace or /tmp it shares


class Part(NamedTuple):
    """`first`: what takes the host's own view and privileges, before all namespaces. `setup`,
    `settle`, `last`: see plan.Confinement. `mechanisms`: (key, what enforces it, with
    its limits), for explain. `missing`: (key, why not, and what would enforce it)."""

    first: tuple[Step, ...] = ()
    setup: tuple[Step, ...] = ()
    settle: tuple[Step, ...] = ()
    last: tuple[Step, ...] = ()
    mechanisms: tuple[tuple[str, str], ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    holds: int = 0  # CLONE_NEW... flags that a holder must have been born with
    joins: int = 0  # CLONE_NEW... flags that the first child unshares before it forks
    own_memory: bool = False  # the service needs a memory of its own before it executes
    # Descriptors that the keeper has to have stored before the launch: name, and what makes it.
    stores: tuple[tuple[str, Callable[[], int]], ...] = ()

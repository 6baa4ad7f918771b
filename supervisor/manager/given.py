"""What an agent is given at its launch: variables, and the descriptors that are sent along.

Loaded with the first unit that has `attach`. Who makes the descriptors, in this order: agents.py.
"""
from __future__ import annotations

import os
from typing import NamedTuple

from supervisor.model.paths import Paths
from supervisor.model.unit import Unit, receives

OF_MAIN = ("UNBOXED_ACK_FD", "UNBOXED_AGENT_FD")  # no hook has these descriptors


class Given(NamedTuple):
    """`sent`: target and meaning of each descriptor."""

    env: dict[str, str]
    sent: tuple[tuple[int, str], ...]


def given(unit: Unit, attached: tuple[str, ...], where: Paths, free: int) -> Given:
    """`attached`: units by name. `free`: the lowest descriptor that nothing else of its has."""
    env: dict[str, str] = {}
    sent: list[tuple[int, str]] = []
    env["UNBOXED_ATTACHED"] = " ".join(attached)
    if receives(unit, "logs"):
        sent.append((0, "the logs of what it is attached to"))
        if unit.agent is not None and unit.agent.cursor:
            env["UNBOXED_ACK_FD"] = str(free)
            sent.append((free, "the pipe for its acknowledgements"))
            free += 1
    if meets(unit):
        env["UNBOXED_AGENT_FD"] = str(free)
        sent.append((free, "the socket that brings descriptors of what it is attached to"))
    if receives(unit, "endpoints"):
        env["UNBOXED_ENDPOINTS"] = f"{shared(where)}/endpoints.json"
    if receives(unit, "metrics"):
        env["UNBOXED_STATUS"] = where.status
    return Given(env, tuple(sent))


def meets(unit: Unit) -> bool:
    """Whether it is told of each instance that comes and goes."""
    return receives(unit, "cgroup") or receives(unit, "pidfd")


def shared(where: Paths) -> str:
    """The directory of what every agent may read."""
    return f"{where.runtime}/shared"


def progress_file(where: Paths, key: str) -> str:
    return f"{where.runtime}/agents/{_flat(key)}.progress"


def forget_progress(where: Paths, key: str) -> None:
    try:
        os.unlink(progress_file(where, key))
    except OSError:
        pass  # it had none


def cursor_file(where: Paths, key: str) -> str:
    return f"{where.state}/agents/{_flat(key)}/cursor"


def _flat(key: str) -> str:
    return key.replace("/", "@")

"""What core asks for. The manager performs them in order and answers failures with events."""
from __future__ import annotations

from typing import Literal

from msgspec import Struct

from supervisor.model.state import Role


class Launch(Struct, frozen=True, gc=False):
    """Start the main process (`role` "") or the `hook`-th command of `role`."""

    key: str
    launch: int
    role: Role = ""
    hook: int = 0


class Signal(Struct, frozen=True, gc=False):
    """`scope` "main": only that launch's process; "all": everything in the instance."""

    key: str
    launch: int
    signal: int
    scope: Literal["all", "main"] = "main"


class KillAll(Struct, frozen=True, gc=False):
    """SIGKILL to everything in the instance at once (cgroup.kill)."""

    key: str


class Watch(Struct, frozen=True, gc=False):
    """Answer Empty as soon as no process of the instance is left (perhaps at once)."""

    key: str


class Drain(Struct, frozen=True, gc=False):
    """Take it out of its listeners; its open connections go on."""

    key: str


class Freeze(Struct, frozen=True, gc=False):
    key: str
    frozen: bool


class Measure(Struct, frozen=True, gc=False):
    """Answer Measured with the memory that the instance uses now."""

    key: str


class Release(Struct, frozen=True, gc=False):
    """The instance is down: its cgroup, notify socket and stored descriptors may go."""

    key: str


Action = Launch | Signal | KillAll | Watch | Drain | Freeze | Measure | Release

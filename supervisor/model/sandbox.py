"""What a unit file says of isolation: [sandbox], [network], secrets. Frozen and comparable.

None means that the key was not written: then the level decides (model.policy). Words that begin
with "@" in path lists are directories made for the unit, or parts of itself: `AT_WORDS`.
"""
from __future__ import annotations

from typing import Literal

from msgspec import Struct

Level = Literal["off", "base", "app", "strict"]
OnViolation = Literal["errno", "kill", "log"]

# @self: the program, its interpreter and loader, and the libraries they load.
AT_WORDS = ("@state", "@runtime", "@cache", "@logs", "@tmp", "@self")


class Opened(Struct, frozen=True, gc=False, omit_defaults=True):
    """A path opened by the supervisor and passed as descriptor `fd` (3 to 255)."""

    path: str
    fd: int
    mode: Literal["read", "write", "append", "read-write"] = "read"


class MappedRange(Struct, frozen=True, gc=False):
    """`count` ids from `inside` on are those from `outside` on (user_namespaces(7))."""

    inside: int
    outside: int
    count: int


class Users(Struct, frozen=True, gc=False, omit_defaults=True):
    """A user namespace. `map` empty: "auto", 65,536 ids that no other unit has (rootless: one)."""

    map: tuple[MappedRange, ...] = ()


class Sandbox(Struct, frozen=True, gc=False, omit_defaults=True):
    """`hostname`: "host", or the name in a namespace of its own ("own": the unit's name).
    `state`, `runtime`, `cache`, `logs`: names of directories below /var/lib, /run, /var/cache and
    /var/log. `devices`: paths; `gpus`: "all", or names like "nvidia0", "amd0"."""

    level: Level = "base"
    promises: tuple[str, ...] | None = None
    read: tuple[str, ...] | None = None
    write: tuple[str, ...] | None = None
    exec: tuple[str, ...] | None = None
    view: Literal["hide", "deny"] | None = None
    open: tuple[Opened, ...] = ()
    processes: Literal["host", "own", "hidden"] | None = None
    ipc: Literal["host", "own"] | None = None
    hostname: str | None = None
    time: Literal["host", "own"] | None = None
    cgroup: Literal["host", "own"] | None = None
    tmp: Literal["shared", "private"] | None = None
    state: tuple[str, ...] = ()
    runtime: tuple[str, ...] = ()
    cache: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    users: Users | None = None
    devices: tuple[str, ...] | None = None
    gpus: tuple[str, ...] = ()
    capabilities: tuple[str, ...] | None = None
    jit: bool | None = None
    on_violation: OnViolation = "errno"
    require: Literal["all", "best"] = "all"


class PortRule(Struct, frozen=True, gc=False, omit_defaults=True):
    """One entry of `listen` or `connect`. `port` 0: any. `network` "": any address, else CIDR."""

    protocol: Literal["tcp", "udp"] = "tcp"
    port: int = 0
    network: str = ""


class Network(Struct, frozen=True, gc=False, omit_defaults=True):
    """`listen`, `connect`, `unix` None: not limited (under `strict`: nothing). `address`: of a
    `private` network, the unit's own end in CIDR ("": chosen)."""

    mode: Literal["host", "none", "private"] = "host"
    listen: tuple[PortRule, ...] | None = None
    connect: tuple[PortRule, ...] | None = None
    unix: tuple[str, ...] | None = None
    address: str = ""


class Secret(Struct, frozen=True, gc=False, omit_defaults=True):
    """The file NAME in CREDENTIALS_DIRECTORY has the content of `file`."""

    name: str
    file: str

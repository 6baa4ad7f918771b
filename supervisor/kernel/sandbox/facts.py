"""What this kernel and this supervisor can enforce, found out by trying, once."""
from __future__ import annotations

from typing import NamedTuple


class Facts(NamedTuple):
    """`landlock`: its ABI, 0 where there is none. `root`: the supervisor has CAP_SYS_ADMIN in the
    first user namespace. `user_namespaces`: it may make one."""

    arch: str  # as os.uname().machine
    kernel: tuple[int, int]
    root: bool
    landlock: int
    seccomp: bool
    user_namespaces: bool
    time_namespaces: bool
    cgroup_bpf: bool  # programs on a v2 group: devices, addresses
    devices_v1: str  # the mounted v1 devices hierarchy, "" if there is none

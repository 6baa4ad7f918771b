"""What this kernel and this supervisor can enforce, found out by trying, once.

The tries are a child's: what they load (ctypes) and change (a user namespace) ends with it, so that
the supervisor stays as small as it was.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from supervisor.kernel.host import read, read_long

CAP_SYS_ADMIN = 21
_FIRST_USER_NAMESPACE = ["0", "0", "4294967295"]
_CREATE_RULESET, _VERSION = 444, 1  # landlock_create_ruleset, the same on x86-64 and arm64
_NUMBERS = {"x86_64": (317, 321, 250), "aarch64": (277, 280, 219)}  # seccomp, bpf, keyctl
_KEYCTL_JOIN_SESSION_KEYRING = 1
_SECCOMP_GET_ACTION_AVAIL, _SECCOMP_RET_KILL_PROCESS = 2, 0x80000000
_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
_MS_REC, _MS_SLAVE = 0x4000, 0x80000
# The same on x86-64 and arm64.
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
_CWD, _CLONE_ALL, _EMPTY_PATH, _DEEP, _CREATE, _FROM_FD = -100, 0x88001, 0x1000, 0x8000, 6, 4
_RIGHTS, _VIEWS, _PROC, _OWN_PROC = 1, 2, 4, 8  # what a try of mounts finds
_BPF_PROG_LOAD, _BPF_PROG_TYPE_CGROUP_DEVICE = 5, 15
_RETURN_1 = bytes.fromhex("b7000000010000009500000000000000")  # r0 = 1; exit


_TRIES = 6


class Facts(NamedTuple):
    """`landlock`: its ABI, 0 where there is none. `root`: the supervisor has CAP_SYS_ADMIN in the
    first user namespace, `first_users`: it is in that one. `user_namespaces`: it may make one, and
    has rights in it. `views`: it may mount as views do, by itself or in there; `proc`: also another
    /proc of its own pid namespace, by itself; `own_proc`: of a new one, in there (not below one
    that is masked, as containers have). `capabilities`: its
    effective ones; `inherited`: those that it hands down by itself; bit n for number n."""

    arch: str  # as os.uname().machine
    kernel: tuple[int, int]
    root: bool
    landlock: int
    seccomp: bool
    user_namespaces: bool
    time_namespaces: bool
    cgroup_bpf: bool  # programs on a v2 group: devices, addresses
    devices_v1: str  # the mounted v1 devices hierarchy, "" if there is none
    capabilities: int = 0
    inherited: int = 0
    last_capability: int = 40  # CAP_CHECKPOINT_RESTORE, Linux 5.9
    keyrings: bool = True  # containers often refuse keyctl
    uid: int = 0  # the supervisor's own
    first_users: bool = True
    views: bool = True
    proc: bool = True
    own_proc: bool = True


@cache
def facts() -> Facts:
    """This host's: tried at the first call, known at the next."""
    machine = os.uname()
    effective, inherited = held()
    first = read("/proc/self/uid_map").split() == _FIRST_USER_NAMESPACE
    administers = bool(effective >> CAP_SYS_ADMIN & 1)
    landlock, seccomp, programs, keyrings, inside, alone = _tried(machine.machine, administers)
    return Facts(
        machine.machine,
        release(machine.release),
        administers and first,
        landlock,
        bool(seccomp),
        bool(inside & _RIGHTS),
        os.path.exists("/proc/self/ns/time_for_children"),
        bool(programs),
        devices_v1(read_long("/proc/self/mountinfo")),
        effective,
        inherited,
        last_capability(),
        bool(keyrings),
        os.geteuid(),
        first,
        bool(alone & _VIEWS),
        bool(alone & _PROC),
        bool(inside & _OWN_PROC),
    )


def held() -> tuple[int, int]:
    """The supervisor's effective capabilities, and those that it hands down at execve."""
    known = dict(line.split(":\t", 1) for line in read("/proc/self/status").splitlines())
    effective, inheritable, ambient = (
        int(known.get(name, "0"), 16) for name in ("CapEff", "CapInh", "CapAmb")
    )
    return effective, inheritable | ambient


def last_capability() -> int:
    return int(read("/proc/sys/kernel/cap_last_cap").strip() or 40)


def release(text: str) -> tuple[int, int]:
    """"6.18.44-rc1+" is (6, 18)."""
    major, minor = f"{text}.0".split(".")[:2]
    digits = len(minor) - len(minor.lstrip("0123456789"))
    return int(major), int(minor[:digits] or 0)


def devices_v1(mountinfo: str) -> str:
    """Where the devices controller of cgroup v1 is mounted."""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup" and "devices" in options.split(","):
            return left.split()[4]
    return ""


def _tried(machine: str, administers: bool) -> bytes:
    """Landlock's ABI; whether there are filters, programs on groups, key rings; what it may mount
    in a user namespace, and what in the one it has."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        raise
    if not pid:
        try:
            os.write(writer, bytes(_tries(machine, administers)))
        finally:
            os._exit(0)
    os.close(writer)
    try:
        found = os.read(reader, _TRIES)
    finally:
        os.close(reader)
        os.waitpid(pid, 0)
    return found if len(found) == _TRIES else bytes(_TRIES)  # a try killed it: trust in none


def _tries(machine: str, administers: bool) -> list[int]:
    import ctypes

    libc = ctypes.CDLL(None)
    call, size = libc.syscall, ctypes.c_size_t
    seccomp, bpf, keyctl = _NUMBERS.get(machine, (-1, -1, -1))
    action = ctypes.c_uint32(_SECCOMP_RET_KILL_PROCESS)
    code, licence = ctypes.create_string_buffer(_RETURN_1), ctypes.create_string_buffer(b"GPL")
    program = (ctypes.c_uint64 * 16)(  # union bpf_attr: type and count of instructions, addresses
        _BPF_PROG_TYPE_CGROUP_DEVICE | len(_RETURN_1) // 8 << 32,
        ctypes.addressof(code), ctypes.addressof(licence),
    )  # fmt: skip
    landlock = call(_CREATE_RULESET, None, size(0), _VERSION)
    filters = call(seccomp, _SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(action))
    loaded = call(bpf, _BPF_PROG_LOAD, program, 128)
    keyrings = call(keyctl, _KEYCTL_JOIN_SESSION_KEYRING, None)
    inside = _mounts(libc, _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID)
    alone = _mounts(libc, _CLONE_NEWNS) if administers else inside
    return [max(0, landlock), filters == 0, loaded >= 0, keyrings > 0, inside, alone]


def _mounts(libc: Any, namespaces: int) -> int:
    """What may be mounted in such namespaces. That one may be made says little: some hosts leave
    its maker no rights in it (AppArmor), others allow mounts of the old kind only."""

    def looks() -> int:
        if libc.unshare(namespaces) or (namespaces & _CLONE_NEWUSER and not maps()):
            return 0
        if libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None):
            return 0
        call, read_only = libc.syscall, (c_uint64 * 4)(1)
        tree = call(_OPEN_TREE, _CWD, b"/", _CLONE_ALL)
        if call(_MOUNT_SETATTR, tree, b"", _EMPTY_PATH | _DEEP, read_only, 32):
            return _RIGHTS
        if call(_MOVE_MOUNT, made(b"tmpfs"), b"", _CWD, b"/", _FROM_FD):
            return _RIGHTS
        if not namespaces & _CLONE_NEWPID:
            return _RIGHTS | _VIEWS | (_PROC if made(b"proc") >= 0 else 0)
        inner = _in_child(lambda: made(b"proc") >= 0)
        return _RIGHTS | _VIEWS | (_OWN_PROC if inner else 0)

    def maps() -> bool:
        """As a user who may map his own id only, which root may not without CAP_SETFCAP."""
        return _write("setgroups", "deny") and _write("uid_map", f"0 {uid} 1")

    def made(kind: bytes) -> int:
        system = libc.syscall(_FSOPEN, kind, 0)
        libc.syscall(_FSCONFIG, system, _CREATE, None, None, 0)
        return int(libc.syscall(_FSMOUNT, system, 0, 0))

    from ctypes import c_uint64

    uid = os.geteuid()
    return _in_child(looks)


def _write(name: str, text: str) -> bool:
    try:
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError:
        return False
    return True


def _in_child(look: Callable[[], int]) -> int:
    """A small number that is found out in a process of its own."""
    pid = os.fork()
    if not pid:
        found = 0
        try:
            found = look()
        finally:
            os._exit(found)
    return max(0, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

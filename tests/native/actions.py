"""What may become of each action of the probe: derived by hand from what the words mean.

Law: this table is not generated from what it judges. A difference between it and a kernel that
runs the probe under a policy is a mistake in one of the two.

How to read it: an action is a row of steps, each a system call that a policy may refuse. A step
names the promises that permit it, separated by spaces; those joined by + are needed together; ALL
is every filter's (stdio is implied by all), NEVER none's. The first step that is not permitted
answers: by what the policy does on a violation, or with `instead`, where an answer is kinder.
`tags` are for other mechanisms than promises:
- `path:PLACE:USE`: what it does in which of the world's directories, or to `echo` and `loader`,
  programs of the host: look (names and attributes), read, write, make (create, remove, rename),
  change (attributes), exec.
- `cap:NAME`: root's, by that capability. `host`: a setting of the host may refuse it as well.
- `tcp:connect`, `tcp:bind`, `udp`, `unix:PLACE`, `abstract`: reached by a rule about the network;
  `:other` behind it where it is not the listed port.
- `peer`, `stranger`, `everyone`: reaches a process that is not its own.
- `jit`: refused where memory must not be both written and executed. `dev:NAME`: needs a device.
"""
from __future__ import annotations

import platform
from collections.abc import Collection
from typing import NamedTuple

ALL, NEVER = "stdio", ""
RPATH, WPATH, CPATH, DPATH = "rpath app", "wpath app", "cpath app", "dpath app"
RDWR, NEW = "rpath+wpath app", "wpath+cpath app"
LOOK, FATTR, CHOWN, FLOCK = "rpath wpath app", "fattr app", "chown app", "flock app"
PROC, ID, IPC, UNVEIL = "proc app", "id app", "ipc app", "unveil app"
MOUNT, NAMESPACE, DEBUG = "mount", "namespace", "debug"
# A name server is asked over UDP or TCP, so the sockets are the same.
INET, UNIX = "inet dns app", "unix app"
# Making a process in a new namespace makes a process.
CLONE = "proc namespace app"


class Step(NamedTuple):
    promises: str
    instead: str = ""  # the answer, where it is not a violation
    ends: str = "EPERM"  # what is seen after a violation that is answered EPERM

    def permitted(self, words: Collection[str]) -> bool:
        return any(set(each.split("+")) <= {"stdio", *words} for each in self.promises.split())


class Action(NamedTuple):
    steps: tuple[Step, ...]
    tags: frozenset[str]

    def outcome(self, words: Collection[str], on_violation: str = "errno") -> str:
        """`ok` if these promises permit it: then it ends as it does without a filter."""
        for step in self.steps:
            if not step.permitted(words):
                if step.instead:
                    return step.instead
                return "killed SIGSYS" if on_violation == "kill" else step.ends
        return "ok"

    def tagged(self, kind: str) -> bool:
        return any(tag.partition(":")[0] == kind for tag in self.tags)


def of(step: str | Step, *more: str | Step, tags: str = "") -> Action:
    steps = tuple(each if isinstance(each, Step) else Step(each) for each in (step, *more))
    return Action(steps, frozenset(tags.split()))


FILES = {
    "read": of(RPATH, tags="path:read:read"),
    "read-other": of(RPATH, tags="path:other:read"),
    "open-path-other": of(RPATH, tags="path:other:look"),
    "list": of(RPATH, tags="path:read:read"),
    "list-other": of(RPATH, tags="path:other:read"),
    "write": of(WPATH, tags="path:write:write"),
    "write-read": of(WPATH, tags="path:read:write"),
    "write-other": of(WPATH, tags="path:other:write"),
    "read-write": of(RDWR, tags="path:write:write"),
    "open-truncate": of(RDWR, tags="path:write:write"),
    "truncate": of(WPATH, tags="path:write:write"),
    "truncate-read": of(WPATH, tags="path:read:write"),
    "truncate-other": of(WPATH, tags="path:other:write"),
    "create": of(NEW, tags="path:write:make"),
    "create-read": of(NEW, tags="path:read:make"),
    "create-other": of(NEW, tags="path:other:make"),
    "create-unnamed": of(NEW, tags="path:write:make"),
    "create-set-user-id": of(NEVER, tags="path:write:make"),
    "unlink": of(CPATH, tags="path:write:make"),
    "unlink-read": of(CPATH, tags="path:read:make"),
    "unlink-other": of(CPATH, tags="path:other:make"),
    "rename": of(CPATH, tags="path:write:make"),
    "rename-from-other": of(CPATH, tags="path:other:make path:write:make"),
    "link": of(CPATH, tags="path:write:make"),
    "link-from-other": of(CPATH, tags="path:other:make path:write:make"),
    "symlink": of(CPATH, tags="path:write:make"),
    "mkdir": of(CPATH, tags="path:write:make"),
    "mkdir-other": of(CPATH, tags="path:other:make"),
    "rmdir": of(CPATH, tags="path:write:make"),
    "fifo": of(DPATH, tags="path:write:make"),
    "device-node": of(NEVER, tags="path:write:make cap:MKNOD"),
    "block-node": of(NEVER, tags="path:write:make cap:MKNOD"),
    "flock": of(FLOCK),
    "record-lock": of(FLOCK),
}
METADATA = {
    "stat": of(LOOK, tags="path:read:look"),
    "stat-other": of(LOOK, tags="path:other:look"),
    "statx": of(Step(LOOK, "ENOSYS"), tags="path:read:look"),
    "access": of(LOOK, tags="path:read:look"),
    "access-other": of(LOOK, tags="path:other:look"),
    "readlink": of(Step(LOOK, "EPERM"), tags="path:read:look"),
    "readlink-other": of(Step(LOOK, "EPERM"), tags="path:other:look"),
    "chdir": of(RPATH, tags="path:read:look"),
    "chdir-other": of(RPATH, tags="path:other:look"),
    "chmod": of(FATTR, tags="path:write:change"),
    "chmod-read": of(FATTR, tags="path:read:change"),
    "chmod-other": of(FATTR, tags="path:other:change"),
    "chmod-set-user-id": of(NEVER, tags="path:write:change"),
    "chmod-set-group-id": of(NEVER, tags="path:write:change"),
    "chown": of(CHOWN, tags="path:write:change"),
    "chown-other": of(CHOWN, tags="path:other:change"),
    "utime": of(FATTR, tags="path:write:change"),
    "utime-other": of(FATTR, tags="path:other:change"),
    "setxattr": of(FATTR, tags="path:write:change"),
    "setxattr-other": of(FATTR, tags="path:other:change"),
    "setcap": of(FATTR, tags="path:write:change cap:SETFCAP"),
}
EXEC = {
    # The service's own start comes after the filter.
    "exec": of(ALL, tags="path:exec:exec"),
    "exec-other": of(ALL, tags="path:other:exec"),
    "exec-write": of(ALL, tags="path:write:exec"),
    "exec-written": of(NEW, tags="path:write:exec"),
    "exec-memory": of(Step("exec app", "ENOSYS")),
    # The loader starts, and ends with 127 when it may not open the program.
    "exec-loader": of(Step(RPATH, ends="exited 127"), tags="path:echo:read path:loader:exec"),
    "map-writable-code": of(ALL, tags="jit"),
    "make-executable": of(ALL, tags="jit"),
}
PROCESSES = {
    "fork": of(CLONE),
    # arm64 has no vfork: the C library uses clone.
    "vfork": of(PROC if platform.machine() == "x86_64" else CLONE),
    "clone3": of(Step(NEVER, "ENOSYS")),
    "thread": of(ALL),
    "be-traced": of(DEBUG, tags="host"),
    "trace-parent": of(DEBUG, tags="host peer"),
    "trace-peer": of(DEBUG, tags="host peer"),
    "read-peer-memory": of(DEBUG, tags="host peer"),
    "peer-environ": of(RPATH, tags="peer"),
    "peer-cmdline": of(RPATH, tags="peer"),
    "signal-group": of(ALL),
    "signal-thread": of(ALL),
    "signal-peer": of(PROC, tags="peer"),
    "signal-stranger": of(PROC, tags="stranger cap:KILL"),
    "signal-all": of(PROC, tags="everyone"),
    "pidfd-open": of(Step(PROC, "ENOSYS"), tags="peer"),
    "pidfd-getfd": of(Step(PROC, "ENOSYS"), DEBUG, tags="host peer"),
    # Asking is one's own business, also after others; setting is not.
    "prlimit-peer": of(PROC, "proc", tags="peer"),
    "rlimit-raise": of(ALL, tags="cap:SYS_RESOURCE"),
    "real-time": of(PROC, tags="cap:SYS_NICE"),
    "nice": of(PROC, tags="cap:SYS_NICE"),
    "dumpable": of(ALL),
}
MOUNTS = {
    "mount": of(MOUNT, tags="cap:SYS_ADMIN path:write:look"),
    "umount": of(MOUNT, tags="cap:SYS_ADMIN path:write:look"),
    "mount-setattr": of(MOUNT, tags="cap:SYS_ADMIN path:write:look"),
    "pivot-root": of(MOUNT, tags="cap:SYS_ADMIN path:write:look"),
    "chroot": of(MOUNT, tags="cap:SYS_CHROOT path:write:look"),
    "open-tree": of(MOUNT, tags="cap:SYS_ADMIN path:write:look"),
    "fsopen": of(MOUNT, tags="cap:SYS_ADMIN"),
    "statmount": of(Step(MOUNT, "ENOSYS")),
    "listmount": of(Step(MOUNT, "ENOSYS")),
    "unshare-mount": of(NAMESPACE, tags="cap:SYS_ADMIN"),
    "unshare-uts": of(NAMESPACE, tags="cap:SYS_ADMIN"),
    "unshare-ipc": of(NAMESPACE, tags="cap:SYS_ADMIN"),
    "unshare-pid": of(NAMESPACE, tags="cap:SYS_ADMIN"),
    "unshare-net": of(NAMESPACE, tags="cap:SYS_ADMIN"),
    "unshare-user": of(NAMESPACE, tags="host"),
    "unshare-cgroup": of(NAMESPACE, tags="cap:SYS_ADMIN"),
    "unshare-time": of(NAMESPACE, tags="cap:SYS_ADMIN"),
    "unshare-files": of("namespace app"),
    "clone-user": of(NAMESPACE, tags="host"),
    "setns": of(RPATH, NAMESPACE, tags="cap:SYS_ADMIN"),
}
_NO_PROTOCOL = Step(NEVER, "EPROTONOSUPPORT")
_NO_FAST_OPEN = Step(NEVER, "EOPNOTSUPP")
_UNIX = Step(UNIX, "EAFNOSUPPORT")
SOCKETS = {
    "tcp-connect": of(INET, tags="tcp:connect"),
    "tcp-connect-other": of(INET, tags="tcp:connect:other"),
    "tcp6-connect": of(INET, tags="tcp:connect"),
    "tcp6-connect-other": of(INET, tags="tcp:connect:other"),
    "tcp-bind": of(INET, tags="tcp:bind"),
    "tcp-bind-other": of(INET, tags="tcp:bind:other"),
    "tcp6-bind-other": of(INET, tags="tcp:bind:other"),
    # Resolving names is a client's business.
    "tcp-listen-unbound": of(INET, "inet unix app", tags="tcp:bind:other"),
    "udp-send": of(INET, tags="udp"),
    "udp-send-other": of(INET, tags="udp:other"),
    "udp-bind": of(INET, tags="udp"),
    "udp-bind-other": of(INET, tags="udp:other"),
    "fast-open": of(INET, _NO_FAST_OPEN, tags="tcp:connect:other host"),
    "fast-open-message": of(INET, _NO_FAST_OPEN, tags="tcp:connect:other host"),
    "mptcp-connect": of(_NO_PROTOCOL, tags="tcp:connect:other"),
    "mptcp-bind": of(_NO_PROTOCOL, tags="tcp:bind:other"),
    "sctp": of(_NO_PROTOCOL),
    "dccp": of(_NO_PROTOCOL),
    "udp-lite": of(_NO_PROTOCOL, tags="udp:other"),
    "ping": of(INET, tags="host"),
    "raw": of(NEVER, tags="cap:NET_RAW"),
    "raw6": of(NEVER, tags="cap:NET_RAW"),
    "packet": of(NEVER, tags="cap:NET_RAW"),
    "multicast": of(INET, "mcast app"),
    "tcp-upper-layer": of(INET, "app"),
    "socket-filter": of("bpf app"),
    "netlink-route": of(Step("dns route", "EAFNOSUPPORT")),
    "netlink-uevent": of(NEVER),
    "netlink-netfilter": of(NEVER),
    "unix-pair": of(ALL),
    "unix-connect": of(_UNIX, tags="unix:write"),
    "unix-connect-other": of(_UNIX, tags="unix:other"),
    "unix-bind": of(_UNIX, tags="path:write:make"),
    "unix-bind-other": of(_UNIX, tags="path:other:make"),
    "unix-abstract": of(_UNIX, tags="abstract"),
    "crypto": of(NEVER),
    "vsock": of(NEVER),
    "bluetooth": of(NEVER),
    "xdp": of(NEVER, tags="cap:NET_RAW"),
    "key": of(NEVER, tags="cap:NET_ADMIN"),
}
_SETTIME = of("settime", tags="cap:SYS_TIME")
KERNEL = {
    "reboot": of(NEVER, tags="cap:SYS_BOOT"),
    "module": of(NEVER, tags="cap:SYS_MODULE"),
    "module-file": of(NEVER, tags="cap:SYS_MODULE"),
    "module-remove": of(NEVER, tags="cap:SYS_MODULE"),
    "kexec": of(NEVER, tags="cap:SYS_BOOT"),
    "swapon": of(NEVER, tags="cap:SYS_ADMIN"),
    "acct": of(NEVER, tags="cap:SYS_PACCT"),
    "quota": of(NEVER),
    "hostname": of(NEVER, tags="cap:SYS_ADMIN"),
    "settimeofday": _SETTIME,
    "adjtimex": _SETTIME,
    "clock-adjtime": _SETTIME,
    "iopl": of(NEVER, tags="cap:SYS_RAWIO"),
    "ioperm": of(NEVER, tags="cap:SYS_RAWIO"),
    "dev-mem": of(RPATH, tags="dev:mem cap:SYS_RAWIO"),
    "dev-kmsg": of(RPATH, tags="dev:kmsg host"),
    "dev-block": of(RPATH, tags="dev:block host"),
    "dev-null": of(RPATH, tags="dev:null"),
    "syslog": of(NEVER, tags="cap:SYSLOG"),
    "tty-input": of(NEVER),
    "tty-input-wide": of(NEVER),
    "tty-linux": of(NEVER),
    "tty-size": of("tty device app"),
    "bpf-program": of("bpf", tags="host"),
    "bpf-map": of("bpf", tags="host"),
    "perf": of("perf", tags="host"),
    "userfaultfd": of(NEVER, tags="host"),
    "fanotify": of(NEVER, tags="cap:SYS_ADMIN"),
    "add-key": of("keyring"),
    "request-key": of("keyring"),
    "keyctl": of("keyring"),
    "setuid": of(ID, tags="cap:SETUID"),
    "setgid": of(ID, tags="cap:SETGID"),
    "setgroups": of(ID, tags="cap:SETGID"),
    "capset": of(ID, tags="cap:SETPCAP"),
    "open-by-handle": of("app", NEVER, tags="cap:DAC_READ_SEARCH path:read:look"),
}
_KILLED = Step(NEVER, "killed SIGSYS")
_MISSING = Step(NEVER, "ENOSYS")
CALLS = {
    "io-uring": of(_MISSING, tags="host"),
    "int80": of(_KILLED),
    "x32": of(_KILLED),
    "openat2": of(_MISSING, tags="path:read:read"),
    "no-such-call": of(_MISSING),
    "personality": of(PROC),
    "no-randomization": of(NEVER),
    "mlock": of(ALL),
    "memory-file": of(Step("exec app", "ENOSYS")),
    "memory-file-noexec": of(ALL),
    "inotify": of(RPATH, tags="path:read:read"),
    "wait": of(ALL),
    "getrandom": of(ALL),
    "mseal": of(ALL),
    "lsm-list": of(_MISSING),
    "landlock": of(Step(UNVEIL, "ENOSYS")),
    "seccomp": of(Step(UNVEIL, "ENOSYS")),
    "numa": of(Step("numa", "ENOSYS")),
    "aio": of("aio app"),
    "shared-memory": of(IPC),
    "message-queue": of(IPC),
}

ACTIONS: dict[str, Action] = {
    **FILES, **METADATA, **EXEC, **PROCESSES, **MOUNTS, **SOCKETS, **KERNEL, **CALLS}

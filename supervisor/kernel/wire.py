"""The one table of numbers that the keeper (C) and its Python peers share.

keeper/gen_wire.py writes `wire.h` from it at build time; nothing is stated twice. Layouts are in
docs/keeper-protocol.md. Imports nothing, so the generator can load it before anything is built.
"""

VERSION = 1
MAX_FRAME = 256 * 1024  # bytes of one datagram, its frames and their headers included
MAX_NAME = 119  # bytes of a store name, without its NUL
MAX_KEY = 95  # bytes of a child's key, without its NUL
MAX_FDS = 32  # descriptors that one datagram may carry

# Frames from the manager to the keeper.
TO_KEEPER = {
    "HELLO": 1,  # u32 version; answered by CHILD*, STORED*, READY
    "SPAWN": 2,  # tag = launch; key\0, then steps. Answered by EXECED, LAUNCH_FAILED or REFUSED
    "SIGNAL": 3,  # tag = launch; i32 signal, u32 scope (0 the process, 1 its process group)
    "ACK": 4,  # tag = launch; its exit record may be forgotten. RESULT for both only if it fails
    "PUT": 5,  # name\0 + 1 fd: store it, in place of one of that name. RESULT
    "GET": 6,  # name\0; answered by FD, or RESULT with ENOENT
    "DROP": 7,  # name\0 ("prefix*" drops all that begin so). RESULT
    "STREAM": 8,  # name\0 options\0: have a log stream; FD (its write end), or RESULT
    "PONG": 9,  # answers PING
    "ADOPT": 10,  # tag = launch; i32 pid: that process is this launch's main one now. RESULT
    "EXIT": 11,  # i32 status: kill and reap what is left, drain the logger, end with status
    # i32 milliseconds, i32 status: if no EXIT comes within that time, as if it had. A later one
    # replaces it. No answer
    "EXIT_BY": 13,
    "REEXEC": 12,  # path\0: become that keeper, keep everything. RESULT from the new one
}

# Frames from the keeper to the manager.
TO_MANAGER = {
    "CHILD": 32,  # tag = launch; the CHILD layout and key\0: one for each slot in use
    "STORED": 33,  # name\0: one for each stored descriptor
    # u64 highest launch, u64 orphans reaped, u32 flags, i32 logger pid, u32 manager starts
    "READY": 34,
    "REFUSED": 35,  # tag = launch; i32 errno: nothing was started
    "EXECED": 36,  # tag = launch; i32 pid, u32 0, u64 monotonic ns
    "LAUNCH_FAILED": 37,  # tag = launch; i32 pid, u32 step index, u32 step code, i32 errno
    "EXITED": 38,  # tag = launch; the CHILD layout and key\0. Sent until it is acknowledged
    "SIGNALLED": 39,  # i32 signal, i32 pid, u32 uid: the keeper was sent this signal
    "PING": 40,  # answer PONG within 10 s or be replaced
    "RESULT": 41,  # tag as asked; i32 errno, 0 for done
    "FD": 42,  # tag as asked; name\0 + 1 fd
}

# Frames from the keeper to the logger.
TO_LOGGER = {
    "STREAM_OPEN": 64,  # name\0 options\0 + 1 fd: read this pipe
    "STREAM_GONE": 65,  # name\0: nobody writes any more; drain what is left and close
}

# States of a child slot.
CHILD_STATES = {"LAUNCHING": 1, "RUNNING": 2, "EXITED_UNACKED": 3}

# READY flags.
FLAGS = {"PID1": 1, "RESUMED": 2}

# Steps of a launch plan, in the order in which a plan has them. (name, code, payload, meaning)
STEPS = (
    # What calls point to, and where they leave results: offsets are from its first byte. Numbers
    # are i32, addresses u64, and at each offset there is room for an address. Comes before those.
    ("DATA", 27, "bytes", "the data of all calls"),
    ("ADDRESS", 24, "u32 at u32 of", "write the address of the offset `of` at the offset `at`"),
    ("CGROUP", 1, "path\\0", "be born in this group below stored `cgroup`, made if missing"),
    # A second one is for standard error alone.
    ("LOG", 2, "name\\0 options\\0 i32 uid i32 gid", "standard output and error into this stream"),
    ("SIGNALS", 3, "u64 ignored", "default dispositions, empty mask; ignore only these (bit n-1)"),
    ("SESSION", 4, "", "setsid"),
    ("WRITE", 22, "path\\0 text\\0", "write the text into the file, before ids change"),
    ("UMASK", 9, "u32", "umask"),
    # The system call of that row of CALLS; `kinds`, two bits for each argument, say what it is: 0
    # a number, 1 the address of that offset, 2 the number at that offset. Its result goes to the
    # offset `result`: -1 if the call failed with `tolerated`; any other errno ends the launch.
    (
        "CALL",
        23,
        "u32 row u32 tolerated u32 result u32 kinds u64 a u64 b u64 c u64 d u64 e",
        "a system call",
    ),
    # Has to come after CGROUP, and before what is to be open or inherited.
    (
        "HOLD",
        25,
        "u32 flags setgroups\\0 uid_map\\0 gid_map\\0",
        "have a holder in new namespaces (CLONE_NEW...), with these maps, and join them",
    ),
    ("FORK", 26, "", "the rest as a child in a session and with a memory of its own"),
    ("CAPSET", 29, "u64 keep", "permitted and effective capabilities (bit n); none inheritable"),
    ("BOUND", 28, "u64 keep", "drop all others from the capabilities' bounding set (bit n)"),
    ("GID", 11, "u32", "setresgid, verified"),
    ("UID", 12, "u32", "setresuid, verified"),
    ("DIRECTORY", 13, "path\\0", "enter it without magic links, verify that it is reachable"),
    ("ENV", 14, "u32 count, NAME=value\\0...", "the whole environment"),
    ("ENV_PID", 15, "NAME\\0", "NAME=own pid, after ENV"),
    ("OPEN", 16, "i32 target u32 flags path\\0", "open a path as descriptor target"),
    ("FD", 17, "i32 target name\\0", "a stored descriptor as descriptor target"),
    ("SENT_FD", 18, "i32 target u32 index", "the index-th descriptor sent with the plan as target"),
    ("CLOSE_FROM", 19, "u32 first", "close every descriptor from this number on, at exec"),
    ("NO_NEW_PRIVS", 20, "", "prctl(PR_SET_NO_NEW_PRIVS)"),
    ("EXEC", 21, "u32 argc, path\\0, argument\\0...", "execve"),
)

# What EXEC passes as a fourth argument, of which the kernel reads three: a filter sees it, and can
# tell the keeper's own execve from all others (kernel/seccomp/learning.py).
EXEC_MARK = 0x756E626F78656421

CALL_KINDS = {"NUMBER": 0, "ADDRESS": 1, "RESULT": 2}

# The only system calls that a CALL step may make, by row: new ones go to the end.
CALLS = (
    "unshare", "setns", "open_tree", "move_mount", "mount_setattr", "fsopen", "fsconfig",
    "fsmount", "pivot_root", "umount2", "chroot", "openat", "openat2", "mkdirat", "mknodat",
    "symlinkat", "fchdir", "fchown", "fchmod", "close", "sethostname", "setdomainname",
    "capset", "prctl", "keyctl", "landlock_create_ruleset", "landlock_add_rule",
    "landlock_restrict_self", "bpf", "setsid", "sched_setscheduler", "socket", "ioctl",
    "pidfd_open", "seccomp", "dup3", "prlimit64", "setpriority", "sched_setaffinity",
    "setgroups", "sendfile", "umask", "setfsuid",
    "setfsgid", "close_range",
)  # fmt: skip

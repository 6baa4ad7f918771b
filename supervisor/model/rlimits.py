"""Resource limits of a process (setrlimit(2)): names as a unit file has them, the kernel's numbers.

The numbers are asm-generic's, which x86-64 and arm64 share. `rss` and `locks` are not here: no
kernel since 2.6 enforces them.
"""
from __future__ import annotations

UNLIMITED = (1 << 64) - 1  # RLIM_INFINITY

# Name: number, and what it counts ("size": bytes; "s" and "us": time of a CPU).
RLIMITS = {
    "cpu": (0, "s"),
    "fsize": (1, "size"),
    "data": (2, "size"),
    "stack": (3, "size"),
    "core": (4, "size"),
    "nproc": (6, "count"),
    "nofile": (7, "count"),
    "memlock": (8, "size"),
    "as": (9, "size"),
    "sigpending": (11, "count"),
    "msgqueue": (12, "size"),
    "nice": (13, "count"),
    "rtprio": (14, "count"),
    "rttime": (15, "us"),
}

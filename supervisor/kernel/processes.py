"""Figures of single processes from /proc: those of the supervisor itself."""
from __future__ import annotations

import os
from collections.abc import Container

from supervisor.kernel.host import read, read_long
from supervisor.kernel.tracking import statm_bytes

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_MOST = 64  # command lines that are read; more children of nobody's are orphans
_SWITCHES = "voluntary_ctxt_switches:"


def figures(pid: int) -> tuple[int | None, int | None, int | None, int | None]:
    """CPU time in ns, resident bytes, how often it went on after it had waited, and its open
    descriptors. None: it cannot be known."""
    stat = read(f"/proc/{pid}/stat", 1024)
    if not stat:
        return None, None, None, None
    fields = stat[stat.rfind(")") + 2 :].split()
    switches = [
        int(line.split()[1])
        for line in read(f"/proc/{pid}/status", 8192).splitlines() if line.startswith(_SWITCHES)
    ]
    try:
        # Since Linux 6.2 its size is their number; before, and elsewhere, they are to be listed.
        descriptors = os.stat(f"/proc/{pid}/fd").st_size or len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        descriptors = None
    return (
        (int(fields[11]) + int(fields[12])) * _TICK_NS, statm_bytes(pid),
        switches[0] if switches else None, descriptors,
    )


def find(parent: int, word: str, but: Container[int]) -> int:
    """The child of `parent`, but none of `but`, with that word in its command line; 0: none."""
    children = read_long(f"/proc/{parent}/task/{parent}/children").split()
    for pid in [int(child) for child in children if int(child) not in but][:_MOST]:
        if word in read(f"/proc/{pid}/cmdline", 4096):
            return pid
    return 0

"""Which system call a filter killed a process for.

waitid(2) tells SIGSYS and no more: the number is in the siginfo of the signal, which only the dead
process could have seen. The kernel writes it down, as an audit record (AUDIT_SECCOMP, 1326) that
auditd gets or, where there is none, the kernel's log. That may be closed to us, lack some records
of many (printk_ratelimit), or count pids as another namespace does: then it is not known.
"""
from __future__ import annotations

import os
import re
from select import poll
from time import time

from supervisor.kernel.seccomp import filter as filters
from supervisor.kernel.spare import use

_LOG = "/dev/kmsg"
_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO
_RECORD_BYTES = 8192
_MOST_RECORDS = 1 << 16
_LOOKS, _LOOK_MS = 5, 2  # kauditd writes it just after the process has ended
_OLD_S = 60
_LINE = re.compile(
    rb"type=1326 audit\((\d+)\.\d+:\d+\):.*? pid=(\d+) .* sig=31 arch=([0-9a-f]+) syscall=(\d+) "
)


def killed_for(pid: int, machine: str, log: str = _LOG) -> str:
    """The call's name, "" if it is not known. `machine`: as os.uname().machine. Takes 10 ms at most
    where nothing is found, beside the reading of the whole log."""
    if os.readlink("/proc/self/ns/pid") != _FIRST_PID_NAMESPACE:
        return ""
    try:
        fd = use(os.open, log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        for look in range(_LOOKS):
            if look:
                poll().poll(_LOOK_MS)
            found = _search(fd, pid, machine)
            if found:
                return found
    finally:
        os.close(fd)
    return ""


def _search(fd: int, pid: int, machine: str) -> str:
    """In what was not read yet: the last record of that pid."""
    found = ""
    for _ in range(_MOST_RECORDS):
        try:
            record = os.read(fd, _RECORD_BYTES)
        except BrokenPipeError:
            continue  # records were lost before we read them
        except OSError:
            break  # BlockingIOError: that was all
        if not record:
            break
        match = _LINE.search(record)
        if match and int(match[2]) == pid and abs(time() - int(match[1])) < _OLD_S:
            found = _name(int(match[3], 16), int(match[4]), machine)
    return found


def _name(arch: int, number: int, machine: str) -> str:
    if machine not in filters.ARCHES or filters.ARCHES[machine].audit != arch:
        return f"system call {number} of another architecture"
    return filters.violated(number, machine)


def words(call: str, unit: str) -> str:
    """What follows "killed by SIGSYS: ". `call` "": not known."""
    if not call:
        return f"a system call that its promises do not allow; `unboxed learn {unit}` names it"
    promises = [word for word in filters.granting(call) if word != "app"]
    if not promises:
        return f"{call} is in none of its promises, nor in any other"
    named = " or ".join(f'"{word}"' for word in promises)
    return f"{call} is in none of its promises; {named} would allow it"

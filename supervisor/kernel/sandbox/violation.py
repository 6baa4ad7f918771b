"""Which system calls a filter killed a process for, or let through and noted.

waitid(2) tells SIGSYS and no more: the number is in the siginfo of the signal, which only the dead
process could have seen. The kernel writes it down, as an audit record (AUDIT_SECCOMP, 1326) that
auditd gets or, where there is none, the kernel's log. That may be closed to us, lack some records
of many (printk_ratelimit), or count pids as another namespace does: then it is not known.
"""
from __future__ import annotations

import os
import re
from collections.abc import Iterator
from errno import EACCES
from select import POLLIN, poll
from time import monotonic, time
from typing import NamedTuple

from supervisor.kernel.seccomp import filter as filters
from supervisor.kernel.spare import use

_LOG = "/dev/kmsg"
_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO
_RECORD_BYTES = 8192
_MOST_RECORDS = 1 << 16
_OLD_S = 60
_SIGSYS = 31
_ACTION, _ALLOWED = 0xFFFF0000, 0x7FFC0000  # SECCOMP_RET_ACTION_FULL, SECCOMP_RET_LOG
_LINE = re.compile(
    rb"type=1326 audit\((\d+)\.\d+:\d+\):.*? pid=(\d+) .* sig=(\d+) arch=([0-9a-f]+)"
    rb" syscall=(\d+) .*code=0x([0-9a-f]+)"
)


class _Record(NamedTuple):
    time_s: int
    pid: int
    signal: int
    arch: int
    number: int
    action: int


class _Patience:
    """How long a record is waited for. kauditd, a thread of the kernel, writes it when it gets to
    run, which takes a busy host long; but a log that did not tell will not tell soon."""

    long_ms, short_ms = 100, 5
    ms = long_ms


def killed_for(pid: int, machine: str, log: str = _LOG) -> str:
    """The call's name, "" if it is not known. `machine`: as os.uname().machine. Takes 100 ms at
    most where nothing is found, and 5 ms the next time, beside the reading of the whole log."""
    try:
        fd = _open(log)
    except OSError:
        return ""
    try:
        end = monotonic() + _Patience.ms / 1000
        more = poll()
        more.register(fd, POLLIN)
        while True:
            found = ""
            for one in _records(fd):
                if one.pid == pid and one.signal == _SIGSYS and abs(time() - one.time_s) < _OLD_S:
                    found = _name(one.arch, one.number, machine)
            left = end - monotonic()
            if found or left <= 0:
                _Patience.ms = _Patience.long_ms if found else _Patience.short_ms
                return found
            more.poll(left * 1000)
    finally:
        os.close(fd)


def open_end(log: str = _LOG) -> int:
    """The kernel's log from now on, for `allowed`. Raises OSError."""
    fd = _open(log)
    os.lseek(fd, 0, os.SEEK_END)
    return fd


def allowed(fd: int, machine: str) -> Iterator[tuple[int, str]]:
    """Pid and call of what filters let through and noted, by the records not read yet."""
    for one in _records(fd):
        if one.action & _ACTION == _ALLOWED:
            yield one.pid, _name(one.arch, one.number, machine)


def _open(log: str) -> int:
    if os.readlink("/proc/self/ns/pid") != _FIRST_PID_NAMESPACE:
        raise OSError(EACCES, "it counts processes as another pid namespace does", log)
    return use(os.open, log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _records(fd: int) -> Iterator[_Record]:
    """Of what was not read yet."""
    for _ in range(_MOST_RECORDS):
        try:
            record = os.read(fd, _RECORD_BYTES)
        except BrokenPipeError:
            continue  # records were lost before we read them
        except OSError:
            return  # BlockingIOError: that was all
        if not record:
            return
        match = _LINE.search(record)
        if match:
            when, pid, signal, arch, number, action = match.groups()
            yield _Record(
                int(when), int(pid), int(signal), int(arch, 16), int(number), int(action, 16))


def _name(arch: int, number: int, machine: str) -> str:
    if machine not in filters.ARCHES or filters.ARCHES[machine].audit != arch:
        return f"system call {number} of another architecture"
    return filters.violated(number, machine)


def words(call: str, unit: str) -> str:
    """What follows "killed by SIGSYS: ". `call` "": not known."""
    if not call:
        return f"a system call that its promises do not allow; `unboxed learn {unit}` names it"
    return unpromised(call)


def unpromised(call: str) -> str:
    """The call, and what would allow it."""
    promises = [word for word in filters.granting(call) if word != "app"]
    if not promises:
        return f"{call} is in none of its promises, nor in any other"
    named = " or ".join(f'"{word}"' for word in promises)
    return f"{call} is in none of its promises; {named} would allow it"

"""Which system calls a filter killed a process for, or let through and noted.

waitid(2) tells SIGSYS and no more: the number is in the siginfo of the signal, which only the dead
process could have seen. The kernel writes it down, as an audit record (AUDIT_SECCOMP, 1326).
Who listens beforehand gets each (CAP_AUDIT_READ). Else auditd gets it or, where there is none, the
kernel's log. That may be closed to us, or lack some records of many (printk_ratelimit); both count
pids as the first pid namespace does, so in another it is not known.
"""
from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from errno import EACCES, ENOBUFS, EPIPE
from select import POLLIN, poll
from time import monotonic, time
from typing import NamedTuple

from supervisor.kernel.seccomp import filter as filters
from supervisor.kernel.spare import use

_LOG = "/dev/kmsg"
_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO
_NETLINK, _AUDIT, _READERS = 16, 9, 1  # AF_NETLINK, NETLINK_AUDIT, AUDIT_NLGRP_READLOG as a mask
_FORCE_ROOM, _ROOM_BYTES = 33, 1 << 20  # SO_RCVBUFFORCE; for some hundred records
_RECORD_BYTES = 8192
_MOST_RECORDS = 1 << 16
_OLD_S = 60
_SIGSYS = 31
_ACTION, _ALLOWED = 0xFFFF0000, 0x7FFC0000  # SECCOMP_RET_ACTION_FULL, SECCOMP_RET_LOG
_LINE = re.compile(
    rb"(?s)(?:type=1326 |\A.{4}\x2e\x05.{10})audit\((\d+)\.\d+:\d+\):"
    rb".*? pid=(\d+) .* sig=(\d+) arch=([0-9a-f]+)"
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
        return awaited(fd, lambda: dict(_killed(fd, machine)).get(pid, ""))
    finally:
        os.close(fd)


def awaited(fd: int, find: Callable[[], str]) -> str:
    """What `find` finds at last among the records of `fd`, "" if it does not in time."""
    end = monotonic() + _Patience.ms / 1000
    more = poll()
    more.register(fd, POLLIN)
    while True:
        found = find()
        left = end - monotonic()
        if found or left <= 0:
            _Patience.ms = _Patience.long_ms if found else _Patience.short_ms
            return found
        more.poll(left * 1000)


def watch(log: str = _LOG) -> int:
    """The records from now on, for `news`: all of them or, where we may not listen to the audit,
    what the kernel's log has of them. Raises OSError."""
    try:
        return _listen()
    except OSError:
        fd = _open(log)
    os.lseek(fd, 0, os.SEEK_END)
    return fd


def news(fd: int, machine: str) -> Iterator[tuple[int, str, bool]]:
    """Pid and call of what filters killed for (True), or let through and noted, by the records not
    read yet."""
    for one in _records(fd):
        if one.signal == _SIGSYS or one.action & _ACTION == _ALLOWED:
            yield one.pid, _name(one.arch, one.number, machine), one.signal == _SIGSYS


def _killed(fd: int, machine: str) -> Iterator[tuple[int, str]]:
    for one in _records(fd):
        if one.signal == _SIGSYS and abs(time() - one.time_s) < _OLD_S:
            yield one.pid, _name(one.arch, one.number, machine)


def _listen() -> int:
    """A socket of the audit. Any network namespace has such sockets, but only those of the first
    one get the records: the one of kthreadd, pid 2."""
    import _socket  # only where such a unit runs

    _check_pids("the audit")
    if os.readlink("/proc/self/ns/net") != os.readlink("/proc/2/ns/net"):
        raise OSError(EACCES, "it is told in another network namespace", "the audit")
    found = _socket.socket(_NETLINK, _socket.SOCK_RAW | _socket.SOCK_NONBLOCK, _AUDIT)
    found.setsockopt(_socket.SOL_SOCKET, _FORCE_ROOM, _ROOM_BYTES)
    found.bind((0, _READERS))
    return found.detach()


def _open(log: str) -> int:
    _check_pids(log)
    return use(os.open, log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _check_pids(source: str) -> None:
    if os.readlink("/proc/self/ns/pid") != _FIRST_PID_NAMESPACE:
        raise OSError(EACCES, "it counts processes as another pid namespace does", source)


def _records(fd: int) -> Iterator[_Record]:
    """Of what was not read yet."""
    for _ in range(_MOST_RECORDS):
        try:
            record = os.read(fd, _RECORD_BYTES)
        except OSError as exc:
            if exc.errno in (EPIPE, ENOBUFS):
                continue  # records were lost before we read them
            return  # EAGAIN: that was all
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

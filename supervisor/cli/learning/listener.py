"""The kernel's questions about the calls of a filter that asks (seccomp_unotify(2)).

Law: each question is answered with "go on", and soon, whatever we make of it: the process waits
for it. What we note is what was asked for, not what came of it; another thread may change what a
pointer points to, so nothing here is a judgement.
"""
from __future__ import annotations

import ctypes
import fcntl
import os
from _struct import Struct

_NOTIF = Struct("<QIIiIQ6Q")  # struct seccomp_notif: id, pid, flags, seccomp_data
_RESP = Struct("<QqiI")  # struct seccomp_notif_resp: id, val, error, flags
_RECV, _SEND, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082104  # SECCOMP_IOCTL_NOTIF_...
_CONTINUE, _SYNC_WAKE_UP = 1, 1
_PIDFD_GETFD = 438  # the same everywhere


class CannotTake(Exception):
    """Why a process's descriptor is not to be had, in words."""


class Question:
    """A call that waits for its answer. `pid` is its thread, as we number it."""

    __slots__ = ("arch", "args", "call", "id", "pid")

    def __init__(self, fields: tuple[int, ...]) -> None:
        self.id, self.pid, _, self.call, self.arch, _ = fields[:6]
        self.args: tuple[int, ...] = fields[6:]


class Listener:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = bytearray(_NOTIF.size)
        try:  # wake it at once, on this processor, since one of us two waits for the other
            fcntl.ioctl(fd, _SET_FLAGS, _SYNC_WAKE_UP)
        except OSError:
            pass  # before Linux 6.6

    def close(self) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        return self._fd

    def question(self) -> Question | None:
        """The next one; None if its process did not wait for the answer (a signal, its end)."""
        self._buffer[:] = bytes(_NOTIF.size)
        try:
            fcntl.ioctl(self._fd, _RECV, self._buffer, True)
        except (FileNotFoundError, InterruptedError):
            return None
        return Question(_NOTIF.unpack(self._buffer))

    def go_on(self, question: Question) -> None:
        answer = bytearray(_RESP.pack(question.id, 0, 0, _CONTINUE))
        try:
            fcntl.ioctl(self._fd, _SEND, answer, True)
        except FileNotFoundError:
            pass  # it did not wait


def take(pid: int, number: int) -> int:
    """A copy of that process's descriptor (pidfd_getfd(2)). Raises CannotTake."""
    try:
        holder = os.pidfd_open(pid)
    except OSError as error:
        raise CannotTake(f"process {pid} is not there: {error.strerror}") from None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        found = int(libc.syscall(_PIDFD_GETFD, holder, number, 0))
        if found < 0:
            raise CannotTake(_why(ctypes.get_errno()))
        return found
    finally:
        os.close(holder)


def _why(error: int) -> str:
    if error == 1:  # EPERM
        return (
            "this takes the right to trace it: be root, or its user where "
            "/proc/sys/kernel/yama/ptrace_scope is 0"
        )
    return os.strerror(error)

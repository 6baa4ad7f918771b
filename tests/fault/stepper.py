"""Kill a process at a chosen system call: a ptrace(2) stepper for one thread.

A kill between two calls that nobody outside can tell from one an instant earlier is the same
experiment, so points are counted only at calls with an effect: one that changes or consumes
something that outlives the process. `HARMLESS` is what is taken to have none; on machines other
than x86-64, where its numbers mean something else, every call is a point.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import struct
from collections.abc import Callable

_SEIZE, _INTERRUPT, _SYSCALL, _DETACH, _INFO = 0x4206, 0x4207, 24, 17, 0x420E
_TRACESYSGOOD = 1
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_ENTRY = 1  # PTRACE_SYSCALL_INFO_ENTRY
_WALL = 0x40000000
_READ, _OPENAT, _OPEN_CHANGES = 0, 257, os.O_CREAT | os.O_TRUNC
# close, stat, fstat, lstat, poll, lseek, mmap, mprotect, munmap, brk, rt_sig*, ioctl (FIONBIO,
# FIOCLEX), pread64, access, sched_yield, mremap, madvise, dup, dup2, getpid, socket, get*name,
# *sockopt, execve, uname, fcntl, getcwd, readlink, umask, get*, sigaltstack, statfs, prctl, futex,
# sched_getaffinity, getdents64, clocks, epoll_*, newfstatat, readlinkat, faccessat, prlimit64,
# pipe2, getrandom, memfd_create, statx, rseq, pidfd_open, faccessat2, wait4
HARMLESS = frozenset((
    3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 21, 24, 25, 28, 32, 33, 39, 41, 51, 52,
    54, 55, 59, 61, 63, 72, 79, 89, 95, 96, 97, 99, 102, 104, 107, 108, 110, 121, 124, 131, 137,
    138, 157, 158, 186, 202, 204, 217, 218, 228, 229, 230, 232, 233, 262, 267, 269, 273, 281, 291,
    293, 302, 318, 319, 332, 334, 434, 439,
)) if platform.machine() == "x86_64" else frozenset[int]()  # fmt: skip
_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_ptrace.restype = ctypes.c_long


def _call(request: int, pid: int, address: int = 0, data: object = 0) -> int:
    got = int(_ptrace(request, pid, address, data))
    if got < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got


class Stepper:
    """Traces `pid` from now on; all calls from the thread that made it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._alive = True
        _call(_SEIZE, pid, 0, _TRACESYSGOOD)
        _call(_INTERRUPT, pid)
        self._signal = self._stopped()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)  # it may have waited for us

    def _stopped(self) -> int:
        """Wait for the next stop: _SYSCALL_STOP, or the signal that it is about to take (0)."""
        _, status = os.waitpid(self.pid, _WALL)
        if not os.WIFSTOPPED(status):
            self._alive = False
            return 0
        if status >> 16:
            return 0  # an event of ptrace itself
        return os.WSTOPSIG(status)

    def run(self, point: int, done: Callable[[], bool]) -> bool:
        """Let it run and kill it before its `point`-th (from 1) call with an effect. False: it
        was `done()` before, or ended, and runs untraced now."""
        count = 0
        while self._alive:
            taken = 0 if self._signal == _SYSCALL_STOP else self._signal
            _call(_SYSCALL, self.pid, 0, taken)
            self._signal = self._stopped()
            if self._signal != _SYSCALL_STOP:
                continue
            number, args = self._entered()
            if number < 0:
                continue
            if self._counts(number, args):
                count += 1
                if count == point:
                    self.kill()
                    return True
            if done():
                break
        self.detach()
        return False

    def _entered(self) -> tuple[int, tuple[int, ...]]:
        """The call that begins, or -1 where one ends."""
        info = ctypes.create_string_buffer(88)
        _call(_INFO, self.pid, len(info), ctypes.addressof(info))
        kind, _, _, _, number, *args = struct.unpack_from("<B3xIQQ7Q", info.raw)
        return (number if kind == _ENTRY else -1), tuple(args)

    def _counts(self, number: int, args: tuple[int, ...]) -> bool:
        if not HARMLESS:
            return True
        if number == _READ:
            try:
                return os.readlink(f"/proc/{self.pid}/fd/{args[0]}").startswith("pipe:")
            except OSError:
                return False
        if number == _OPENAT:
            return bool(args[2] & _OPEN_CHANGES)
        return number not in HARMLESS

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        while self._alive:
            self._stopped()

    def detach(self) -> None:
        if self._alive:
            _call(_DETACH, self.pid)
            self._alive = False

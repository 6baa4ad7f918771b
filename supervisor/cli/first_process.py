"""PID 1, where no supervisor can be asked: whether it is ours, signals to it, and reboot(2).

Law: nothing of this is done to a machine that somebody else's init runs.
"""
from __future__ import annotations

import os
import sys

from supervisor.cli.call import FAILED, NOT_PERMITTED, Failure

KEEPER = "unboxed-init"
# As the keeper takes them, numbered as systemd numbers them: SIGRTMIN+3 and the next.
SIGNALS = {"halt": 37, "poweroff": 38, "reboot": 39, "kexec": 40}
# linux/reboot.h
_COMMANDS = {"halt": 0xCDEF0123, "poweroff": 0x4321FEDC, "reboot": 0x01234567, "kexec": 0x45584543}
SYNC_S = 20.0  # a disk that hangs must not keep a machine from being reset


def check(verb: str) -> None:
    """Raises Failure unless PID 1 is ours."""
    found = name()
    if found != KEEPER:
        raise Failure(
            f"cannot {verb}: PID 1 of this host is {found or 'unknown'}, not {KEEPER}; nothing was"
            f" done, use the commands that came with it")


def name() -> str:
    """Of its program; without root only what it calls itself."""
    try:
        path = os.readlink("/proc/1/exe").removesuffix(" (deleted)")
        return KEEPER if os.path.basename(path).startswith(KEEPER) else os.path.basename(path)
    except OSError:
        pass
    try:
        with open("/proc/1/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def signal(verb: str) -> None:
    """Have PID 1 pass it on to its manager, or do it itself if that does not answer."""
    if os.geteuid():
        raise Failure(f"cannot {verb}: only root may signal PID 1; nothing was done",
                      NOT_PERMITTED)
    check(verb)
    os.kill(1, SIGNALS[verb])


def at_once(verb: str, *, sync: bool = True) -> int:
    """reboot(2), with nothing stopped and nothing unmounted. Returns only if it failed."""
    if os.geteuid():
        raise Failure(f"cannot {verb} at once: only root may; nothing was done", NOT_PERMITTED)
    check(verb)
    if sync:
        _sync()
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.reboot(ctypes.c_int(_COMMANDS[verb]))
    words = os.strerror(ctypes.get_errno()).lower()
    print(f"cannot {verb} at once: {words}; the machine goes on", file=sys.stderr)
    return FAILED


def _sync() -> None:
    """What programs have written, as far as that is possible in some time."""
    import select

    pid = os.fork()
    if not pid:
        os.sync()
        os._exit(0)
    fd = os.pidfd_open(pid)
    if select.select([fd], [], [], SYNC_S)[0]:
        os.waitpid(pid, 0)
    else:
        print(f"not all is written after {SYNC_S:.0f} s; going on without", file=sys.stderr)
    os.close(fd)

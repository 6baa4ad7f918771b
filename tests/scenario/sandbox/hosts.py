"""Hosts that lack things, made around one supervisor: other users, containers, older kernels.

Each is a list of words before the supervisor's command, and touches nobody else: what is refused is
refused by a system call filter of that one process tree, mounts are in a mount namespace.
"""
from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.kernel.sandbox.facts import facts
from supervisor.kernel.seccomp.tables import ARM64, X86_64
from tests.places import let_in
from tests.stack import Stack

NOBODY = 65534
NUMBERS = {"x86_64": X86_64, "aarch64": ARM64}[os.uname().machine]
ROOT = os.geteuid() == 0
EPERM, ENOSPC, ENOSYS = 1, 28, 38
# As the profiles of containers refuse it to those without CAP_SYS_ADMIN.
NAMESPACES = (
    "unshare", "setns", "mount", "umount2", "open_tree", "move_mount", "fsopen", "mount_setattr",
    "bpf", "keyctl",
)  # fmt: skip
# What Docker leaves root, and what Podman and others are close to.
CONTAINER = (
    "chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "mknod",
    "net_bind_service", "net_raw", "sys_chroot", "audit_write", "setfcap",
)  # fmt: skip

REFUSE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
code = bytes.fromhex(sys.argv[1])
kept = ctypes.create_string_buffer(code, len(code))
class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("code", ctypes.c_void_p)]
program = Program(len(code) // 8, ctypes.addressof(kept))
libc.prctl(38, 1, 0, 0, 0)
if libc.prctl(22, 2, ctypes.byref(program), 0, 0):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def refusing(**calls: int) -> list[str]:
    """What it executes gets these errors for these system calls."""
    code = struct.pack("<HBBI", 0x20, 0, 0, 0)  # the number of the call
    for name, error in calls.items():
        code += struct.pack("<HBBI", 0x15, 0, 1, NUMBERS[name])  # is it this one?
        code += struct.pack("<HBBI", 0x06, 0, 0, 0x00050000 | error)
    code += struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
    return [sys.executable, "-I", "-S", "-c", REFUSE, code.hex()]


NO_LANDLOCK = {"landlock_create_ruleset": ENOSYS}
NO_USERS = {"unshare": ENOSPC}  # as with user.max_user_namespaces = 0


def contained(*refused: str, mounts: str = "") -> list[str]:
    """Root with few capabilities, in a pid namespace whose init the keeper is. `mounts`: what a
    shell does in its mount namespace first."""
    sets = ",".join(["-all", *(f"+{name}" for name in CONTAINER)])
    words = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    words += ["sh", "-c", f'{mounts or ":"} && exec "$@"', "sh"]
    words += ["setpriv", f"--bounding-set={sets}", "--inh-caps=-all"]
    return words + (refusing(**dict.fromkeys(refused, EPERM)) if refused else [])


def ordinary(home: Path) -> list[str]:
    """An ordinary user, who has this directory."""
    let_in(home)
    if not ROOT:
        return []
    os.chown(home, NOBODY, NOBODY)
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def can(*words: str) -> bool:
    """Whether a command can be started behind these words."""
    if not shutil.which(words[0]):
        return False
    done = subprocess.run([*words, "true"], check=False, capture_output=True)
    return done.returncode == 0


def user_namespaces(home: Path) -> None:
    """Skips where ordinary users may make none."""
    if not can(*ordinary(home), "unshare", "--user", "--map-root-user", "--mount"):
        pytest.skip("ordinary users may make no user namespaces here")


def landlock(abi: int = 1) -> None:
    """Skips where there is none, or an older one."""
    if facts().landlock < abi:
        pytest.skip(f"Landlock has ABI {facts().landlock} here, not {abi}")


class Contained(Stack):
    """Its keeper is the child of unshare(1), which hands on no signal."""

    def cgroups(self) -> list[Path]:
        found = super().cgroups()
        assert self.process is not None
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        for pid in Path(path).read_text().split():
            os.kill(int(pid), 15)
        return found

"""File systems by which programs speak to the kernel, where this kernel has a directory for them.

What systemd mounts, too: AppArmor needs one, tools for EFI, tracing and crash records the others.
The keeper has mounted those that nothing works without.
"""
from __future__ import annotations

import os

from supervisor.boot._machine import Machine
from supervisor.boot._mounted import seen

_SAFE = "nosuid,nodev,noexec"
# (directory, type, further options)
_MOUNTS = (
    ("/sys/kernel/security", "securityfs", ""), ("/sys/firmware/efi/efivars", "efivarfs", ""),
    ("/sys/fs/pstore", "pstore", ""), ("/sys/kernel/debug", "debugfs", "mode=700"),
    ("/sys/kernel/tracing", "tracefs", ""), ("/sys/kernel/config", "configfs", ""),
    ("/sys/fs/fuse/connections", "fusectl", ""), ("/sys/fs/bpf", "bpf", "mode=700"),
    ("/dev/mqueue", "mqueue", ""), ("/dev/hugepages", "hugetlbfs", ""),
)
_MADE = ("/dev/mqueue", "/dev/hugepages")  # all others are the kernel's to make
_TABLE = "/run/unboxed/boot/kernel.fstab"
_MOUNT_S = 30.0


def mount(machine: Machine) -> str:
    """All at once, by a table of their own. What was done, in words."""
    known = {line.split()[-1] for line in machine.read("/proc/filesystems").splitlines() if line}
    there = seen(machine)
    wanted = []
    for target, kind, options in _MOUNTS:
        if kind not in known or target in there:
            continue
        if target in _MADE:
            try:
                os.makedirs(machine.path(target), 0o755, exist_ok=True)
            except OSError:
                continue
        if machine.exists(target):
            row = ",".join(filter(None, (_SAFE, options)))
            wanted.append(f"{kind} {target} {kind} {row} 0 0")
    if not wanted:
        return ""
    try:
        os.makedirs(machine.path(os.path.dirname(_TABLE)), 0o755, exist_ok=True)
        with open(machine.path(_TABLE), "w", encoding="ascii") as file:
            file.write("\n".join([*wanted, ""]))
    except OSError as error:
        machine.warn(f"cannot mount the kernel's file systems: {error}; the boot goes on without")
        return ""
    ended = machine.tools.run("mount", "-a", "-T", machine.path(_TABLE), timeout_s=_MOUNT_S)
    if ended.code:
        machine.warn(f"cannot mount all of the kernel's file systems: {ended.words()}; the boot"
                     " goes on without")
    return f"kernel file systems: {len(wanted)}" + (" (not all)" if ended.code else "")

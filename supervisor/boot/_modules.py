"""Kernel modules that are asked for by name, and device nodes of modules that load when opened.

From modules-load.d, /etc/modules and modules-load= on the kernel command line, in this order; all
others are loaded by udev and by the kernel itself, when there is a device or a use for them.
"""
from __future__ import annotations

import os
import stat

from supervisor.boot._drop_ins import files, lines
from supervisor.boot._machine import Machine

_MODPROBE_S = 60.0
# What udev's rules say of them once it runs; all others are root's alone.
_MODES = {"fuse": 0o666, "net/tun": 0o666}


def wanted(machine: Machine) -> list[tuple[str, ...]]:
    """Each with its parameters, in order, once."""
    found: dict[str, tuple[str, ...]] = {}
    for path in [*files(machine, "modules-load.d"), "/etc/modules"]:
        for line in lines(machine, path):
            name, *parameters = line.split()
            found.setdefault(_normal(name), (name, *parameters))
    for word in machine.cmdline():
        key, _, value = word.partition("=")
        if key in ("modules-load", "modules_load"):
            for name in filter(None, value.split(",")):
                found.setdefault(_normal(name), (name,))
    return list(found.values())


def load(machine: Machine) -> str:
    """What was done, in words; "" if there was nothing to do."""
    names = wanted(machine)
    new = [each for each in names if not machine.exists(f"/sys/module/{_normal(each[0])}")]
    if not new:
        return f"modules: {len(names)} are there already" if names else ""
    if not machine.exists("/proc/modules"):
        return ""  # this kernel has none
    plain = [each[0] for each in new if len(each) == 1]
    calls: list[tuple[str, ...]] = [("-a", "-b", *plain)] if plain else []
    calls += [("-b", *each) for each in new if len(each) > 1]
    bad = 0
    for call in calls:
        ended = machine.tools.run("modprobe", *call, timeout_s=_MODPROBE_S)
        if ended.code:
            bad += 1
            names_here = plain if call[0] == "-a" else [call[1]]
            machine.warn(f"cannot load all of {', '.join(names_here)}: {ended.words()};"
                         " the boot goes on without")
    return f"modules: {', '.join(each[0] for each in new)}" + (" (not all)" if bad else "")


def static_nodes(machine: Machine) -> int:
    """Make nodes of modules that the kernel loads when they are opened (kmod's modules.devname);
    returns how many."""
    made = 0
    for line in lines(machine, f"/lib/modules/{os.uname().release}/modules.devname"):
        words = line.split()
        if len(words) != 3 or words[2][0] not in "bc":
            continue
        major, _, minor = words[2][1:].partition(":")
        if not (major.isdigit() and minor.isdigit()):
            continue
        path = machine.path(f"/dev/{words[1]}")
        kind = stat.S_IFBLK if words[2][0] == "b" else stat.S_IFCHR
        mode = _MODES.get(words[1], 0o600)
        try:
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            os.mknod(path, kind | mode, os.makedev(int(major), int(minor)))
            os.chmod(path, mode)
        except OSError:
            continue  # it is there: the module is loaded, or this is no first time
        made += 1
    return made


def _normal(name: str) -> str:
    return name.replace("-", "_")

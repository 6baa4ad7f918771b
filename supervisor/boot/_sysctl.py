"""Kernel settings of sysctl.d: by sysctl --system (procps), or file by file without that."""
from __future__ import annotations

import os

from supervisor.boot._drop_ins import files
from supervisor.boot._machine import Machine

_SYSCTL_S = 30.0


def apply(machine: Machine) -> str:
    """What was done, in words."""
    paths = files(machine, "sysctl.d")
    if machine.exists("/etc/sysctl.conf"):
        paths.append("/etc/sysctl.conf")
    if not paths:
        return ""
    program = machine.tools.find("sysctl")
    if not program:
        machine.warn("cannot set sysctls: there is no sysctl program (Debian: procps);"
                     f" {len(paths)} files are not used")
        return ""
    if os.path.basename(os.path.realpath(program)) == "busybox":  # it knows no --system
        ended = machine.tools.run("sysctl", "-e", "-q", "-p", *map(machine.path, paths),
                                  timeout_s=_SYSCTL_S)
    else:
        ended = machine.tools.run("sysctl", "-q", "--system", timeout_s=_SYSCTL_S)
    bad = bool(ended.code or ended.text.strip())  # told to be quiet, it says what is wrong
    if bad:
        machine.warn(f"cannot set all sysctls: {ended.words()}; those are as they were")
    return f"sysctl: {len(paths)} files" + (" (not all of it)" if bad else "")

"""Directories of settings as Debian has them: /etc hides /run, that /usr/local/lib, that /usr/lib.

A file hides those of the same name in directories of lower rank (a link to /dev/null hides them
and says nothing itself); all are read in order of their names: modules-load.d(5), sysctl.d(5).
"""
from __future__ import annotations

import os

from supervisor.boot._machine import Machine

_ABOVE = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")


def files(machine: Machine, folder: str) -> list[str]:
    """Paths of the .conf files of a folder such as "sysctl.d", in the order in which they count."""
    found: dict[str, str] = {}
    for above in _ABOVE:
        try:
            names = os.listdir(machine.path(f"{above}/{folder}"))
        except OSError:
            continue
        for name in names:
            if name.endswith(".conf"):
                found.setdefault(name, f"{above}/{folder}/{name}")
    return [found[name] for name in sorted(found)]


def lines(machine: Machine, path: str) -> list[str]:
    """Those of a file that are no comment, trimmed."""
    trimmed = (line.strip() for line in machine.read(path).splitlines())
    return [line for line in trimmed if line and line[0] not in "#;"]

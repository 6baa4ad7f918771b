"""What was to be executed, for the words of a launch that failed or could not begin: loaded for
these only.

Law: of a script the kernel says "No such file or directory" when its interpreter is what is missing
(or hidden by its sandbox), so both are named, with no symbolic link in them.
"""
from __future__ import annotations

import os
import stat
import sys

from supervisor.kernel.users import find_program

OWN = "unboxed"  # as units of agents have it; its environment need not be in a unit's PATH

_LINE = 255  # of execve(2): what of the first line it reads


def named(word: str, path: str) -> str:
    """The program that `word` is in a PATH, and what runs it: "/opt/x/bin/web, which
    /usr/bin/python3.11 runs". As `word` has it where there is no such file."""
    found = find_program(word, path) or word
    runs = _interpreter(found)
    return f"{found}, which {runs} runs" if runs else found


def missing(word: str, path: str) -> str:
    """That no directory of a PATH has it, and how to put our own command into one."""
    own = f"{os.path.dirname(sys.executable)}/{OWN}"
    remedy = ""
    if word == OWN and os.access(own, os.X_OK):
        remedy = f"; `ln -s {own} /usr/local/bin/` puts it into one"
    return f"{word} is in no directory of PATH ({path}){remedy}"


def _interpreter(path: str) -> str:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return ""
        with open(path, "rb", buffering=0) as file:
            first = file.read(_LINE)
    except OSError:
        return ""
    if not first.startswith(b"#!"):
        return ""
    words = first[2:].partition(b"\n")[0].split(None, 1)
    return os.path.realpath(os.fsdecode(words[0])) if words else ""

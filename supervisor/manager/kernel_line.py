"""What the kernel's command line asks of a machine's manager.

    unboxed.units=DIR              read unit files from there, as by --units; may be repeated
    unboxed.target=UNIT            start that (after `boot`) instead of all that have autostart
    unboxed.shutdown_timeout=TIME  how long services may take to stop (90s)
    quiet                          only problems and the shutdown are told on the console

Law: what cannot be understood is told and left out; a machine boots all the same. Only the kernel
that booted us is asked: in a container these are the words of somebody else's.
"""
from __future__ import annotations

import os

from supervisor.kernel.host import read

_NAMESPACE = "/proc/self/ns/pid"
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # the kernel's PROC_PID_INIT_INO


class KernelLine:
    def __init__(self, text: str) -> None:
        self.units: list[str] = []
        self.target: list[str] = []
        self.close_ns = 0  # 0: as usual
        self.quiet = False
        self.problems: list[str] = []
        for word in split(text):
            name, equals, value = word.partition("=")
            if word == "--":
                return  # what follows is for init
            if word == "quiet":
                self.quiet = True
            elif name == "unboxed.units" and value.startswith("/"):
                self.units.append(value)
            elif name == "unboxed.target" and value:
                self.target.append(value)
            elif name == "unboxed.shutdown_timeout" and equals:
                self.close_ns = self._duration(word, value)
            elif name in ("unboxed.units", "unboxed.target", "unboxed.shutdown_timeout"):
                self._complain(word, "an absolute path belongs there" if name == "unboxed.units"
                               else "its value is missing")

    def _duration(self, word: str, value: str) -> int:
        from supervisor.config.quantity import POSITIVE_DURATION
        from supervisor.config.table import Refused

        try:
            found: int = POSITIVE_DURATION.parse(int(value) if value.isdecimal() else value)
        except Refused as why:
            self._complain(word, str(why))
            return 0
        return found

    def _complain(self, word: str, why: str) -> None:
        self.problems.append(
            f"cannot use {word} on the kernel's command line: {why}; going on without it")


def split(text: str) -> list[str]:
    """The words of a command line, as the kernel splits them: double quotes keep blanks together,
    and are no part of the word."""
    words: list[str] = []
    word, quoted, begun = "", False, False
    for char in text.rstrip("\n"):
        if char == '"':
            quoted, begun = not quoted, True
        elif char in " \t" and not quoted:
            if begun:
                words.append(word)
            word, begun = "", False
        else:
            word, begun = word + char, True
    return [*words, word] if begun else words


def is_ours() -> bool:
    """Whether this kernel runs for us alone: our keeper is PID 1, and of no container."""
    try:
        return os.getppid() == 1 and os.stat(_NAMESPACE).st_ino == _INITIAL_PID_NAMESPACE
    except OSError:
        return False


def kernel_line() -> KernelLine:
    return KernelLine(read("/proc/cmdline") if is_ours() else "")

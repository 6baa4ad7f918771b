"""`unboxed agent receive syslog|kernel|journal`: what programs say to the machine's own log becomes
the log of an ordinary service.

Law: one JSON object a line on standard output, {"priority", "ident", "pid", "uid", "unit",
"message", "source", ...}; the logger stores it as it does any line, and `unboxed logs` reads
priority and fields of it. Who sent a message is what the kernel says, never what the message says.
Nothing that a sender can do ends this, makes it wait, or leaves a descriptor open.

    syslog, kernel, journal   one format each: bytes to an entry
    entry      an entry as a line, which has an upper bound
    sender     which of our units a process belongs to
    datagrams  a socket's messages, with who sent them
    cursor     how far the kernel's log was read
    main       options and the loop
"""
from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Exit status: 0 told to end, 1 cannot receive, 2 bad usage."""
    from supervisor.agents.receive.main import run

    return run(argv)

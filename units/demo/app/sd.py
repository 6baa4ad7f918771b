"""What a service and its supervisor say to each other: sd_notify(3) and sd_listen_fds(3)."""
from __future__ import annotations

import os
import socket
import time

FIRST_FD = 3


def notify(*lines: str) -> None:
    """Tell the supervisor ("READY=1", "STATUS=..."). Nothing happens where none listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # the abstract name space
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        sender.sendall("\n".join(lines).encode())


def reloading() -> None:
    """A reload begins; READY=1 ends it. The time lets the supervisor tell two of them apart."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def listeners() -> list[socket.socket]:
    """The listening sockets that were passed to this very process, non-blocking.

    Several processes share one queue of connections, so whoever is woken may find that another was
    faster: a blocking accept() would then hang.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    found = []
    for number in range(int(os.environ.get("LISTEN_FDS", "0"))):
        os.set_inheritable(FIRST_FD + number, False)
        listener = socket.socket(fileno=FIRST_FD + number)
        listener.setblocking(False)
        found.append(listener)
    return found

"""What the shipper has to say for itself: to its log, and to who asks for its status."""
from __future__ import annotations

import os
import socket
import sys


def say(text: str) -> None:
    """On standard error, which is the agent's own log: one line, whatever a receiver has said."""
    print(f"shipper: {one_line(text)}", file=sys.stderr, flush=True)


def tell(status: str, *, ready: bool = False) -> None:
    """sd_notify(3), if somebody listens: what `unboxed status shipper` shows. Never waits."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    text = ("READY=1\n" if ready else "") + f"STATUS={one_line(status)}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            sender.sendto(text.encode("utf-8", "replace"), path.replace("@", "\0", 1)
                          if path.startswith("@") else path)
    except OSError:  # the supervisor is busy, or being replaced: the log has it too
        return


def one_line(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)

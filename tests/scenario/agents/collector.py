"""An agent for tests: appends what it is fed to OUT, acknowledges it if it can, and notes its own
life in OUT.life. SIGUSR1 makes it stop reading (it goes on with SIGUSR2)."""
from __future__ import annotations

import json
import os
import signal
import sys
import time


def main(out: str) -> None:
    paused = False

    def pause(number: int, _: object) -> None:
        nonlocal paused
        paused = number == signal.SIGUSR1

    signal.signal(signal.SIGUSR1, pause)
    signal.signal(signal.SIGUSR2, pause)
    acks = int(os.environ.get("UNBOXED_ACK_FD", "-1"))
    with open(f"{out}.life", "a", buffering=1) as life:
        names = [name for name in os.environ if name.startswith("UNBOXED_")]
        env = {name: os.environ[name] for name in sorted(names)}
        life.write(json.dumps({"event": "begin", "pid": os.getpid(), "env": env}) + "\n")
        with open(out, "ab", buffering=0) as file:
            rest = b""
            while data := os.read(0, 65536):
                while paused:
                    time.sleep(0.01)
                *lines, rest = (rest + data).split(b"\n")
                file.write(b"".join(line + b"\n" for line in lines if line))
                if acks >= 0:
                    cursors = [json.loads(line)["cursor"] for line in lines if line[:1] == b"{"]
                    if cursors:
                        os.write(acks, "".join(f"{one}\n" for one in cursors).encode())
        life.write(json.dumps({"event": "end of file", "time_ns": time.time_ns()}) + "\n")


main(sys.argv[1])

"""A subreaper that starts what JSON lines on its standard input ask for, and prints the pids.

    {"script": TEXT, "env": {...}}   a shell with that script, in a session of its own
    {"many": N}                      N processes that do nothing

When its input ends it kills whatever it has for children, until there are none.
"""

import ctypes
import json
import os
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36


def start(script: str, env: dict[str, str]) -> int:
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.execve("/bin/sh", ["/bin/sh", "-c", script], {"PATH": os.defpath, **env})
    return pid


def idle() -> int:
    pid = os.fork()
    if not pid:
        while True:
            signal.pause()
    return pid


def children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(word) for word in file.read().split()]


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    for line in sys.stdin:
        order = json.loads(line)
        if "many" in order:
            answer: object = [idle() for _ in range(order["many"])]
        else:
            answer = start(order["script"], order["env"])
        print(json.dumps(answer), flush=True)
    while left := children():
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


if __name__ == "__main__":
    main()

"""An agent for tests that takes what comes over UNBOXED_AGENT_FD: each message is a line of OUT,
with what its descriptors say. It looks at UNBOXED_ENDPOINTS and UNBOXED_STATUS first."""
from __future__ import annotations

import json
import os
import select
import socket
import sys
from typing import Any


def main(out: str) -> None:
    with open(out, "a", buffering=1) as file:
        if path := os.environ.get("UNBOXED_ENDPOINTS"):
            with open(path) as endpoints:
                file.write(json.dumps({"endpoints": json.load(endpoints)["units"]}) + "\n")
        if path := os.environ.get("UNBOXED_STATUS"):
            file.write(json.dumps({"status": asked(path)}) + "\n")
        if "UNBOXED_AGENT_FD" in os.environ:
            with socket.socket(fileno=int(os.environ["UNBOXED_AGENT_FD"])) as sock:
                while row := taken(sock):
                    file.write(json.dumps(row) + "\n")
        file.write('{"event": "end"}\n')
        while True:
            select.select([], [], [])


def asked(path: str) -> list[str]:
    """The keys of all instances, by the status socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(b'{"method": "io.unboxed.Supervisor.Status", "parameters": {}}\0')
        data = b""
        while not data.endswith(b"\0"):
            data += sock.recv(65536)
    return [row["key"] for row in json.loads(data[:-1])["parameters"]["instances"]]


def taken(sock: socket.socket) -> dict[str, Any]:
    message, fds, _, _ = socket.recv_fds(sock, 4096, 2)
    if not message:
        return {}
    row: dict[str, Any] = json.loads(message)
    for name, fd in zip(row["descriptors"], fds, strict=True):
        if name == "cgroup":
            procs = os.open("cgroup.procs", os.O_RDONLY, dir_fd=fd)
            row["in group"] = [int(line) for line in os.read(procs, 65536).split()]
            os.close(procs)
        else:
            with open(f"/proc/self/fdinfo/{fd}") as info:
                row["pid of fd"] = int(info.read().rpartition("Pid:")[2].split()[0])
            ended = select.poll()
            ended.register(fd, select.POLLIN)
            row["ended"] = bool(ended.poll(0))
        os.close(fd)
    return row


main(sys.argv[1])

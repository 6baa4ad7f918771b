"""The internet sockets of this host and who has them, from /proc: read-only, and no right needed
but to see whose they are (which takes root, for those of others).

A service with a network of its own has its own tables: they are read through its main process.
"""
from __future__ import annotations

import os
from socket import AF_INET, AF_INET6, inet_ntop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TABLES = ("tcp", "tcp6", "udp", "udp6")
_LISTEN, _ESTABLISHED, _UNCONNECTED = "0A", "01", "07"  # of TCP; of UDP the last one
_PREFIX = "socket:["


class Socket:
    """`remote` "": it waits for others. `port` 0 is none."""

    def __init__(
        self, protocol: str, address: str, port: int, remote: str, inode: int, network: str
    ) -> None:
        self.protocol = protocol
        self.address = address
        self.port = port
        self.remote = remote
        self.inode = inode
        self.network = network  # "net:[4026531840]", whose it is

    def local(self) -> str:
        return place(self.address, self.port)


def place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def network(proc: str = "/proc") -> str:
    """The one that this process is in, "" if that cannot be known."""
    try:
        return os.readlink(f"{proc}/self/ns/net")
    except OSError:
        return ""


def sockets(pids: Iterable[int], proc: str = "/proc") -> list[Socket]:
    """Those that wait and those that are connected, in the network of this process and in those of
    `pids`."""
    seen: set[str] = set()
    found: list[Socket] = []
    for who in ("self", *map(str, pids)):
        try:
            network = os.readlink(f"{proc}/{who}/ns/net")
        except OSError:
            continue  # it has ended, or is not ours to look at
        if network not in seen:
            seen.add(network)
            for name in _TABLES:
                found += _table(f"{proc}/{who}/net/{name}", name, network)
    return found


def _table(path: str, name: str, network: str) -> Iterator[Socket]:
    try:
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines()[1:]
    except OSError:
        return  # no IPv6 here
    for line in lines:
        fields = line.split()
        state, inode = fields[3], int(fields[9])
        address, port = _address(fields[1])
        if state == (_LISTEN if name.startswith("tcp") else _UNCONNECTED):
            yield Socket(name, address, port, "", inode, network)
        elif state == _ESTABLISHED:
            yield Socket(name, address, port, place(*_address(fields[2])), inode, network)


def _address(text: str) -> tuple[str, int]:
    """"0100007F:1F90" is 127.0.0.1 and 8080: words of 32 bits in the host's byte order."""
    words, _, port = text.partition(":")
    raw = b"".join(
        bytes.fromhex(words[at : at + 8])[::-1] for at in range(0, len(words), 8)
    )  # fmt: skip
    return inet_ntop(AF_INET if len(raw) == 4 else AF_INET6, raw), int(port, 16)


def owners(inodes: set[int], proc: str = "/proc") -> dict[int, list[int]]:
    """Inode -> pids of the processes that have the socket open, as far as we may see."""
    found: dict[int, list[int]] = {}
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        try:
            fds = os.listdir(f"{proc}/{name}/fd")
        except OSError:
            continue
        for fd in fds:
            try:
                target = os.readlink(f"{proc}/{name}/fd/{fd}")
            except OSError:
                continue
            if target.startswith(_PREFIX) and int(target[len(_PREFIX) : -1]) in inodes:
                pids = found.setdefault(int(target[len(_PREFIX) : -1]), [])
                if int(name) not in pids:
                    pids.append(int(name))
    return found


def cgroup(pid: int, proc: str = "/proc") -> str:
    """Its path in cgroup v2, "" if that is not to be had."""
    try:
        with open(f"{proc}/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("0::"):
                    return line[3:].rstrip("\n")
    except OSError:
        pass
    return ""


def command(pid: int, proc: str = "/proc") -> str:
    try:
        with open(f"{proc}/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""

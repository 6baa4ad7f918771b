"""A file system in memory whose writes take as long as one says: `python slow_fuse.py MOUNTPOINT
SECONDS_FILE`. Mounts itself, says so on standard output, and before each write sleeps for as long
as SECONDS_FILE says at that time (fuse(4), linux/fuse.h)."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

HEADER = struct.Struct("<IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
INIT_OUT = struct.Struct("<IIIIHHII36x")  # version, read ahead, flags, two limits, max write, ...
ATTR = struct.Struct("<6Q10I")
MS_NOSUID, MS_NODEV = 2, 4
MAX_WRITE = 128 << 10
BIG_WRITES = 1 << 5  # of INIT: more than a page at once
SIZE_IS_VALID = 1 << 3  # of SETATTR
NO_ANSWER = b"\0none"


class Node:
    def __init__(self, number: int, mode: int) -> None:
        self.number, self.mode = number, mode
        self.data = bytearray()
        self.names: dict[bytes, Node] = {}
        self.links = 1
        self.changed_ns = time.time_ns()

    def attr(self) -> bytes:
        seconds, ns = divmod(self.changed_ns, 10**9)
        size = len(self.data)
        return ATTR.pack(
            self.number, size, (size + 511) // 512, seconds, seconds, seconds, ns, ns, ns,
            self.mode, self.links, os.geteuid(), os.getegid(), 0, 4096, 0,
        )  # fmt: skip


class FileSystem:
    def __init__(self, seconds: Path) -> None:
        self.seconds = seconds
        self.nodes = {1: Node(1, stat.S_IFDIR | 0o755)}
        self.calls: dict[int, Callable[[Node, bytes], bytes]] = {
            1: self.lookup, 2: self.forget, 42: self.forget, 3: self.getattr, 4: self.setattr,
            9: self.mkdir, 10: self.unlink, 11: self.unlink, 12: self.rename, 14: self.open,
            15: self.read, 16: self.write, 17: self.statfs, 18: self.nothing, 20: self.nothing,
            25: self.nothing, 26: self.init, 27: self.open, 28: self.readdir, 29: self.nothing,
            35: self.create, 36: self.forget, 45: self.rename2,
        }  # fmt: skip

    def answer(self, request: bytes) -> bytes:
        """The answer to a request, its header included; empty if there is none."""
        _, opcode, unique, node, *_ = HEADER.unpack_from(request)
        error, body = 0, b""
        try:
            call = self.calls.get(opcode)
            if call is None:
                raise OSError(errno.ENOSYS, "")
            body = call(self.nodes.get(node) or self.nodes[1], request[HEADER.size :])
        except OSError as failed:
            error = -(failed.errno or errno.EIO)
        if body is NO_ANSWER:
            return b""
        return struct.pack("<IiQ", 16 + len(body), error, unique) + body

    def init(self, _node: Node, _body: bytes) -> bytes:
        return INIT_OUT.pack(7, 31, 0, BIG_WRITES, 16, 12, MAX_WRITE, 1)

    def forget(self, _node: Node, _body: bytes) -> bytes:
        return NO_ANSWER

    def nothing(self, _node: Node, _body: bytes) -> bytes:
        return b""

    def entry(self, node: Node) -> bytes:
        return struct.pack("<4QII", node.number, 0, 0, 0, 0, 0) + node.attr()

    def lookup(self, node: Node, body: bytes) -> bytes:
        found = node.names.get(body.rstrip(b"\0"))
        if found is None:
            raise OSError(errno.ENOENT, "")
        return self.entry(found)

    def getattr(self, node: Node, _body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + node.attr()

    def setattr(self, node: Node, body: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("<IIQQ", body)
        if valid & SIZE_IS_VALID:
            del node.data[size:]
            node.data.extend(bytes(size - len(node.data)))
        return self.getattr(node, b"")

    def add(self, parent: Node, name: bytes, mode: int) -> Node:
        if name in parent.names:
            raise OSError(errno.EEXIST, "")
        node = Node(max(self.nodes) + 1, mode)
        self.nodes[node.number] = parent.names[name] = node
        return node

    def mkdir(self, node: Node, body: bytes) -> bytes:
        (mode,) = struct.unpack_from("<I", body)
        return self.entry(self.add(node, body[8:].rstrip(b"\0"), stat.S_IFDIR | mode))

    def create(self, node: Node, body: bytes) -> bytes:
        _, mode = struct.unpack_from("<II", body)
        made = self.add(node, body[16:].rstrip(b"\0"), stat.S_IFREG | mode & 0o777)
        return self.entry(made) + self.open(made, b"")

    def open(self, _node: Node, _body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0)

    def unlink(self, node: Node, body: bytes) -> bytes:
        gone = node.names.pop(body.rstrip(b"\0"), None)
        if gone is None:
            raise OSError(errno.ENOENT, "")
        gone.links = 0
        return b""

    def rename(self, node: Node, body: bytes) -> bytes:
        return self._rename(node, struct.unpack_from("<Q", body)[0], body[8:])

    def rename2(self, node: Node, body: bytes) -> bytes:
        return self._rename(node, struct.unpack_from("<Q", body)[0], body[16:])

    def _rename(self, node: Node, parent: int, names: bytes) -> bytes:
        old, new = names.rstrip(b"\0").split(b"\0")
        self.nodes[parent].names[new] = node.names.pop(old)
        return b""

    def read(self, node: Node, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        return bytes(node.data[offset : offset + size])

    def write(self, node: Node, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        time.sleep(float(self.seconds.read_text()))
        node.data.extend(bytes(max(0, offset + size - len(node.data))))
        node.data[offset : offset + size] = body[40 : 40 + size]
        node.changed_ns = time.time_ns()
        return struct.pack("<II", size, 0)

    def statfs(self, _node: Node, _body: bytes) -> bytes:
        return struct.pack("<5Q4I24x", *([1 << 20] * 5), 4096, 255, 4096, 0)

    def readdir(self, node: Node, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        found = b""
        for at, (name, one) in enumerate(list(node.names.items())[offset:], offset + 1):
            row = struct.pack("<QQII", one.number, at, len(name), one.mode >> 12) + name
            row += bytes(-len(row) % 8)
            if len(found) + len(row) > size:
                break
            found += row
        return found


def main(mountpoint: str, seconds: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(
        b"slow", mountpoint.encode(), b"fuse", MS_NOSUID | MS_NODEV, options.encode()
    ):  # fmt: skip
        raise OSError(ctypes.get_errno(), "cannot mount", mountpoint)
    files = FileSystem(Path(seconds))
    print("mounted", flush=True)
    while True:
        try:
            request = os.read(device, MAX_WRITE + (64 << 10))
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                return
            continue
        if answer := files.answer(request):
            try:
                os.write(device, answer)
            except OSError:  # who asked was killed
                continue


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A file system that never answers: `python hung_fuse.py MOUNTPOINT ASKED`. Mounts itself, says so
on standard output, and touches ASKED once somebody waits for it (fuse(4), linux/fuse.h)."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path

HEADER = struct.Struct("<IIQQIIIHH")  # length, opcode, unique, node, uid, gid, pid, ...
INIT = 26
INIT_OUT = struct.Struct("<IIIIHHII36x")  # version, read ahead, flags, two limits, max write, ...
MS_NOSUID, MS_NODEV = 2, 4


def main(mountpoint: str, asked: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(
        b"hung", mountpoint.encode(), b"fuse", MS_NOSUID | MS_NODEV, options.encode()
    ):  # fmt: skip
        raise OSError(ctypes.get_errno(), "cannot mount", mountpoint)
    while True:
        request = os.read(device, 1 << 20)
        _, opcode, unique, *_ = HEADER.unpack_from(request)
        if opcode == INIT:
            answer = INIT_OUT.pack(7, 31, 0, 0, 1, 1, 4096, 1)
            os.write(device, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)
            print("mounted", flush=True)
        else:
            Path(asked).touch()


if __name__ == "__main__":
    main(*sys.argv[1:])

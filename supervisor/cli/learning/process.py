"""A process that waits in a call: what its pointers point to, and what its paths lead to.

Law: all is seen as the process sees it, through its own root and mounts; a link is followed within
its root only (RESOLVE_IN_ROOT), never in ours. Whatever cannot be read is None: the process may
have been killed, or its pointer may be wrong.
"""
from __future__ import annotations

import ctypes
import os
import stat
from _socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SO_DOMAIN,
    SO_PROTOCOL,
    SOL_SOCKET,
    inet_ntop,
    socket,
)
from _struct import Struct

from supervisor.cli.learning.listener import CannotTake, take
from supervisor.cli.learning.notes import Address, Found
from supervisor.kernel.host import read

_MAX_PATH = 4096
_PAGE = 4096
_OPENAT2 = 437  # the same everywhere
_HOW = Struct("<QQQ")
_RESOLVE_IN_ROOT, _CLOEXEC, _PATH_ONLY = 0x10, 0o2000000, 0o10000000
_NOFOLLOW = os.O_NOFOLLOW
_INT = 0xFFFFFFFF
_WRITE = 2
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_MSGHDR = Struct("<QI4x")
_KINDS = (
    (stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"),
)  # fmt: skip
_OWN = ("/proc/", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/tty")
_PROTOCOLS = {IPPROTO_TCP: "tcp", IPPROTO_UDP: "udp"}
_libc = ctypes.CDLL(None, use_errno=True)


class Process:
    """By the number of a thread."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._proc = f"/proc/{pid}"

    def bytes_at(self, address: int, size: int) -> bytes | None:
        try:
            fd = os.open(f"{self._proc}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return os.pread(fd, size, address)
        except (OSError, OverflowError):
            return None
        finally:
            os.close(fd)

    def text_at(self, address: int) -> str | None:
        """Up to its NUL. What follows may be no memory of its, so page by page."""
        text = b""
        while len(text) < _MAX_PATH:
            part = self.bytes_at(address, _PAGE - address % _PAGE)
            if not part:
                return None
            found, nul, _ = part.partition(b"\0")
            text += found
            if nul:
                return os.fsdecode(text)
            address += len(part)
        return None

    def path(self, directory: int | None, text: str, *, follow: bool = True) -> Found | None:
        """`directory`: a descriptor of its; None: its working directory."""
        where = "cwd" if directory is None else f"fd/{_signed(directory)}"
        if not text.startswith("/"):
            base = self._link(where)
            if base is None or not base.startswith("/"):
                return None
            text = f"{base}/{text}" if text else base
        return self._resolved(_plain(text), follow)

    def descriptor(self, number: int) -> Found | None:
        """What a descriptor is, if it is something in the file system."""
        base = self._link(f"fd/{_signed(number)}")
        return self._resolved(base, follow=False) if base and base.startswith("/") else None

    def may(self, path: str, right: int) -> bool:
        """Whether modes and owners let it read (4) or write (2) there. What else refuses is not
        looked at: this is for what would fail in any sandbox."""
        try:
            root = os.open(f"{self._proc}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            fd = _open_in(root, path, _PATH_ONLY | _CLOEXEC)
        finally:
            os.close(root)
        if fd < 0:
            return True
        try:
            info = os.fstat(fd)
            fixed = os.fstatvfs(fd).f_flag & os.ST_RDONLY and not stat.S_ISCHR(info.st_mode)
        finally:
            os.close(fd)
        if right == _WRITE and fixed:
            return False
        status = self._status()
        override = 1 << _CAP_DAC_OVERRIDE | (0 if right == _WRITE else 1 << _CAP_DAC_READ_SEARCH)
        if int(status.get("CapEff", "0"), 16) & override:
            return True
        groups = [*status.get("Gid", "").split()[3:], *status.get("Groups", "").split()]
        if status.get("Uid", "").split()[3:] == [str(info.st_uid)]:
            right <<= 6
        elif str(info.st_gid) in groups:
            right <<= 3
        return bool(info.st_mode & right)

    def _link(self, name: str) -> str | None:
        """A path of a link in /proc, seen from its root."""
        try:
            root = os.readlink(f"{self._proc}/root")
            path = os.readlink(f"{self._proc}/{name}")
        except OSError:
            return None
        if root != "/" and (path == root or path.startswith(root + "/")):
            return path[len(root) :] or "/"
        return path

    def _resolved(self, path: str, follow: bool) -> Found | None:
        """Where an absolute path leads. What leads to something else for each process that asks is
        left as it is: that would be ours."""
        if path == "/proc" or path.startswith(_OWN):
            return Found(path, path, "other")
        try:
            root = os.open(f"{self._proc}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            flags = _PATH_ONLY | _CLOEXEC | (0 if follow else _NOFOLLOW)
            fd = _open_in(root, path, flags)
            if fd < 0:
                return Found(path, path, "")
            try:
                mode = os.fstat(fd).st_mode
                real = os.readlink(f"/proc/self/fd/{fd}")
            finally:
                os.close(fd)
        finally:
            os.close(root)
        kind = next((name for test, name in _KINDS if test(mode)), "other")
        return Found(real if ".." in path.split("/") else path, real, kind)

    def address(self, number: int, where: int, size: int) -> tuple[int, Address | None]:
        """The family, and the address that lies at `where`, of its socket `number`."""
        data = self.bytes_at(where, min(size, 128)) if where and size >= 2 else None
        if not data:
            return 0, None
        family = int.from_bytes(data[:2], "little")
        if family == AF_UNIX:
            return family, _unix(data[2:])
        if family not in (AF_INET, AF_INET6) or len(data) < 8:
            return family, None
        host = inet_ntop(family, data[8:24] if family == AF_INET6 else data[4:8])
        protocol = _PROTOCOLS.get(self._option(number, SO_PROTOCOL), "")
        return family, Address(protocol, host, int.from_bytes(data[2:4], "big"))

    def message_address(self, number: int, where: int) -> tuple[int, Address | None]:
        """Of a struct msghdr: whom the message is for, if that is said."""
        head = self.bytes_at(where, _MSGHDR.size)
        if not head or len(head) < _MSGHDR.size:
            return self.family(number), None
        name, size = _MSGHDR.unpack(head)
        family, address = self.address(number, name, size)
        return family or self.family(number), address

    def family(self, number: int) -> int:
        """Of its socket, 0 if it is none."""
        return max(0, self._option(number, SO_DOMAIN))

    def leader(self) -> int:
        """Its thread group: what is called a process."""
        return int(self._status().get("Tgid", self.pid))

    def _status(self) -> dict[str, str]:
        lines = read(f"{self._proc}/status").splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    def _option(self, number: int, option: int) -> int:
        try:
            fd = take(self.leader(), number)
        except CannotTake:
            return -1
        try:
            one = socket(fileno=fd)
        except OSError:  # no socket
            os.close(fd)
            return -1
        try:
            return one.getsockopt(SOL_SOCKET, option)
        except OSError:
            return -1
        finally:
            one.close()


def _open_in(root: int, path: str, flags: int) -> int:
    how = _HOW.pack(flags, 0, _RESOLVE_IN_ROOT)
    name = os.fsencode(path.lstrip("/") or ".")
    return int(_libc.syscall(_OPENAT2, root, name, how, _HOW.size))


def _unix(data: bytes) -> Address | None:
    if not data:
        return None  # the kernel chooses a name
    if data[0] == 0:
        return Address("abstract", os.fsdecode(data[1:].rstrip(b"\0")))
    return Address("unix", os.fsdecode(data.partition(b"\0")[0]))


def _plain(path: str) -> str:
    """Without empty parts and "."; ".." is for the kernel, since it may stand behind a link."""
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _signed(number: int) -> int:
    low = number & _INT
    return low - (1 << 32) if low >> 31 else low

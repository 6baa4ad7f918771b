"""A socket to the kernel's routing tables (rtnetlink(7)), with the message classes of pyroute2.

Law: one request, one answer, in order; events on a socket of their own. Who opened it closes it.

`import pyroute2` loads all that library has (110 ms and 20 MiB, several times that in a virtual
machine), and its IPRoute brings asyncio (80 ms). The classes that know the layout of a message need
neither: 15 ms. So they are imported below a package that only knows where its modules are, which is
gone again afterwards.
"""
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket
from struct import unpack_from
from types import ModuleType
from typing import Any, Self

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_DUMP, NLM_F_EXCL, NLM_F_CREATE, NLM_F_REPLACE = 0x300, 0x200, 0x400, 0x100
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200  # of an answer
_NLMSG_ERROR, _NLMSG_DONE, _NLMSGERR_ATTR_MSG = 2, 3, 1
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
# RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
LINKS, ALL = 0x1, 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_HEADER = "IHHII"  # length, type, flags, sequence number, port
_ROOM = 1 << 18

Fields = dict[str, Any]
Attributes = list[tuple[str, Any]]


class NoLibrary(Exception):
    """pyroute2 is missing, with what to do as a sentence."""


class Refusal(OSError):
    """What the kernel refused, in its own words where it has any."""


def _classes() -> dict[int, Any]:
    """Message classes by the first of their four types. Raises NoLibrary."""
    from importlib.util import find_spec

    whole = sys.modules.get("pyroute2")
    if whole is None:
        spec = find_spec("pyroute2")
        if spec is None or spec.submodule_search_locations is None:
            raise NoLibrary(
                f"it needs the library pyroute2: {sys.executable} -m pip install pyroute2"
            )
        package = ModuleType("pyroute2")
        package.__path__ = list(spec.submodule_search_locations)
        package.__spec__ = spec
        sys.modules["pyroute2"] = package
    try:
        from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
        from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
        from pyroute2.netlink.rtnl.rtmsg import rtmsg
    finally:
        if whole is None:
            del sys.modules["pyroute2"]
    return {NEWLINK: ifinfmsg, NEWADDR: ifaddrmsg, NEWROUTE: rtmsg}


class Netlink:
    """Raises OSError, and NoLibrary when it is made."""

    def __init__(self, groups: int = 0) -> None:
        self._classes = _classes()
        self.socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            self.socket.setsockopt(_SOL_NETLINK, option, 1)
        self.socket.bind((0, groups))
        self._number = 0

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def do(self, kind: int, flags: int, fields: Fields, attributes: Attributes) -> None:
        """Have the kernel do it. Raises Refusal."""
        self._send(kind, NLM_F_REQUEST | NLM_F_ACK | flags, fields, attributes)
        for answer, data in self._answers():
            if answer == _NLMSG_ERROR:
                _check(data)
                return

    def dump(self, kind: int, family: int = 0) -> list[Any]:
        """All links, addresses or routes. What changed meanwhile is asked for again."""
        while True:
            whole = True
            found: list[Any] = []
            self._send(kind, NLM_F_REQUEST | NLM_F_DUMP, {"family": family}, [])
            for answer, data in self._answers():
                if answer == _NLMSG_ERROR:
                    _check(data)
                flags = unpack_from(_HEADER, data)[2]
                whole = whole and not flags & NLM_F_DUMP_INTR
                if answer == _NLMSG_DONE:
                    break
                found.append(self._decoded(answer, data))
            if whole:
                return found

    def drain(self) -> None:
        """Wait for events (of `groups`), and take all that are there. What was lost for want of
        room is an event too."""
        try:
            self.socket.recv(_ROOM)
            self.socket.setblocking(False)
            while self.socket.recv(_ROOM):
                pass
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != 105:  # ENOBUFS
                raise
        finally:
            self.socket.setblocking(True)

    def _send(self, kind: int, flags: int, fields: Fields, attributes: Attributes) -> None:
        self._number += 1
        message = self._classes[kind & ~3]()
        for name, value in fields.items():
            message[name] = value
        message["attrs"] = attributes
        message["header"] = {
            "type": kind, "flags": flags, "sequence_number": self._number, "pid": 0,
        }
        message.encode()
        self.socket.send(message.data)

    def _answers(self) -> Iterator[tuple[int, bytes]]:
        """Those to the last request: type and whole message."""
        while True:
            data = self.socket.recv(_ROOM)
            at = 0
            while at < len(data):
                length, kind, _, number, _ = unpack_from(_HEADER, data, at)
                if number == self._number:
                    yield kind, data[at : at + length]
                at += (length + 3) & ~3

    def _decoded(self, kind: int, data: bytes) -> Any:
        message = self._classes[kind & ~3](data)
        message.decode()
        return message


def _check(data: bytes) -> None:
    """Raises Refusal if this NLMSG_ERROR is none of success."""
    (code,) = unpack_from("i", data, 16)
    if not code:
        return
    flags = unpack_from(_HEADER, data)[2]
    words = os.strerror(-code).lower()
    if flags & NLM_F_ACK_TLVS:
        at = 36 if flags & NLM_F_CAPPED else 20 + unpack_from("I", data, 20)[0]
        while at + 4 <= len(data):
            length, kind = unpack_from("HH", data, at)
            if kind == _NLMSGERR_ATTR_MSG:
                said = data[at + 4 : at + length].rstrip(b"\0").decode(errors="replace")
                words += f" ({said})"
            at += max(4, (length + 3) & ~3)
    raise Refusal(-code, words)

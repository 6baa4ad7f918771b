"""Value types of network.toml: addresses, networks, hardware addresses, names of interfaces.

Law as in `values`. An address comes out as the kernel prints it, so that equal means the same text.
"""
from __future__ import annotations

import _socket
from typing import Any

from supervisor.config.network import split
from supervisor.config.table import Refused, Type, show
from supervisor.config.values import DIGITS, text

_HEX = DIGITS | frozenset("abcdef")
_NOT_IN_A_NAME = frozenset("/: \t\"'\\%")
_NOT_IN_A_PATTERN = _NOT_IN_A_NAME | frozenset("!")
MAX_NAME = 15  # IFNAMSIZ without its NUL
LOOPBACK = "lo"


def is_six(address: str) -> bool:
    return ":" in address


def number(address: str) -> int:
    """The address (without bits) as a number."""
    family = _socket.AF_INET6 if is_six(address) else _socket.AF_INET
    return int.from_bytes(_socket.inet_pton(family, address), "big")


def inside(address: str, network: str) -> bool:
    """Whether `address` belongs to the network of `network`, an ADDRESS/BITS."""
    host, _, bits = network.partition("/")
    if is_six(address) != is_six(host):
        return False
    shift = (128 if is_six(host) else 32) - int(bits)
    return number(address) >> shift == number(host) >> shift


def link_local(address: str) -> bool:
    return is_six(address) and inside(address, "fe80::/10")


def _printed(value: int, size: int) -> str:
    family = _socket.AF_INET6 if size == 128 else _socket.AF_INET
    return _socket.inet_ntop(family, value.to_bytes(size // 8, "big"))


def _multicast(value: int, size: int) -> bool:
    return value >> (size - 8) == 0xFF if size == 128 else value >> 28 == 0xE


def host(value: object) -> str:
    """An address alone, of some one host."""
    found = text(value)
    if "/" in found:
        raise Refused(f"cannot use {show(value)}: an address alone belongs here; remove the /")
    address, _, size, _ = split(value, found, six=is_six(found))
    if not address or _multicast(address, size):
        raise Refused(f"cannot use {show(value)}: that is no address of a host")
    return _printed(address, size)


def own_address(value: object) -> str:
    """ADDRESS/BITS of an interface."""
    found = text(value)
    if "/" not in found:
        bits = 64 if is_six(found) else 24
        raise Refused(
            f"cannot use {show(value)}: the bits of its network are missing; write "
            f"{found[:60]}/{bits} if that is its size"
        )
    address, bits, size, rest = split(value, found, six=is_six(found))
    last = (1 << (size - bits)) - 1
    if not address or _multicast(address, size):
        raise Refused(f"cannot use {show(value)}: that is no address of a host")
    if bits < size - 1 and (rest == 0 or (rest == last and size == 32)):
        raise Refused(f"cannot use {show(value)}: that is a network, not an address in it")
    return f"{_printed(address, size)}/{bits}"


def destination(value: object) -> str:
    """Where a route leads: "default", or NETWORK/BITS; an address alone is that host."""
    found = text(value)
    if found == "default":
        return found
    address, bits, size, rest = split(value, found, six=is_six(found))
    if rest:
        first = _printed(address - rest, size)
        raise Refused(
            f"cannot use {show(value)}: that network begins with {first}; write {first}/{bits}"
        )
    return f"{_printed(address, size)}/{bits}"


def hardware(value: object) -> str:
    found = text(value).lower().replace("-", ":")
    parts = found.split(":")
    if len(parts) != 6 or any(len(part) != 2 or not _HEX.issuperset(part) for part in parts):
        raise Refused(f'cannot use {show(value)}: write six bytes, as in "52:54:00:12:34:56"')
    return found


def own_hardware(value: object) -> str:
    found = hardware(value)
    if int(found[:2], 16) & 1 or found == "00:00:00:00:00:00":
        raise Refused(
            f"cannot use {show(value)}: that is a group's address, or none; the first byte of an "
            "interface's is even, and not all are zero"
        )
    return found


def interface_name(value: object) -> str:
    return _name(text(value), _NOT_IN_A_NAME | frozenset("*?["), "name")


def pattern(value: object) -> str:
    """A name of an interface in which `*`, `?` and `[...]` stand for others."""
    return _name(text(value), _NOT_IN_A_PATTERN, "pattern", longest=64)


def _name(found: str, never: frozenset[str], what: str, longest: int = MAX_NAME) -> str:
    good = found.isascii() and found.isprintable() and never.isdisjoint(found)
    if not good or not 0 < len(found) <= longest or found in {".", "..", "all", "default"}:
        raise Refused(
            f"cannot use {show(found)}: it is no {what} of a network interface, which has 1 to "
            f"{longest} characters, without spaces, quotes, '/', ':' and '%'"
        )
    return found


def _domain(value: object) -> str:
    found = text(value).removesuffix(".")
    labels = found.split(".")
    for label in labels:
        plain = label.replace("-", "").replace("_", "")
        if not 0 < len(label) <= 63 or not label.isascii() or not plain.isalnum():
            raise Refused(f'cannot use {show(value)}: it is no domain; write "example.org"')
    return found


def _option(value: object) -> str:
    found = text(value)
    plain = found.replace(":", "").replace("-", "")
    if not plain.isascii() or not plain.isalnum():
        raise Refused(f'cannot use {show(value)}: write a word of resolv.conf(5), as "edns0"')
    return found


def at_most(item: Type, high: int, why: str) -> Type:
    """A list of `item` that somebody else reads only so much of."""
    from supervisor.config.values import listed

    inner = listed(item)

    def parse(value: object) -> Any:
        found = inner.parse(value)
        if len(found) > high:
            raise Refused(f"cannot use more than {high}: {why}; remove the others")
        return found

    return Type(parse, "list", inner.words, item)


HOST = Type(host, "text", "address")
OWN_ADDRESS = Type(own_address, "text", "`ADDRESS/BITS`")
DESTINATION = Type(destination, "text", '`"default"`, `NETWORK/BITS`, or an address')
HARDWARE = Type(hardware, "text", "six bytes, `52:54:00:12:34:56`")
OWN_HARDWARE = Type(own_hardware, "text", "six bytes, `52:54:00:12:34:56`")
INTERFACE_NAME = Type(interface_name, "text", "name of an interface")
PATTERN = Type(pattern, "text", "pattern of names, `en*`")
DOMAIN = Type(_domain, "text", "domain")
OPTION = Type(_option, "text", "word of resolv.conf(5)")

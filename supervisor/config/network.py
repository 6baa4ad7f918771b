"""The table of `[network]` keys, and `secrets`. Loaded when a unit has one of them, and for
documents.

Law as in `values`. Names are not looked up: what a unit may reach must not depend on who answers.
"""
from __future__ import annotations

from supervisor.config.sandbox import absolute, file_name
from supervisor.config.table import Key, Refused, Table, Type, named, show
from supervisor.config.values import DIGITS, choice, listed, text
from supervisor.model.sandbox import Network, PortRule, Secret

_MAX_SECRETS = 64
_PROTOCOLS = ("tcp", "udp")

# --- ports ---


def _port(value: object, digits: str, form: str) -> int:
    if digits == "*":
        return 0
    if 0 < len(digits) <= 5 and DIGITS.issuperset(digits) and 0 < int(digits) <= 65535:
        return int(digits)
    raise Refused(
        f"cannot use {show(value)}: a port is 1 to 65535, or * for any, each on its own; write "
        f"{form}"
    )


def _listen(value: object) -> PortRule:
    found = text(value)
    protocol, colon, digits = found.partition(":")
    form = '"tcp:8080" or "udp:53"'
    if not colon or protocol not in _PROTOCOLS:
        raise Refused(f"cannot use {show(value)}: write {form}")
    if ":" in digits:
        raise Refused(
            f"cannot use {show(value)}: this is a port, on all its addresses; a [[listen]] has an "
            f"address. Write {form}"
        )
    return PortRule(protocol, _port(value, digits, form))  # type: ignore[arg-type]


def _connect(value: object) -> PortRule:
    """[PROTOCOL:][NETWORK:]PORT, of which a protocol or a network must be there."""
    rest = found = text(value)
    form = '"tcp:443", "10.0.0.0/8:5432", "[fd00::/8]:443" or "udp:10.0.0.1:53"'
    protocol = ""
    if found[:4] in {"tcp:", "udp:"}:
        protocol, _, rest = found.partition(":")
    where, colon, digits = rest.rpartition(":")
    if not (colon or protocol) or (colon and not where):
        raise Refused(f"cannot use {show(value)}: write {form}")
    network = _network(value, where) if where else ""
    return PortRule(protocol or "tcp", _port(value, digits, form), network)  # type: ignore[arg-type]


def _network(value: object, where: str) -> str:
    """ADDRESS/BITS as the kernel prints it; an address alone is the network of just that."""
    six = where[:1] == "[" and where[-1:] == "]"
    address, bits, size, host = split(value, where[1:-1] if six else where, six=six)
    if host:
        first = _print(address - host, size)
        raise Refused(
            f"cannot use {show(value)}: that network begins with {first}; write {first}/{bits}"
        )
    return f"{_print(address, size)}/{bits}"


def split(value: object, where: str, *, six: bool) -> tuple[int, int, int, int]:
    """Of ADDRESS/BITS: the address, its bits, the bits of its family, the part behind BITS."""
    import _socket

    host, slash, digits = where.partition("/")
    family, size = (_socket.AF_INET6, 128) if six else (_socket.AF_INET, 32)
    try:
        address = int.from_bytes(_socket.inet_pton(family, host), "big")
    except (OSError, UnicodeError):
        hint = "names are not looked up"
        if ":" in host and not six:
            hint = "write an IPv6 network in brackets"
        raise Refused(
            f"cannot use {show(value)}: {show(host)} is no numeric address; {hint}"
        ) from None
    if not slash:
        return address, size, size, 0
    if not digits or len(digits) > 3 or not DIGITS.issuperset(digits) or int(digits) > size:
        raise Refused(f"cannot use {show(value)}: behind / come its bits, 0 to {size}")
    bits = int(digits)
    return address, bits, size, address & ((1 << (size - bits)) - 1)


def _print(address: int, size: int) -> str:
    import _socket

    family = _socket.AF_INET6 if size == 128 else _socket.AF_INET
    return _socket.inet_ntop(family, address.to_bytes(size // 8, "big"))


def _own_address(value: object) -> str:
    """An address with its network, in which there is room for the host's end as well."""
    found = text(value)
    address, bits, size, host = split(value, found, six=":" in found)
    last = (1 << (size - bits)) - 1
    if bits > size - 2:
        raise Refused(
            f"cannot use {show(value)}: its network needs room for both ends; write at most "
            f"/{size - 2} behind it"
        )
    if host in {0, last}:
        raise Refused(f"cannot use {show(value)}: that is a network, not an address in it")
    return f"{_print(address, size)}/{bits}"


NETWORK = Table(
    Network,
    Key(
        "mode",
        choice("host", "none", "private"),
        "mode",
        '"host"',
        "the host's network; none but a loopback of its own; one that leads to the host only",
    ),
    Key(
        "listen",
        listed(Type(_listen, "port", "`tcp:PORT` or `udp:PORT`")),
        "listen",
        "",
        "the only ports that it may bind itself, `*` for any; a `[[listen]]` needs no rule",
    ),
    Key(
        "connect",
        listed(Type(_connect, "port", "`tcp:PORT`, `udp:PORT`, `NETWORK:PORT`")),
        "connect",
        "",
        "the only ports that it may reach, `*` for any, with a network before it: only there",
    ),
    Key(
        "unix",
        listed(Type(absolute, "path", "absolute path")),
        "unix",
        "",
        "the only unix sockets that it may connect to, or directories of them",
    ),
    Key(
        "address",
        Type(_own_address, "text", "`ADDRESS/BITS`"),
        "address",
        "",
        'its address in a `mode = "private"` network; chosen unless set',
    ),
)

# --- [secrets] ---


def secrets(value: object) -> tuple[Secret, ...]:
    """In the order of their names."""
    if type(value) is not dict:
        raise Refused(f'cannot use {show(value)}: write a table, as in [secrets] db = "/etc/key"')
    if len(value) > _MAX_SECRETS:
        raise Refused(f"cannot have more than {_MAX_SECRETS} secrets; put several in one file")
    return named(value, _secret)


def _secret(name: str, file: object) -> Secret:
    if not file_name(name):
        raise Refused(
            f"cannot name a secret {show(name)}: a name has 1 to 255 of a-z, A-Z, 0-9, "
            "'.', '_' and '-', and begins with a letter, digit or '_'; rename it"
        )
    return Secret(name, absolute(file))

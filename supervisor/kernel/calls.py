"""System calls of a launch plan: what the sandbox is made of, as data (steps DATA, ADDRESS, CALL).

`call` makes a step; its arguments are numbers, bytes (their address is passed), what an earlier
call returned (`Out`), or a structure made of all of these (`Struct`). `encode` gives every datum
its place. The keeper knows no policy: it makes the calls of wire.CALLS that it is told to make.
"""
from __future__ import annotations

from _struct import Struct as _Layout
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, cast

from supervisor.kernel.plan import CODES, HEAD, Step
from supervisor.kernel.wire import CALL_KINDS, CALLS

_ROWS = {name: row for row, name in enumerate(CALLS)}
_CALL = _Layout("<IIII5Q")
_PAIR = _Layout("<II")
_LIMIT = _Layout("<QQ")
_U64 = 2**64 - 1
_ARGUMENTS = 5
_NONE = (0,) * _ARGUMENTS
_CALL_HEAD = HEAD.pack(CODES["CALL"], 0, _CALL.size)
_ADDRESS, _RESULT = CALL_KINDS["ADDRESS"], CALL_KINDS["RESULT"]  # a NUMBER is 0
_NOWHERE = bytes(4)  # offset 0: the results that nobody asks for
_ROOM = bytes(8)  # each offset has room for an address


class Out(NamedTuple):
    """The number that the call with this `result` returned (a descriptor, most often)."""

    label: str


class Address(NamedTuple):
    """In a Struct: the 64-bit address of these bytes."""

    data: bytes


class Struct(NamedTuple):
    """An argument: the address of these parts, one behind the other, unpadded. An Out is an i32;
    equal structures are one and the same in memory."""

    parts: tuple[bytes | Out | Address, ...]


Argument = int | str | bytes | Out | Struct
_Call = tuple[str, tuple[Argument, ...], str, int, str]


def call(name: str, *args: Argument, words: str, result: str = "", tolerate: int = 0) -> Step:
    """The step that makes this system call; all arguments that are not given are 0.

    `str`: a path or text, passed as its address with a NUL. `words` say in `explain` and in errors
    what it does, as in "make / read-only". `result`: the label under which later calls of the plan
    find what it returned. `tolerate`: an errno that is no failure (the result is -1 then).
    """
    if name not in _ROWS or len(args) > _ARGUMENTS:
        raise ValueError(f"{name} with {len(args)} arguments is no call of a plan")
    return Step("CALL", (name, args, result, tolerate, words))


def hold(flags: int, setgroups: str = "", uid_map: str = "", gid_map: str = "") -> Step:
    """New namespaces (CLONE_NEWUSER, CLONE_NEWPID) with a holder in them; join them. Must be
    followed by `fork`: a pid namespace is that of the children."""
    return Step("HOLD", (flags, setgroups, uid_map, gid_map))


def fork() -> Step:
    """The rest of the plan by a new child of the keeper, in a session and with a memory of its own
    (what comes before runs in the keeper's: PR_SET_MDWE is refused there)."""
    return Step("FORK")


def lowered(step: Step) -> Step:
    """The call that a step with a name of its own is made of."""
    name, args = step
    if name == "CALL":
        return step
    numbers = [int(str(arg)) for arg in args]
    if name == "RLIMIT":
        kind, soft, hard = numbers
        return call("prlimit64", 0, kind, _LIMIT.pack(soft, hard), words="")
    if name == "NICE":
        return call("setpriority", 0, 0, numbers[0], words="")
    if name == "AFFINITY":
        mask = (1 << numbers[0]).to_bytes(numbers[0] // 64 * 8 + 8, "little")
        return call("sched_setaffinity", 0, len(mask), mask, words="")
    groups = b"".join(gid.to_bytes(4, "little") for gid in numbers)
    return call("setgroups", len(numbers), groups, words="")


class _Data:
    """The bytes that calls point to, each datum once, and where they lie."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.bytes = bytearray(_NOWHERE)
        self.addresses: list[bytes] = []  # ADDRESS steps
        self._places: dict[object, int] = {}  # bytes, Struct or label -> offset
        self._inside: dict[str, Struct] = {}  # label -> the one structure that holds its number
        for name, args in steps:
            for arg in cast(_Call, args)[1] if name == "CALL" else ():
                if type(arg) is not Struct:
                    continue
                for part in arg.parts:
                    if isinstance(part, Out) and self._inside.setdefault(part.label, arg) != arg:
                        raise ValueError(f"{part.label} is part of two structures")

    def put(self, content: bytes) -> int:
        return self._places.get(content) or self._add(content, content)

    def number(self, label: str) -> int:
        """Where the result with this label lies."""
        if label in self._inside:
            self.struct(self._inside[label])
        return self._places.get(label) or self._add(label, bytes(4))

    def struct(self, struct: Struct) -> int:
        if struct not in self._places:
            # Its numbers are written into it, so it is a place of its own, whatever its bytes.
            at = self._add(struct, b"".join(map(_bytes, struct.parts)))
            for part in struct.parts:
                if isinstance(part, Out):
                    self._places[part.label] = at
                elif isinstance(part, Address):
                    pair = _PAIR.pack(at, self.put(part.data))
                    self.addresses.append(HEAD.pack(CODES["ADDRESS"], 0, _PAIR.size) + pair)
                at += len(_bytes(part))
        return self._places[struct]

    def _add(self, key: object, content: bytes) -> int:
        at = self._places[key] = len(self.bytes)
        self.bytes += content
        return at


def _bytes(part: bytes | Out | Address) -> bytes:
    return part if isinstance(part, bytes) else bytes(4 if isinstance(part, Out) else 8)


def encode(steps: list[Step], named: frozenset[str], plain: Callable[[Step], bytes]) -> bytes:
    """The bytes of a plan with calls: DATA and all ADDRESS, then a step for each of `steps`, so
    that `lead` is all that stands before. `named`: those that are `lowered`; `plain` encodes all
    others. Raises ValueError for an Out that no earlier call has as its result."""
    return _encoded(tuple(steps), named, plain)


# A plan is compiled anew for each launch, since what it is made of may have changed; where nothing
# has, its bytes are the same too, and to see that takes a tenth of making them.
@lru_cache(maxsize=8)
def _encoded(
    steps: tuple[Step, ...], named: frozenset[str], plain: Callable[[Step], bytes]
) -> bytes:
    data = _Data(steps)
    made: set[str] = set()
    body = b"".join([
        _one(lowered(step), data, made) if step.name in named else plain(step) for step in steps
    ])  # fmt: skip
    size = len(data.bytes) + len(_ROOM)
    head = HEAD.pack(CODES["DATA"], 0, size) + data.bytes + _ROOM
    return b"".join((head, *data.addresses, body))


def _one(step: Step, data: _Data, made: set[str]) -> bytes:
    name, args, result, tolerate, _ = cast(_Call, step.args)
    kinds = shift = 0
    values = []
    for arg in args:
        if isinstance(arg, int):
            values.append(arg & _U64)
        elif isinstance(arg, Out):
            kinds |= _RESULT << shift
            if arg.label not in made:
                raise ValueError(f"{arg.label} is no result of an earlier call")
            values.append(data.number(arg.label))
        elif isinstance(arg, Struct):
            kinds |= _ADDRESS << shift
            unmade = {part.label for part in arg.parts if isinstance(part, Out)} - made
            if unmade:
                raise ValueError(f"{min(unmade)} is no result of an earlier call")
            values.append(data.struct(arg))
        else:
            kinds |= _ADDRESS << shift
            values.append(data.put(arg if isinstance(arg, bytes) else _text(arg)))
        shift += 2
    home = data.number(result) if result else 0
    made.add(result)
    rest = _NONE[len(values) :]
    return _CALL_HEAD + _CALL.pack(_ROWS[name], tolerate, home, kinds, *values, *rest)


def _text(value: str) -> bytes:
    return value.encode(errors="surrogateescape") + b"\0"


def lead(plan: bytes) -> int:
    """How many steps of an encoded plan stand before the first of those that it was made of."""
    at = count = 0
    while at < len(plan) and plan[at] in (CODES["DATA"], CODES["ADDRESS"]):
        at += HEAD.size + HEAD.unpack_from(plan, at)[2]
        count += 1
    return count

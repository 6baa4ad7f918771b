"""System calls of a launch plan: what the sandbox is made of, as data (steps CALL and ADDRESS).

`call` makes a step; its arguments are numbers, bytes (their address is passed), what an earlier call
returned (`Out`), or a structure made of all of these (`Struct`). `encode` gives every datum its place
in the plan. The keeper knows no policy: it makes the calls of wire.CALLS that it is told to make.
"""
from __future__ import annotations

from _struct import Struct as _Layout
from collections.abc import Callable
from typing import NamedTuple

from supervisor.kernel.plan import CODES, HEAD, Step
from supervisor.kernel.wire import CALL_KINDS, CALLS

_ROWS = {name: row for row, name in enumerate(CALLS)}
_CALL = _Layout("<IIII5QI")
_PAIR = _Layout("<II")
_I32_MAX = 2**31 - 1
_U64 = 2**64 - 1
_ARGUMENTS = 5


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


def call(
    name: str, *args: Argument, words: str, result: str = "", tolerate: int = 0
) -> Step:
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


def fork(*, shared: bool = True) -> Step:
    """The rest of the plan by a new child of the keeper. Not `shared`: with a memory of its own,
    for what belongs to a memory (PR_SET_MDWE) or takes one (unshare of a user namespace)."""
    return Step("FORK", (int(shared),))


class _Places:
    """Where in the plan every datum lies. The first pass measures, the second knows."""

    def __init__(self) -> None:
        self.data: dict[object, int] = {}  # bytes, Struct or label -> offset from the first step
        self.patched: set[Struct] = set()  # whose addresses have been written
        self.inside: dict[str, Struct] = {}  # label -> the one structure that holds its number

    def note(self, step: Step) -> None:
        for arg in step.args[1] if step.name == "CALL" else ():  # type: ignore[attr-defined]
            if isinstance(arg, Struct):
                for part in arg.parts:
                    if isinstance(part, Out) and self.inside.setdefault(part.label, arg) != arg:
                        raise ValueError(f"{part.label} is part of two structures")


def encode(steps: list[Step], plain: Callable[[Step], bytes]) -> bytes:
    """The bytes of a plan with calls. `plain` encodes all other steps. Raises ValueError for an Out
    that no earlier call has as its result."""
    places = _Places()
    for step in steps:
        places.note(step)
    made: set[str] = set()
    chunks: list[bytes] = []
    at = 0
    for step in steps:
        chunk = plain(step) if step.name != "CALL" else _one(step, at, places, made)
        chunks.append(chunk)
        at += len(chunk)
    return b"".join(chunks)


def _one(step: Step, at: int, places: _Places, made: set[str]) -> bytes:
    """A CALL, with the ADDRESS steps that its structures need before it."""
    name, args, result, tolerate, _ = step.args
    assert isinstance(args, tuple) and isinstance(tolerate, int) and isinstance(name, str)
    addresses = _addresses(args, places)
    start = at + len(addresses) * (HEAD.size + _PAIR.size) + HEAD.size + _CALL.size
    blob = bytearray()

    def put(key: object, content: bytes) -> int:
        """The offset of a datum, which is added to this call's if the plan has none yet."""
        if key not in places.data:
            places.data[key] = start + len(blob)
            blob.extend(content)
        return places.data[key]

    def place(struct: Struct) -> int:
        known = struct in places.data
        offset = put(struct, _bytes(struct))
        for label, inner in _labels(struct) if not known else ():
            places.data.setdefault(label, offset + inner)
        return offset

    kinds, values = 0, [0] * _ARGUMENTS
    for index, arg in enumerate(args):
        kind = "NUMBER"
        if isinstance(arg, int):
            values[index] = arg & _U64
            continue
        if isinstance(arg, Out):
            if arg.label not in made:
                raise ValueError(f"{arg.label} is no result of an earlier call")
            kind, values[index] = "RESULT", places.data[arg.label]
        elif isinstance(arg, Struct):
            kind, values[index] = "ADDRESS", place(arg)
        else:
            content = arg if isinstance(arg, bytes) else _text(arg)
            kind, values[index] = "ADDRESS", put(content, content)
        kinds |= CALL_KINDS[kind] << 2 * index
    patches = [
        _PAIR.pack(place(struct) + inner, put(content, content))
        for struct, inner, content in addresses
    ]
    home = 0
    if result:
        made.add(str(result))
        inside = places.inside.get(str(result))
        if inside is not None:
            place(inside)
        home = put(str(result), bytes(4))
    # What is written or read as eight bytes has to lie within the plan: EXEC follows, so it does.
    fixed = _CALL.pack(_ROWS[name], tolerate, home, kinds, *values, len(blob))
    head = [HEAD.pack(CODES["ADDRESS"], 0, _PAIR.size) + patch for patch in patches]
    return b"".join(head) + HEAD.pack(CODES["CALL"], 0, len(fixed) + len(blob)) + fixed + blob


def _text(value: str) -> bytes:
    return value.encode(errors="surrogateescape") + b"\0"


def _size(part: bytes | Out | Address) -> int:
    return len(part) if isinstance(part, bytes) else 4 if isinstance(part, Out) else 8


def _bytes(struct: Struct) -> bytes:
    return b"".join(p if isinstance(p, bytes) else bytes(_size(p)) for p in struct.parts)


def _labels(struct: Struct) -> list[tuple[str, int]]:
    found, at = [], 0
    for part in struct.parts:
        if isinstance(part, Out):
            found.append((part.label, at))
        at += _size(part)
    return found


def _addresses(args: tuple[Argument, ...], places: _Places) -> list[tuple[Struct, int, bytes]]:
    """The pointers in structures that this call is the first to use."""
    found = []
    for arg in args:
        if isinstance(arg, Struct) and arg not in places.patched:
            places.patched.add(arg)
            at = 0
            for part in arg.parts:
                if isinstance(part, Address):
                    found.append((arg, at, part.data))
                at += _size(part)
    return found

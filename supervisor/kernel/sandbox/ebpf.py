"""eBPF programs for a cgroup: a small assembler, and the calls by which the child attaches one.

A program here is a list of rules, each a chain of comparisons: all hold, and it allows; one fails,
and the next rule is tried; no rule is left, and it refuses. It needs no maps and no helpers, so the
kernel's verifier has nothing to doubt. Attached without flags, it replaces what an earlier launch
of the same instance attached, and no group below can take it away.
"""
from __future__ import annotations

from _struct import Struct as _Layout
from typing import NamedTuple

from supervisor.kernel.calls import Address, Out, Struct, call
from supervisor.kernel.plan import Step

CGROUP_SOCK, CGROUP_DEVICE, CGROUP_SOCK_ADDR = 9, 15, 18  # enum bpf_prog_type
_PROG_LOAD, _PROG_ATTACH = 5, 8  # enum bpf_cmd
_AT_FDCWD, _O_DIRECTORY_CLOEXEC = -100, 0o2200000

# Opcodes: those of this subset, and no others, are in the tests' interpreter.
LOAD, AND, NOT_EQUAL, SET, EXIT = 0x61, 0x54, 0x56, 0xB7, 0x95
_INSTRUCTION = _Layout("<BBhi")
_LOAD_HEAD = _Layout("<II")
_LOAD_TAIL = _Layout("<IIQII16sII")
_ATTACH_TAIL = _Layout("<II")
_FIELD, _CONTEXT, _RESULT = 2, 1, 0  # registers


class Field(NamedTuple):
    """The 32-bit field of the context at `offset`, of it the bits of `mask`, equals `value`."""

    offset: int
    value: int
    mask: int = 0xFFFFFFFF


Rule = tuple[Field, ...]


class Program(NamedTuple):
    """`kind`: enum bpf_prog_type. `attach`: enum bpf_attach_type. `code`: its instructions."""

    kind: int
    attach: int
    code: bytes


def assemble(rules: list[Rule]) -> bytes:
    """The program that allows what one of the rules describes. A rule without fields allows all."""
    code = b""
    for rule in reversed(rules):  # each jumps over the rest of itself
        body = _one(SET, value=1) + _one(EXIT)
        for field in reversed(rule):
            over = len(body) // _INSTRUCTION.size
            compare = _one(NOT_EQUAL, _FIELD, jump=over, value=field.value)
            if field.mask != 0xFFFFFFFF:
                compare = _one(AND, _FIELD, value=field.mask) + compare
            body = _one(LOAD, _FIELD, _CONTEXT, field.offset) + compare + body
        code = body + code
    return code + _one(SET, value=0) + _one(EXIT)


def _one(code: int, to: int = _RESULT, source: int = 0, jump: int = 0, value: int = 0) -> bytes:
    signed = value - 2**32 if value >= 2**31 else value
    return _INSTRUCTION.pack(code, source << 4 | to, jump, signed)


def attach(program: Program, group: str, label: str, words: str) -> tuple[Step, ...]:
    """Calls of a launch plan that load it and attach it to a cgroup (v2). They need the privileges
    of the first user namespace, and the host's own view of files."""
    attr = Struct((
        _LOAD_HEAD.pack(program.kind, len(program.code) // _INSTRUCTION.size),
        Address(program.code), Address(b"Apache-2.0\0"),
        _LOAD_TAIL.pack(0, 0, 0, 0, 0, b"unboxed", 0, program.attach),
    ))  # fmt: skip
    size = _LOAD_HEAD.size + 16 + _LOAD_TAIL.size
    where, loaded = f"group of {label}", f"program of {label}"
    to = Struct((Out(where), Out(loaded), _ATTACH_TAIL.pack(program.attach, 0)))
    return (
        call("openat", _AT_FDCWD, group, _O_DIRECTORY_CLOEXEC, result=where, words="its cgroup"),
        call("bpf", _PROG_LOAD, attr, size, result=loaded, words=f"load the program of {label}"),
        call("bpf", _PROG_ATTACH, to, 16, words=words),
    )

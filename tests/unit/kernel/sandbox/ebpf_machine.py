"""What the kernel would do with a program of ours: the subset of eBPF that the assembler has.

Written from the instruction set's document, independently of the assembler, and strict where the
verifier is: unset registers, loads outside the context, jumps out of the program are errors.
"""

from __future__ import annotations

import struct

_U32 = 2**32 - 1


class Refused(Exception):
    """The verifier would not load it."""


def run(code: bytes, context: bytes) -> int:
    """What register 0 holds at the exit. `context` is what register 1 points to."""
    if not code or len(code) % 8:
        raise Refused("it is not made of whole instructions")
    rows = [struct.unpack_from("<BBhi", code, at) for at in range(0, len(code), 8)]
    registers: list[int | None] = [None] * 11
    at = 0
    while True:
        if not 0 <= at < len(rows):
            raise Refused("it leaves its end without an exit")
        opcode, pair, offset, immediate = rows[at]
        to, source = pair & 15, pair >> 4
        at += 1
        if opcode == 0x95:  # exit
            found = registers[0]
            if found is None:
                raise Refused("it gives nothing back")
            return found
        if opcode == 0xB7:  # mov64 imm, which is sign-extended
            registers[to] = immediate & (2**64 - 1)
        elif opcode == 0x61:  # ldxw
            if source != 1 or to == 1:
                raise Refused("a load from elsewhere than the context")
            if offset < 0 or offset % 4 or offset + 4 > len(context):
                raise Refused(f"a load outside the context, at {offset}")
            registers[to] = struct.unpack_from("=I", context, offset)[0]
        elif opcode in (0x54, 0x56):  # and32 imm; jne32 imm
            value = registers[to]
            if value is None:
                raise Refused(f"register {to} is not set")
            if opcode == 0x54:
                registers[to] = value & immediate & _U32
            elif value & _U32 != immediate & _U32:
                at += offset
        else:
            raise Refused(f"opcode {opcode:#x} is not of the subset")

"""seccomp's BPF machine in Python: the checks the kernel makes at load, then the run (bpf(4))."""
from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

LD_W_ABS, ALU_AND_K, JMP_JA = 0x20, 0x54, 0x05
JMP_JEQ_K, JMP_JGE_K, RET_K = 0x15, 0x35, 0x06
DATA_BYTES = 64  # struct seccomp_data: nr, arch, instruction pointer, six arguments


class Result(NamedTuple):
    action: int
    steps: int


class Machine:
    """A loaded program. ValueError where the kernel would refuse it with EINVAL."""

    def __init__(self, program: bytes) -> None:
        if not program or len(program) % 8 or len(program) // 8 > 4096:
            raise ValueError(f"{len(program)} bytes are no program")
        self.code = list(struct.iter_unpack("<HBBI", program))
        for at, (code, yes, no, k) in enumerate(self.code):
            left = len(self.code) - at - 1  # instructions that follow
            if code == LD_W_ABS:
                good = k % 4 == 0 and k < DATA_BYTES and left
            elif code in {JMP_JEQ_K, JMP_JGE_K}:
                good = yes < left and no < left
            elif code == JMP_JA:
                good = k < left
            else:
                good = code in {ALU_AND_K, RET_K}
            if not good:
                raise ValueError(f"instruction {at} of {len(self.code)} is invalid")
        if self.code[-1][0] != RET_K:
            raise ValueError("the program may run over its end")

    def run(self, arch: int, number: int, arguments: Sequence[int] = ()) -> Result:
        padded = [*arguments, *[0] * (6 - len(arguments))]
        data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *padded)
        accumulator, at, steps = 0, 0, 0
        while True:
            code, yes, no, k = self.code[at]
            at += 1
            steps += 1
            if code == RET_K:
                return Result(k, steps)
            if code == LD_W_ABS:
                (accumulator,) = struct.unpack_from("<I", data, k)
            elif code == ALU_AND_K:
                accumulator &= k
            elif code == JMP_JA:
                at += k
            else:
                holds = accumulator == k if code == JMP_JEQ_K else accumulator >= k
                at += yes if holds else no

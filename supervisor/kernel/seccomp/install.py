"""The call of a launch plan that puts a filter in force."""
from __future__ import annotations

from _struct import Struct as _Layout

from supervisor.kernel.calls import Address, Struct, call
from supervisor.kernel.plan import Step
from supervisor.kernel.seccomp.bpf import INSTRUCTION

_SET_MODE_FILTER = 1
_PROGRAM = _Layout("<HHI")  # struct sock_fprog, whose pointer follows


def install(program: bytes, words: str, flags: int = 0, result: str = "") -> Step:
    """`words`: what it does, behind its length. `flags`: SECCOMP_FILTER_FLAG_..., by one of which
    it returns a descriptor, the `result`."""
    count = len(program) // INSTRUCTION.size
    return call(
        "seccomp", _SET_MODE_FILTER, flags, Struct((_PROGRAM.pack(count, 0, 0), Address(program))),
        words=f"a filter of {count} instructions{words}", result=result,
    )  # fmt: skip

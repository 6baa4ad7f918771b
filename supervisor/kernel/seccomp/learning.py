"""The filter of a unit that is being learned: it asks a listener where others would refuse.

Law: what no promise can change is answered here as it will be later (io_uring, clone3, fast open),
so that a program goes the same ways while it is learned. What `stdio` allows is not asked: every
promise has it, and those are the hot calls. Every other call waits for the listener's answer. All
programs that are executed are asked for, but not the unit's own: its keeper, which waits for that
execve, passes a mark as the fourth argument, of which the kernel reads only three.
"""
from __future__ import annotations

from supervisor.kernel.calls import Out, call
from supervisor.kernel.plan import Step
from supervisor.kernel.seccomp import filter as seccomp
from supervisor.kernel.seccomp.bpf import INSTRUCTION, RET
from supervisor.kernel.seccomp.install import install
from supervisor.kernel.seccomp.rule import ALLOW, LOG, WHOLE, Condition, Rule
from supervisor.kernel.wire import EXEC_MARK

USER_NOTIF = 0x7FC00000  # seccomp(2): ask the listener
_EXECVE_MARK = 3  # the argument
_NEW_LISTENER = 8


def steps(arch: str, descriptor: int) -> tuple[Step, ...]:
    """Install it, last of all before the service is executed, which then holds its listener as this
    descriptor, for the learner to take a copy of."""
    asks = " that asks `unboxed learn`"
    return (
        install(compile(arch), asks, _NEW_LISTENER, "listener"),
        call("dup3", Out("listener"), descriptor, 0, words="keep its listener open"),
    )


def compile(arch: str) -> bytes:  # noqa: A001 - learning.compile reads right
    """As filter.compile. It is that one's on_violation = "log", with a question for each entry."""
    own = Rule((Condition(_EXECVE_MARK, WHOLE, (EXEC_MARK,)),), ALLOW)
    asked = Rule((), LOG)
    extra = (("execve", own), ("execve", asked), ("execveat", asked))
    program = seccomp.compile(arch, (), "log", extra)
    log, ask = (INSTRUCTION.pack(RET, 0, 0, action) for action in (LOG, USER_NOTIF))
    return b"".join(
        ask if program[at : at + 8] == log else program[at : at + 8]
        for at in range(0, len(program), 8)
    )

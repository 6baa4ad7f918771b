"""jit = false: no memory that is or was writable becomes executable.

By PR_SET_MDWE (Linux 6.3), which belongs to a memory and is handed on at fork and execve: that is
why the child needs one of its own. An older kernel has a filter on mmap and mprotect instead
(filters.py), which does not see a file that is mapped twice.
"""
from __future__ import annotations

from supervisor.kernel.calls import call
from supervisor.kernel.sandbox.facts import Facts
from supervisor.kernel.sandbox.part import Context, Part
from supervisor.model.policy import Policy

_PR_SET_MDWE, _REFUSE_EXEC_GAIN = 65, 1


def has_mdwe(facts: Facts) -> bool:
    return facts.kernel >= (6, 3)


def part(policy: Policy, ctx: Context) -> Part:
    if policy.jit or not has_mdwe(ctx.facts):
        return Part()
    words = "refuse to make memory executable"
    return Part(
        last=(call("prctl", _PR_SET_MDWE, _REFUSE_EXEC_GAIN, words=words),),
        mechanisms=(("sandbox.jit", "false: PR_SET_MDWE, for it and all that it executes"),),
        own_memory=True,
    )

"""What an agent shares with the one that it is attached to: its pid namespace, its /tmp.

Law: the main process gives nothing up by it, and is found by descriptor. Its /tmp is a mount of its
own mount namespace, which the kernel clones for nobody outside: so the child goes there for as long
as that takes, while it is nobody's but the supervisor's.
"""
from __future__ import annotations

from msgspec.structs import replace

from supervisor.kernel.calls import Out, call
from supervisor.kernel.plan import Step
from supervisor.kernel.sandbox.mounts import CLOEXEC, CWD
from supervisor.kernel.sandbox.namespaces import NEEDS, NEWNS, NEWPID, different, privileged
from supervisor.kernel.sandbox.part import CannotConfine, Context, Part
from supervisor.kernel.sandbox.paths import TEMPORARY
from supervisor.model.policy import Policy

TMP = TEMPORARY[:2]
_KEY = "agent.share"
_TREE = 1 | 0x8000 | 0x100 | CLOEXEC  # OPEN_TREE_CLONE, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW


def part(policy: Policy, ctx: Context) -> Part:
    """Raises CannotConfine if the main process has nothing of its own to share."""
    if not (policy.share_pid or policy.share_tmp):
        return Part()
    if not privileged(ctx):
        return Part(missing=((_KEY, NEEDS),))
    rows = []
    if policy.share_pid:
        rows.append((_KEY, "pid: setns(2) into the pid namespace of its main; it ends with that"))
    if policy.share_tmp:
        rows.append((_KEY, "tmp: the mounts at /tmp and /var/tmp of its main, cloned"))
    if ctx.main:
        _look(policy, ctx.main)
    steps = _trees(ctx.main) if policy.share_tmp else ()
    return Part(first=steps, mechanisms=tuple(rows))


def possible(policy: Policy, ctx: Context) -> Policy:
    """The policy without what this supervisor cannot let it share."""
    if privileged(ctx) or not (policy.share_pid or policy.share_tmp):
        return policy
    alone = "hidden" if policy.processes == "shared" else policy.processes
    return replace(policy, share_pid=False, share_tmp=False, processes=alone)


def label(path: str) -> str:
    """Of the tree that is put at this path of TMP."""
    return f"main {path}"


def _look(policy: Policy, pid: int) -> None:
    try:
        own = different(pid)
    except OSError as exc:
        raise CannotConfine(f"{_KEY}: its main has just ended ({exc.strerror})") from exc
    if policy.share_pid and not own & NEWPID:
        raise CannotConfine(
            f'{_KEY}: its main has no pid namespace of its own; write processes = "own" in the '
            "[sandbox] of that"
        )
    if policy.share_tmp and not own & NEWNS:
        raise CannotConfine(
            f'{_KEY}: its main has no /tmp of its own; write tmp = "private" in the [sandbox] of '
            "that"
        )


def _trees(pid: int) -> tuple[Step, ...]:
    return (
        call("openat", CWD, "/proc/self/ns/mnt", CLOEXEC, 0, result="home", words="the way back"),
        call("pidfd_open", pid, 0, result="main mounts", words="its main process"),
        call("setns", Out("main mounts"), NEWNS, words="what its main has mounted"),
        *(
            call("open_tree", CWD, path, _TREE, words=f"take {path}", result=label(path))
            for path in TMP
        ),
        call("setns", Out("home"), NEWNS, words="back to what the host has mounted"),
        call("close", Out("main mounts"), words="done with it"),
        call("close", Out("home"), words="done with it"),
    )

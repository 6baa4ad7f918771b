"""/proc as a unit sees it: which processes are in it, and what of it can be written."""
from __future__ import annotations

import os
import stat

from supervisor.kernel.sandbox.mounts import NODEV, NOEXEC, NOSUID, Scene
from supervisor.kernel.sandbox.namespaces import privileged
from supervisor.kernel.sandbox.part import Context
from supervisor.model.policy import Policy

_ALWAYS = NOSUID | NODEV | NOEXEC
MASKED = (
    "takes another /proc, which the kernel mounts in a user namespace only where all of the one "
    "here is seen; this container's is masked"
)
# What root may write there is the host's, also from a pid namespace of its own.
_HOSTS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# What root reads there of the kernel and its keys. As runc has it, which masks them by default.
_KERNELS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
    "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip


def fresh(policy: Policy) -> bool:
    """Whether the unit has an instance of its own."""
    return policy.processes != "host"


def needs_pids(policy: Policy, ctx: Context) -> bool:
    """Whether a /proc of its own takes a pid namespace: one may be mounted by who owns that."""
    alone = privileged(ctx) and policy.users is None and ctx.facts.proc
    return fresh(policy) and not alone


def possible(policy: Policy, ctx: Context) -> bool:
    return ctx.facts.own_proc or not needs_pids(policy, ctx)


def make(scene: Scene, policy: Policy) -> str:
    """A new instance, which with "hidden" shows to a user what is his. Its label."""
    if policy.processes == "hidden":
        return scene.make("proc", _ALWAYS, hidepid="invisible")
    return scene.make("proc", _ALWAYS)


def guard(scene: Scene, policy: Policy, ctx: Context) -> None:
    """Once it is in its place: from one who keeps capabilities, what is the host's in it."""
    if policy.level == "off" or not powerful(policy, ctx):
        return
    for path in _HOSTS:
        if os.path.exists(path):  # not every kernel has them all
            scene.guard(path)


def masked(policy: Policy, ctx: Context) -> dict[str, bool]:
    """What of the kernel's is empty to one who could read it, as far as this kernel has it; and
    whether it is a directory."""
    if not fresh(policy) or policy.level == "off" or not powerful(policy, ctx):
        return {}
    if policy.users or not privileged(ctx):
        return {}  # what is root's there is not his
    found = {}
    for path in _KERNELS:
        try:
            found[path] = stat.S_ISDIR(os.stat(path).st_mode)
        except OSError:
            continue  # not in this kernel
    return found


def powerful(policy: Policy, ctx: Context) -> bool:
    """Whether it runs as root, or with capabilities."""
    return not ctx.identity.uid or policy.capabilities != ()


def words(policy: Policy, ctx: Context) -> str:
    if policy.processes == "shared":
        return "a /proc of the pid namespace that it shares with its main"
    if policy.processes == "own" or needs_pids(policy, ctx):
        return "a /proc of its own pid namespace"
    text = "a /proc of its own with hidepid=invisible: processes of other users are not in it"
    if powerful(policy, ctx):
        return text + "; root, or one with CAP_SYS_PTRACE, still sees all"
    if not policy.dynamic_user:
        return text + f"; what else runs as {ctx.identity.name or 'its user'} is"
    return text

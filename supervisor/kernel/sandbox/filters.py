"""The system call filter of a unit: its promises, or else only what its other keys need refused.

Landlock and cgroup programs leave holes that a filter closes: listen(2) that binds by itself, UDP,
MPTCP and raw sockets beside rules about TCP ports; modes, owners and attributes beside lists of
paths. With promises these refusals come before what was promised; without, they are all there is.
"""
from __future__ import annotations

from functools import lru_cache

from supervisor.kernel.sandbox import landlock, memory
from supervisor.kernel.sandbox.part import Context, Part
from supervisor.kernel.seccomp import argument as a
from supervisor.kernel.seccomp import filter as seccomp
from supervisor.kernel.seccomp import network
from supervisor.kernel.seccomp.install import install
from supervisor.kernel.seccomp.rule import ENOSYS, VIOLATION, Rule, bits, other
from supervisor.model.policy import Policy

_OWNERS = ("chown", "lchown", "fchown", "fchownat")
_ATTRIBUTES = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "utime", "utimes", "futimesat", "utimensat",
    "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr",
    "fremovexattr", "removexattrat", "file_setattr",
)  # fmt: skip
_TRUNCATE_ABI = 3


def part(policy: Policy, ctx: Context) -> Part:
    refused = refusals(policy, ctx)
    keys = [key for key, _ in refused]
    if policy.promises:
        keys.insert(0, "sandbox.promises")
    if not keys:
        return Part()
    if not ctx.facts.seccomp or ctx.facts.arch not in seccomp.ARCHES:
        why = f"needs system call filters (CONFIG_SECCOMP_FILTER), on {' or '.join(seccomp.ARCHES)}"
        return Part(missing=tuple((key, why) for key in dict.fromkeys(keys)))
    extra = tuple(row for _, rows in refused for row in rows)
    program = compiled(ctx.facts.arch, policy.promises, policy.on_violation, extra)
    what = " ".join(policy.promises) or "refuses single calls only"
    filtering = install(program, f": {what}")
    words = f"a system call filter; on violation: {policy.on_violation}"
    return Part(last=(filtering,), mechanisms=tuple((key, words) for key in dict.fromkeys(keys)))


@lru_cache(maxsize=16)
def compiled(
    arch: str, promises: tuple[str, ...], on_violation: str, extra: tuple[tuple[str, Rule], ...]
) -> bytes:
    """The program. Units of one policy share it."""
    if promises:
        return seccomp.compile(arch, promises, on_violation, extra)
    return seccomp.refusing(arch, extra, on_violation)


def refusals(policy: Policy, ctx: Context) -> list[tuple[str, seccomp.Extra]]:
    """What other keys than promises need refused: (key, rules)."""
    found = _network(policy)
    if landlock.makes_no_unix(policy, ctx):
        found.append(("network.unix", network.no_unix()))
    if landlock.denies(policy, ctx) and landlock.writes_limited(policy):
        found.append(("sandbox.write", _metadata(policy, ctx)))
    if landlock.executes_limited(policy):
        found.append(("sandbox.exec", _NO_PROGRAM_IN_MEMORY))
    if not policy.jit and not memory.has_mdwe(ctx.facts):
        found.append(("sandbox.jit", _NO_NEW_CODE))
    return [(key, rules) for key, rules in found if rules]


def _network(policy: Policy) -> list[tuple[str, seccomp.Extra]]:
    """Beside rules for listen and connect; network.py says what each is for."""
    net = policy.network
    limited = {"network.listen": net.listen, "network.connect": net.connect}
    if net.mode == "none" or (net.listen is None and net.connect is None):
        return []
    found: list[tuple[str, seccomp.Extra]] = []
    if not (net.listen or net.connect) and None not in limited.values():
        closed = [*network.no_internet(), *(() if policy.promises else network.no_others())]
        return [(key, closed) for key in limited]
    if not policy.promises:
        found += [(key, network.no_others()) for key, rules in limited.items() if rules is not None]
    if landlock.no_udp(net):
        found.append(("network.connect", network.no_udp()))
    if net.listen == ():
        found.append(("network.listen", network.no_listen()))
    return found


def _metadata(policy: Policy, ctx: Context) -> seccomp.Extra:
    """What Landlock does not see of files that may only be read. By path and by descriptor: an
    open file that was found by a path is not told apart. Words that promise it allow it."""
    calls: list[str] = []
    if "fattr" not in policy.promises:
        calls += _ATTRIBUTES
    if "chown" not in policy.promises:
        calls += _OWNERS
    rules = [(name, Rule((), VIOLATION)) for name in calls]
    if ctx.facts.landlock < _TRUNCATE_ABI:
        cut = bits(1, a.O_ACCMODE | a.O_TRUNC, a.O_TRUNC)  # O_RDONLY | O_TRUNC does cut it off
        rules += [("truncate", Rule((), VIOLATION)), ("open", Rule((cut,), VIOLATION))]
        rules.append(("openat", Rule((cut._replace(arg=2),), VIOLATION)))
    return rules


# What is executed out of memory has no path: Landlock lets it through.
_SEALED = bits(1, a.MFD_NOEXEC_SEAL, a.MFD_NOEXEC_SEAL)
_NO_PROGRAM_IN_MEMORY: seccomp.Extra = (("memfd_create", Rule((other(_SEALED),), ENOSYS)),)

_PROT_WRITE, _PROT_EXEC = 2, 4
_BOTH = _PROT_WRITE | _PROT_EXEC
_SHM_EXEC = 0o100000
_NO_NEW_CODE: seccomp.Extra = (
    ("mmap", Rule((bits(2, _BOTH, _BOTH),), VIOLATION)),
    ("mprotect", Rule((bits(2, _PROT_EXEC, _PROT_EXEC),), VIOLATION)),
    ("pkey_mprotect", Rule((bits(2, _PROT_EXEC, _PROT_EXEC),), VIOLATION)),
    ("shmat", Rule((bits(2, _SHM_EXEC, _SHM_EXEC),), VIOLATION)),
)

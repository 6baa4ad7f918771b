"""A launch plan: everything between fork and exec, as data.

`compile` turns a unit into named steps, in the one order that is safe (docs/architecture.md);
`explain` prints them, `encode` makes the bytes that the keeper's child executes in a dumb loop.
Nothing here touches the host: names of users, programs and descriptors are resolved before.
"""
from __future__ import annotations

from _struct import Struct  # one file less than `struct`
from posix import O_NOCTTY, O_WRONLY
from typing import NamedTuple

from supervisor.kernel.wire import MAX_FRAME, STEPS

CODES = {name: code for name, code, _, _ in STEPS}
CALLED = frozenset({"CALL", "RLIMIT", "NICE", "AFFINITY", "GROUPS"})  # kernel/calls.py encodes them
NAMES = {code: name for name, code, _, _ in STEPS}
FIRST_LISTEN_FD = 3  # sd_listen_fds(3)
ERRORS = "!err"  # ends the name of a stream of standard error alone
NO_ID = 0xFFFFFFFF  # leave owner or group as it is
HEAD = Struct("<HHI")
_U32 = Struct("<I")
_I32 = Struct("<i")


class Step(NamedTuple):
    name: str
    args: tuple[object, ...] = ()


class Identity(NamedTuple):
    """Whom to become. None for `uid`: stay who the supervisor is."""

    name: str
    uid: int | None
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


class Confinement(NamedTuple):
    """The steps of a sandbox, by when they may be: `setup` makes namespaces, mounts and the bounds
    of capabilities while the child may still do so; `settle` comes after the ids; `last`, after
    no_new_privs, takes away what all others need."""

    setup: tuple[Step, ...] = ()
    settle: tuple[Step, ...] = ()
    last: tuple[Step, ...] = ()


class Launch(NamedTuple):
    """All that one start needs to know, names resolved. `fds`: (target, stored name)."""

    command: tuple[str, ...]
    program: str  # absolute path
    env: tuple[tuple[str, str], ...]
    identity: Identity
    cgroup: str = ""  # relative to the units' group; "": none
    joins: tuple[str, ...] = ()  # cgroup.procs files of v1 groups that limit it
    stream: str = ""  # log stream; "" and no `output`: the supervisor's own output
    errors: str = ""  # log stream of standard error alone; "": it goes where the rest does
    log_options: str = ""
    output: str = ""  # a file that is opened as standard output and error instead
    directory: str = ""
    umask: int = 0o077
    oom_score: int | None = None  # None: as the keeper's, which is what it is born with
    raises: tuple[tuple[int, int, int], ...] = ()  # as rlimits: those that take privileges
    rlimits: tuple[tuple[int, int, int], ...] = ()  # resource, soft, hard
    nice: int | None = None
    cpu: int = -1
    fds: tuple[tuple[int, str], ...] = ()
    pid_vars: tuple[str, ...] = ()  # variables that hold the service's own pid
    sent: tuple[tuple[int, str], ...] = ()  # target and meaning of each descriptor sent along
    close_from: int = FIRST_LISTEN_FD
    confinement: Confinement = Confinement()
    no_new_privs: bool = True
    opens: tuple[tuple[int, int, str], ...] = ()  # target, flags, path: by the host's own view
    owner: tuple[int, int] | None = None  # uid and gid of its log's pipe; None: `identity`'s


def compile(launch: Launch) -> list[Step]:  # noqa: A001 - plan.compile reads right
    """The steps of one start, in order."""
    who = launch.identity
    steps: list[Step] = []
    if launch.cgroup:
        steps.append(Step("CGROUP", (launch.cgroup,)))
    if launch.stream:
        owner = (NO_ID, NO_ID) if who.uid is None else (who.uid, who.gid)
        row = (launch.log_options, *(launch.owner or owner))
        steps += [Step("LOG", (name, *row)) for name in (launch.stream, launch.errors) if name]
    elif launch.output:
        steps += [Step("OPEN", (fd, O_WRONLY | O_NOCTTY, launch.output)) for fd in (1, 2)]
    steps += [Step("WRITE", (path, "0")) for path in launch.joins]
    steps += (Step("SIGNALS", (0,)), Step("SESSION"))
    if launch.oom_score is not None:
        steps.append(Step("OOM_SCORE", (launch.oom_score,)))
    steps += [Step("RLIMIT", row) for row in launch.raises]
    if launch.nice is not None:
        steps.append(Step("NICE", (launch.nice,)))
    if launch.cpu >= 0:
        steps.append(Step("AFFINITY", (launch.cpu,)))
    steps.append(Step("UMASK", (launch.umask,)))
    steps += [Step("OPEN", row) for row in launch.opens]
    steps += launch.confinement.setup
    if who.uid is not None:
        steps.append(Step("GROUPS", who.groups))
        steps += (Step("GID", (who.gid,)), Step("UID", (who.uid,)))
    steps += launch.confinement.settle
    steps.append(Step("DIRECTORY", (launch.directory or "/",)))
    steps.append(Step("ENV", tuple(f"{k}={v}" for k, v in launch.env)))
    steps += [Step("ENV_PID", (name,)) for name in launch.pid_vars]
    if not any(target == 0 for target, _ in (*launch.fds, *launch.sent)):
        steps.append(Step("OPEN", (0, 0, "/dev/null")))
    steps += [Step("FD", pair) for pair in launch.fds]
    steps += [Step("SENT_FD", (row[0], at, row[1])) for at, row in enumerate(launch.sent)]
    steps.append(Step("CLOSE_FROM", (launch.close_from,)))
    steps += [Step("RLIMIT", row) for row in launch.rlimits]  # all before may need more than that
    if launch.no_new_privs:
        steps.append(Step("NO_NEW_PRIVS"))
    return [*steps, *launch.confinement.last, Step("EXEC", (launch.program, *launch.command))]


def _text(value: object) -> bytes:
    return str(value).encode(errors="surrogateescape") + b"\0"


def _payload(name: str, args: tuple[object, ...]) -> bytes:
    if name in ("SESSION", "NO_NEW_PRIVS", "FORK"):
        return b""
    if name in ("CGROUP", "DIRECTORY", "ENV_PID"):
        return _text(args[0])
    if name == "WRITE":
        return _text(args[0]) + _text(args[1])
    if name == "OOM_SCORE":
        return _text("/proc/self/oom_score_adj") + _text(args[0])
    if name in ("EXEC", "ENV"):
        count = len(args) - (name == "EXEC")
        return _U32.pack(count) + b"".join(map(_text, args))
    if name == "LOG":
        stream, options, uid, gid = args
        ids = _U32.pack(uid) + _U32.pack(gid)
        return _text(stream) + _text(options) + ids
    if name in ("SIGNALS", "BOUND", "CAPSET"):
        return int(str(args[0])).to_bytes(8, "little")
    if name == "OPEN":
        return _I32.pack(args[0]) + _U32.pack(args[1]) + _text(args[2])
    if name == "FD":
        return _I32.pack(args[0]) + _text(args[1])
    if name == "SENT_FD":
        return _I32.pack(args[0]) + _U32.pack(args[1])
    if name == "HOLD":
        return _U32.pack(args[0]) + b"".join(map(_text, args[1:]))
    return _U32.pack(args[0])  # UMASK, GID, UID, CLOSE_FROM


def _encode(step: Step) -> bytes:
    payload = _payload(*step)
    code = CODES["WRITE" if step.name == "OOM_SCORE" else step.name]
    return HEAD.pack(code, 0, len(payload)) + payload


# Steps that nearly every plan has, encoded once.
_COMMON = {
    step: _encode(step)
    for step in (
        Step("SIGNALS", (0,)), Step("SESSION"), Step("UMASK", (0o077,)),
        Step("DIRECTORY", ("/",)), Step("OPEN", (0, 0, "/dev/null")), Step("CLOSE_FROM", (3,)),
        Step("NO_NEW_PRIVS"),
    )
}  # fmt: skip


class PlanTooLong(Exception):
    """The encoded plan would not fit the keeper's frame. `size` and `limit` in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"its launch plan takes {size} bytes, the limit is {limit}")


def encode(steps: list[Step], max_frame: int = MAX_FRAME) -> bytes:
    """The bytes of a plan that fits, with its key, a frame of `max_frame`. Raises PlanTooLong."""
    if CALLED.isdisjoint([step.name for step in steps]):
        plan = b"".join([_COMMON.get(step) or _encode(step) for step in steps])
    else:
        from supervisor.kernel.calls import encode as encode_calls

        plan = encode_calls(steps, CALLED, _encode)
    limit = max_frame - 256
    if len(plan) > limit:
        raise PlanTooLong(len(plan), limit)
    return plan


def names(steps: list[Step], encoded: bytes) -> tuple[str, ...]:
    """What the numbers of its steps that the keeper tells stand for: a step's name, or the words of
    a call. Empty where the codes that it tells too say the same."""
    found = [_called(step) for step in steps]
    if all(name in CODES for name in found):
        return ()
    from supervisor.kernel.calls import lead

    return ("DATA",) * lead(encoded) + tuple(found)


def _called(step: Step) -> str:
    name, args = step
    if name == "OPEN" and args[0]:  # standard input is what its code stands for
        return f"open {args[2]}"
    return str(args[-1]) if name == "CALL" else name


def describe(step: Step) -> str:
    """One step for people: the kernel's own names, then the values."""
    name, args = step
    words = {
        "CGROUP": "clone3(CLONE_INTO_CGROUP) {0}",
        "LOG": "descriptors 1 and 2 = log stream {0}",
        "SIGNALS": "all signals to their default, none blocked",
        "SESSION": "setsid()",
        "OOM_SCORE": "oom_score_adj = {0}",
        "WRITE": "write {1} to {0}",
        "FORK": "clone(2): the service's own process; setsid()",
        "NICE": "setpriority({0})",
        "AFFINITY": "sched_setaffinity(cpu {0})",
        "GID": "setresgid({0})",
        "UID": "setresuid({0})",
        "DIRECTORY": "chdir {0}, without magic links, verified",
        "ENV_PID": "{0} = own pid",
        "OPEN": "descriptor {0} = open {2}",
        "FD": "descriptor {0} = {1}, held by the keeper",
        "CLOSE_FROM": "close_range({0}, ~0)",
        "NO_NEW_PRIVS": "prctl(PR_SET_NO_NEW_PRIVS)",
    }
    if name == "CALL":
        return f"{args[0]}(2): {args[-1]}"
    if name == "SENT_FD":
        return f"descriptor {args[0]} = {args[2] if args[2:] else 'sent along'}"
    if name == "HOLD":
        from supervisor.kernel.sandbox.namespaces import names as kinds

        return f"clone(2) of a holder in new namespaces: {kinds(int(str(args[0])))}; setns(2)"
    if name == "CAPSET":
        return f"capset({int(str(args[0])):#x}), none inheritable"
    if name == "LOG" and str(args[0]).endswith(ERRORS):
        return f"descriptor 2 = log stream {args[0]}"
    if name == "BOUND":
        return f"prctl(PR_CAPBSET_DROP), all but {int(str(args[0])):#x}"
    if name == "UMASK":
        return f"umask({int(str(args[0])):03o})"
    if name == "GROUPS":
        return f"setgroups({', '.join(map(str, args))})"
    if name == "RLIMIT":
        from supervisor.model.rlimits import RLIMITS, UNLIMITED

        kind = next((n.upper() for n, (number, _) in RLIMITS.items() if number == args[0]), args[0])
        soft, hard = ("unlimited" if value == UNLIMITED else value for value in args[1:])
        return f"setrlimit(RLIMIT_{kind}, {soft}, {hard})"
    if name == "ENV":
        return "environment: " + " ".join(str(a).split("=", 1)[0] for a in args)
    if name == "EXEC":
        return "execve " + " ".join(map(str, args[1:])) + f" ({args[0]})"
    return words[name].format(*args)

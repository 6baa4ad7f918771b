"""Which cgroup controllers this host has, of which version, and our directory in each.

Looked for one by one, when the first unit asks: a controller that nobody needs is not handed down,
because it costs every unit's group memory and time. On cgroup v2 that means cgroup.subtree_control
from our own group down to the units'; on v1 a directory of ours in that controller's hierarchy.
"""
from __future__ import annotations

import os

from supervisor.kernel.host import read, read_long
from supervisor.kernel.limits import Found

SUPERVISOR = "supervisor"  # where we move to, out of the way of v2's "no internal processes"
NAMES = ("memory", "cpu", "cpuset", "io", "pids")
_V1_NAMES = {"io": "blkio"}
_MOVES = 10  # looks at our own group while the keeper may be forking


class Controllers:
    def __init__(self, name: str, base: str, proc: str = "/proc") -> None:
        """`name`: of our directory in each v1 hierarchy. `base`: of the units' groups in v2, ""
        without one. `proc`: of the manager, whose parent is the keeper."""
        self.name = name
        self.base = base
        self._proc = proc
        self._known: dict[str, Found | str] = {}

    def find(self, controller: str) -> Found | str:
        """The controller, handed down and ready for groups of units; or why there is none."""
        known = self._known.get(controller)
        if known is None:
            known = self._known[controller] = self._look(controller)
        return known

    def found(self, controller: str) -> Found:
        """One that is known to be there."""
        one = self.find(controller)
        if isinstance(one, Found):
            return one
        raise LookupError(one)

    def seen(self) -> dict[str, Found]:
        """Those that were found so far."""
        return {name: one for name, one in self._known.items() if isinstance(one, Found)}

    def adopt(self) -> None:
        """Find what an earlier manager of this supervisor had in use, and no more."""
        handed = read(f"{self.base}/cgroup.subtree_control").split() if self.base else []
        for name in NAMES:
            top, _ = self.legacy(name)
            if name in handed or (top and os.path.isdir(top)):
                self.find(name)

    def _look(self, controller: str) -> Found | str:
        try:
            why = self._unified(controller) if self.base else ""
            if isinstance(why, Found):
                return why
            top, above = self.legacy(controller)
            if top:
                make_v1(top, above, controller)
                if read(f"{top}/memory.use_hierarchy").strip() == "0":  # Linux before 5.11
                    write(f"{top}/memory.use_hierarchy", "1")  # those below have it from here
                return Found(1, top, frozenset(os.listdir(top)))
        except OSError as exc:
            return f"cannot use {exc.filename}: {exc.strerror}"
        nowhere = f"no cgroup hierarchy of this host has the {controller} controller"
        return why or self._withheld(controller) or nowhere

    # --- v2 ---

    def _withheld(self, controller: str) -> str:
        """What to say if cgroup v2 has it, but not for us. "" if it has it not."""
        for line in read_long(f"{self._proc}/self/mountinfo").splitlines():
            left, _, right = line.partition(" - ")
            mount = left.split()[4]
            if not right.startswith("cgroup2 "):
                continue
            if controller in read(f"{mount}/cgroup.controllers").split():
                if not self.base:
                    return f"cgroup v2 has the {controller} controller, but no group of it is ours"
                own = os.path.dirname(os.path.dirname(self.base))
                return f"the {controller} controller is not handed down to {own} (Delegate=yes)"
        return ""

    def _unified(self, controller: str) -> Found | str:
        """Hand it down to the units' groups. "" if v2 does not have it."""
        top = os.path.dirname(self.base)
        own = os.path.dirname(top)
        if controller not in read(f"{own}/cgroup.controllers").split():
            return ""
        # Looked at before, not left to the kernel: what it does not refuse (cpu, pids) makes a
        # threaded group of ours, in which no other controller and no group of units can be.
        if os.path.exists(f"{own}/cgroup.type"):  # only the root of all has none
            stranger = self._step_aside(own, f"{top}/{SUPERVISOR}")
            if stranger:
                return (
                    f"process {stranger} is in {own} beside the supervisor, so cgroup v2 hands no "
                    f"{controller} controller down; run the supervisor in a group of its own "
                    "(systemd: Delegate=yes)"
                )
        for group in (own, top, self.base):
            enable(group, controller)
        return Found(2, self.base, frozenset(os.listdir(self.base)))

    def _step_aside(self, own: str, aside: str) -> int:
        """Move keeper, manager, logger and what else the keeper started out of our group. The pid
        of a stranger that is in it, and then nothing was moved."""
        keeper = os.getppid()
        for _ in range(_MOVES):
            pids = [int(word) for word in read_long(f"{own}/cgroup.procs").split()]
            if not pids:
                break
            for pid in pids:
                if not self._is_ours(pid, keeper):
                    return pid
            os.makedirs(aside, exist_ok=True)
            for pid in pids:
                try:
                    write(f"{aside}/cgroup.procs", str(pid))
                except ProcessLookupError:
                    pass  # it ended
        return 0

    def _is_ours(self, pid: int, keeper: int) -> bool:
        if pid == keeper:
            return True
        status = read(f"{self._proc}/{pid}/stat", 1024)
        fields = status[status.rfind(")") + 2 :].split()
        return len(fields) < 2 or int(fields[1]) == keeper  # gone, or a child of the keeper

    # --- v1 ---

    def legacy(self, controller: str) -> tuple[str, str]:
        """Our directory in the controller's own v1 hierarchy, made or not, and the one above; "" if
        it has none."""
        name = _V1_NAMES.get(controller, controller)
        for line in read_long(f"{self._proc}/self/mountinfo").splitlines():
            left, _, right = line.partition(" - ")
            kind, _, options = right.split(" ", 2)
            if kind == "cgroup" and name in options.split(","):
                root, mount = left.split()[3:5]
                above = f"{mount}{self._own(name, root)}"
                return f"{above}/{self.name}", above
        return "", ""

    def _own(self, controller: str, root: str) -> str:
        """Our group in a v1 hierarchy, relative to where that is mounted."""
        for line in read(f"{self._proc}/self/cgroup").splitlines():
            _, names, path = line.split(":", 2)
            if controller in names.split(","):
                inside = root not in ("", "/") and (path + "/").startswith(root + "/")
                path = path[len(root) :] if inside else path
                return path.rstrip("/")
        return ""


def enable(group: str, controller: str) -> None:
    """Hand a controller down from a v2 group to those below it. Raises OSError."""
    path = f"{group}/cgroup.subtree_control"
    if controller not in read(path).split():
        write(path, f"+{controller}")


def make_v1(group: str, above: str, controller: str) -> bool:
    """Make a v1 group that can be joined. False: it was there."""
    made = True
    try:
        os.mkdir(group, 0o755)
    except FileExistsError:
        made = False
    if controller == "cpuset":
        for file in ("cpuset.cpus", "cpuset.mems"):  # born empty, and then nobody may join
            if not read(f"{group}/{file}").strip():
                write(f"{group}/{file}", read(f"{above}/{file}").strip())
    return made


def write(path: str, value: str) -> None:
    """Write all at once, as a cgroup file wants it. O_NONBLOCK: newer kernels then lower a memory
    limit without reclaiming first, which could keep the caller for seconds."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.write(fd, value.encode() or b"\n")
    except OSError as exc:
        exc.filename = path
        raise
    finally:
        os.close(fd)

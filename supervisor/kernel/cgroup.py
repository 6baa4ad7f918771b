"""Tracking by cgroup v2: every instance in a group of its own, below one that is ours.

`BASE/UNIT` (or `BASE/UNIT@INDEX`) is made by the keeper when the first process is born into it and
removed here when the instance is down. "Stopped" means cgroup.events says populated 0, so nothing
that forks, daemonises or changes its session escapes. No controller is needed: a hybrid host's
controller-less v2 mount serves as well.

Groups of instances lie side by side and no unit's name has an "@": what a service makes below its
own group is never taken for another instance, and the end of one instance is not that of another.
"""
from __future__ import annotations

import os
from errno import EBUSY, ENODEV, ENOENT
from select import poll

from supervisor.kernel import groups
from supervisor.kernel.host import read, read_long
from supervisor.kernel.spare import use
from supervisor.kernel.tracking import Figures, added_bytes, group_of, send

_MOST_COUNTED = 256  # groups below an instance's own that a status looks at
_ALL = 1 << 20  # groups that are removed at the end, when nobody waits any more


class CgroupTracker:
    name = "cgroup"

    def __init__(self, base: str, prefix: str) -> None:
        """`base`: directory of the units' groups; `prefix`: its path as /proc/PID/cgroup has it."""
        self.base = base
        self._prefix = prefix + "/"
        self._memory = os.path.exists(f"{base}/memory.current")
        # Key -> "+NAME/..." of instances in a slice ([limits] slice), set before their launch.
        self.slices = {key: above for above, key in self._sliced(base, "")}

    def group(self, key: str) -> str:
        """The path of an instance's group relative to `base`: what a CGROUP step takes."""
        name = key.replace("/", "@")
        return self.slices.get(key, "") + name if self.slices else name

    def _sliced(self, path: str, above: str) -> list[tuple[str, str]]:
        """Slice and key of the groups that an earlier manager put into slices."""
        found = []
        for name in os.listdir(path):
            if name[0] == "+":
                found += self._sliced(f"{path}/{name}", f"{above}{name}/")
            elif above and os.path.isdir(f"{path}/{name}"):
                found.append((above, name.replace("@", "/")))
        return found

    def _path(self, key: str) -> str:
        return f"{self.base}/{self.group(key)}"

    def empty(self, key: str) -> bool:
        """True if no process of the instance is left (zombies do not count)."""
        try:
            fd = use(os.open, f"{self._path(key)}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            return b"populated 0" in os.read(fd, 128)
        except OSError as exc:
            return exc.errno == ENODEV
        finally:
            os.close(fd)

    def watch(self, key: str) -> list[int]:
        """A descriptor on which EPOLLPRI comes when the group fills or empties. Yours to close."""
        try:
            fd = use(os.open, f"{self._path(key)}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        self.heard(fd)
        return [fd]

    def heard(self, fd: int) -> None:
        """Read `fd` anew: until then the kernel tells of the same change again, without end (and
        of one that never was, if nothing was read before the first wait)."""
        try:
            os.pread(fd, 128, 0)
        except OSError as exc:
            if exc.errno != ENODEV:
                raise

    def pids(self, key: str) -> list[int]:
        """Of all in the group. Those below it are looked for only where the kernel counts some."""
        return self._count(key, groups.MOST)[0]

    def _count(self, key: str, most: int, alone: int = 0) -> tuple[list[int], bool]:
        """The processes of an instance, and whether these are all: of so many groups at most. That
        of the group itself need not be read if it is known to be `alone`."""
        path = self._path(key)
        try:
            below = os.stat(path).st_nlink > 2
        except FileNotFoundError:
            return [], True
        found: list[int] = []
        whole = True
        if below:
            whole = groups.each_below(path, lambda at, n: found.extend(groups.pids(at, n)), most)
        found += [alone] if alone else map(int, read_long(f"{path}/cgroup.procs").split())
        return found, whole

    def signal(self, key: str, number: int, but: int, *, group: bool = False) -> None:
        """To every process of the instance except `but` (and all of its process group), who is
        signalled by the keeper.

        A pid is held by a pidfd and seen to be in the group after that, so a number that was given
        to somebody else meanwhile is never hit.
        """
        for pid in self.pids(key):
            if pid != but and not (group and group_of(pid) == but):
                send(pid, number, lambda pid=pid: self.owner(pid) == key)  # type: ignore[misc]

    def kill(self, key: str) -> None:
        """SIGKILL to all at once, forks in flight included."""
        path = self._path(key)
        try:
            fd = use(os.open, f"{path}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if os.path.exists(path):  # a kernel before 5.14: freeze, so that nothing forks away
                self.freeze(key, frozen=True)
                self.signal(key, 9, 0)
                self.freeze(key, frozen=False)
            return
        try:
            os.write(fd, b"1")
        except OSError as exc:
            if exc.errno != ENODEV:
                raise
        finally:
            os.close(fd)

    def end(self, key: str) -> None:
        """Kill all of an instance, wait up to 5 s until it is empty, remove its group. For a time
        when nothing else could happen yet."""
        self.kill(key)
        for _ in range(500):
            if self.empty(key):
                self.remove(key)
            if not os.path.exists(self._path(key)):
                break
            poll().poll(10)
            self.kill(key)

    def freeze(self, key: str, *, frozen: bool) -> None:
        fd = use(os.open, f"{self._path(key)}/cgroup.freeze", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"1" if frozen else b"0")
        finally:
            os.close(fd)

    def owner(self, pid: int) -> str | None:
        """The key of the instance that `pid` belongs to, None for a stranger or the dead."""
        for line in read(f"/proc/{pid}/cgroup").splitlines():
            if line.startswith("0::" + self._prefix):
                parts = line[3 + len(self._prefix) :].split("/")
                return next((p.replace("@", "/") for p in parts if p[:1] != "+"), None)
        return None

    def remove(self, key: str) -> bool:
        """Remove the instance's group if no process is in it: one system call that looks and does.
        False: it is not empty yet, and stays for the next time."""
        path = self._path(key)
        try:
            os.rmdir(path)
        except OSError as exc:
            if exc.errno == ENOENT:
                return True
            if exc.errno != EBUSY or not self.empty(key):
                return False
        else:
            return True
        groups.each_below(path, groups.remove)  # it is empty, but has groups of its own below it
        try:
            os.rmdir(path)
        except OSError:
            pass  # somebody made another one, or there are too many; what is left shows below
        return not os.path.exists(path)

    def figures(self, key: str, pid: int) -> Figures:
        """Memory, CPU and tasks of all in the group. Memory is a controller's own count; without
        one it is added up, unless there are so many processes that others would wait for it. So
        with the tasks, where there are very many groups."""
        cpu = read(f"{self._path(key)}/cpu.stat", 256)
        cpu_ns = int(cpu.split()[1]) * 1000 if cpu.startswith("usage_usec") else None
        memory, tasks = self.memory_and_tasks(key)
        return Figures(memory, cpu_ns, tasks)

    def memory_and_tasks(self, key: str, alone: int = 0) -> tuple[int | None, int | None]:
        """As in `figures`. `alone`: a process that is the only one of the group itself."""
        pids, whole = self._count(key, _MOST_COUNTED, alone)
        tasks = len(pids) if whole else None
        if self._memory:
            text = read(f"{self._path(key)}/memory.current").strip()
            return (int(text) if text else None), tasks
        return (added_bytes(pids) if whole else None), tasks

    def leftovers(self) -> list[str]:
        """Keys of groups with processes in them that an earlier supervisor left behind."""
        names = sorted(os.listdir(self.base))
        keys = [n.replace("@", "/") for n in names if os.path.isdir(f"{self.base}/{n}")]
        sliced = sorted(key for _, key in self._sliced(self.base, ""))
        keys = [key for key in keys if key[0] != "+"] + sliced
        return [key for key in keys if not self.empty(key)]

    def close(self) -> None:
        """Remove every group that is empty, ours last."""
        groups.each_below(self.base, groups.remove, _ALL)
        for path in (self.base, os.path.dirname(self.base)):
            try:
                os.rmdir(path)
            except OSError:
                pass  # something is left in it


def find(name: str, before: str = "") -> tuple[CgroupTracker | None, str]:
    """The tracker below our own group of the v2 hierarchy, or None and the reason.

    `name`: of the directory that is made there, one for each supervisor on a host. `before`: the
    base that an earlier manager of this supervisor had: it stays, whatever our own group is now.
    """
    mount = ""
    for line in read_long("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup2 "):
            mount = left.split()[4]
            break
    if not mount:
        return None, "no cgroup v2 hierarchy is mounted"
    own = next((x[3:] for x in read("/proc/self/cgroup").splitlines() if x.startswith("0::")), "/")
    own = own.rstrip("/").removesuffix(f"/{name}/supervisor")  # see controllers.SUPERVISOR
    base = f"{mount}{own}/{name}/units"
    if before.startswith(f"{mount}/") and before.endswith(f"/{name}/units"):
        base = before
    try:
        os.makedirs(base, exist_ok=True)
        if not os.access(f"{base}/cgroup.procs", os.W_OK):
            return None, f"{base} is not ours to write"
        os.mkdir(f"{base}/.probe")
        os.rmdir(f"{base}/.probe")
    except OSError as exc:
        return None, f"cannot make {base}: {exc.strerror}"
    return CgroupTracker(base, base.removeprefix(mount)), ""

"""The limits of running units: written before a launch, changed live, taken away at the end.

The writes go to the instance's own groups, made here if need be; on cgroup v2 that is the group
that tracking has for it, on v1 one in each controller's hierarchy, which the new process joins by
writing "0" to the files that `prepare` names. Slices are groups above those: `+NAME`, because no
unit's name begins so.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from errno import EBUSY, EINVAL
from typing import NamedTuple

from supervisor.kernel import limit_groups as groups
from supervisor.kernel import limits_v1
from supervisor.kernel.controllers import Controllers, write
from supervisor.kernel.disks import device_of
from supervisor.kernel.host import read
from supervisor.kernel.limit_groups import Slices, above, group_of
from supervisor.kernel.limits import RESETS, Compiled, Found, Missing, Write, change, translate
from supervisor.kernel.usage import Oom, Places, oom
from supervisor.model.unit import Limits

_ALL_RESETS = {**limits_v1.RESETS, **RESETS}
_LOOKS = 20  # at the processes, for those that fork while they are moved


class CannotLimit(Exception):
    """What cannot be enforced, in words that follow "cannot start UNIT: "."""


class Prepared(NamedTuple):
    """`joins`: cgroup.procs files for WRITE steps of "0". `missing`: with require = "best", what
    is not enforced. `watch`: see Limiter.watch_oom. `before`: for usage.why_killed, of the first
    call for a run."""

    joins: tuple[str, ...]
    missing: tuple[Missing, ...]
    watch: bool
    before: Oom = Oom(0, 0)


class Limiter:
    def __init__(self, name: str, base: str = "", proc: str = "/proc") -> None:
        """`name`: of this supervisor's cgroup (one for each on a host). `base`: the tracker's
        directory of units' groups in cgroup v2, "" if it has none."""
        self._controllers = Controllers(name, base, proc)
        self._written: dict[str, tuple[Write, ...]] = {}  # by group, of limits that hold now
        self._groups: dict[str, str] = {}  # key: group, of instances that have one
        self._adopted = False  # groups may be there that an earlier manager made

    # --- before a launch ---

    def prepare(self, key: str, limits: Limits, slices: Slices = ()) -> Prepared:
        """Make the groups of an instance and write its limits, and those of its slices. To be
        called before each launch into them (hooks too); what holds already is not written again.
        Raises CannotLimit."""
        missing: list[Missing] = []
        used: set[str] = set()
        for index, (name, shared) in enumerate(slices):
            group = above(slices[: index + 1])[:-1]
            absent, controllers = self._apply(group, self._compile(shared, group=True))
            used |= controllers
            missing += [Missing(m.key, f"of slice {name}: {m.why}") for m in absent]
            if shared.require == "all":
                _refuse(absent, f"of slice {name}, ")
        group = group_of(key, slices)
        known = group in self._written or self._adopted
        before = oom(groups.places(self._controllers, group)) if known else Oom(0, 0)
        absent, controllers = self._apply(group, self._compile(limits), used)
        if limits.require == "all":
            _refuse(absent, "")
        self._groups[key] = group
        if limits.memory_min_bytes is not None:
            self._protect(group)
        joins = self._joins(group, controllers)
        return Prepared(joins, (*missing, *absent), self.watches(key, limits), before)

    def joins(self, key: str, limits: Limits, slices: Slices = ()) -> tuple[str, ...]:
        """Those that `prepare` would name; no group is made."""
        compiled = [self._compile(shared, group=True) for _, shared in slices]
        compiled.append(self._compile(limits))
        controllers = {write.controller for one in compiled for write in one.writes}
        if isinstance(self._controllers.find("memory"), Found):
            controllers.add("memory")
        return self._joins(group_of(key, slices), controllers)

    def missing(self, limits: Limits, *, group: bool = False) -> list[Missing]:
        """What `prepare` is known to miss before it writes anything."""
        return list(self._compile(limits, group=group).missing)

    def _joins(self, group: str, controllers: set[str]) -> tuple[str, ...]:
        found = [self._controllers.found(name) for name in controllers]
        paths = {f"{one.top}/{group}/cgroup.procs" for one in found if one.version == 1}
        return tuple(sorted(paths))

    def watches(self, key: str, limits: Limits) -> bool:
        """Whether somebody has to look for it to run out of memory: see watch_oom."""
        return limits.oom != "process" and bool(self.places(key).memory)

    def _compile(self, limits: Limits, *, group: bool = False) -> Compiled:
        compiled = translate(limits, self._controllers.find, device_of, group=group)
        lacking = self._no_cpu(compiled.writes)
        if lacking is None:
            return compiled
        writes = tuple(one for one in compiled.writes if one.key != "cpus")
        return Compiled(writes, (*compiled.missing, lacking))

    def _no_cpu(self, writes: Sequence[Write]) -> Missing | None:
        """v2 takes a CPU that is not there, and then uses all of them: so it is looked at here."""
        for one in writes:
            if one.key != "cpus":
                continue
            found = self._controllers.found(one.controller)
            names = ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus")
            texts = (read(f"{found.top}/{name}").strip() for name in names)
            there = next((text for text in texts if text), "")
            if there and not _cpus(one.value) <= _cpus(there):
                return Missing("cpus", f"the supervisor may use CPUs {there} only")
        return None

    def _apply(
        self, group: str, compiled: Compiled, also: set[str] | frozenset[str] = frozenset()
    ) -> tuple[list[Missing], set[str]]:
        """Write what is not written yet. What failed, and the controllers that the group is in:
        those of its limits, of its slices' (`also`), and memory for its figures."""
        missing = list(compiled.missing)
        controllers = {one.controller for one in compiled.writes} | also
        if isinstance(self._controllers.find("memory"), Found):
            controllers.add("memory")
        known = self._controllers
        try:
            fresh = {name for name in sorted(controllers) if groups.make(known, name, group)}
        except OSError as exc:
            why = f"cannot make {exc.filename}: {exc.strerror}"
            keys = dict.fromkeys(one.key for one in compiled.writes)
            return missing + [Missing(key, why) for key in keys], set()
        old = [
            one for one in self._written.get(group, ()) if not self._is_new(one.controller, fresh)
        ]
        failed = self._write(group, change(old, compiled.writes, _ALL_RESETS))
        bad = {one for one, _ in failed}
        self._written[group] = tuple(one for one in compiled.writes if one not in bad)
        return missing + _words(failed), controllers

    def _is_new(self, controller: str, fresh: set[str]) -> bool:
        """Whether its group was just made, so that nothing holds there yet. On v2 all have one."""
        found = self._controllers.found(controller)
        if found.version == 1:
            return controller in fresh
        return any(self._controllers.found(name).version == 2 for name in fresh)

    def _write(self, group: str, writes: Sequence[Write]) -> list[tuple[Write, OSError]]:
        """What failed. The order of some depends on the old values (memory and memsw, quota and
        period), so what the kernel refuses is tried again after the others."""
        again: list[Write] = []
        failed: list[tuple[Write, OSError]] = []
        for one in writes:
            try:
                self._one(group, one)
            except OSError as exc:
                if exc.errno in (EINVAL, EBUSY):
                    again.append(one)
                else:
                    failed.append((one, exc))
        for one in again:
            try:
                self._one(group, one)
            except OSError as exc:
                failed.append((one, exc))
        return failed

    def _one(self, group: str, one: Write) -> None:
        found = self._controllers.found(one.controller)
        path, value = f"{found.top}/{group}", one.value
        if found.version == 1 and one.file == "cpuset.cpus" and not value:
            value = read(f"{os.path.dirname(path)}/cpuset.cpus").strip()
        write(f"{path}/{one.file}", value)

    def _protect(self, group: str) -> None:
        """memory.min counts for what the groups above it protect as well: they get the sum of
        those below them, unless a slice says its own."""
        found = self._controllers.find("memory")
        if not isinstance(found, Found) or found.version != 2:
            return
        top = os.path.dirname(found.top)
        path = os.path.dirname(f"{found.top}/{group}")
        while path.startswith(top):
            written = self._written.get(path[len(found.top) + 1 :], ())
            if not any(one.file == "memory.min" for one in written):
                entries = [entry.path for entry in os.scandir(path) if entry.is_dir()]
                below = [read(f"{entry}/memory.min").strip() for entry in entries]
                try:
                    write(f"{path}/memory.min", str(sum(int(t) for t in below if t.isdigit())))
                except OSError:
                    break  # a kernel without it for this group: nothing above helps either
            path = os.path.dirname(path)

    def explain(self, limits: Limits, slices: Slices = ()) -> list[tuple[str, str]]:
        """Key and mechanism, with its value, or why it has none here; for people."""
        rows = []
        for name, shared in (*slices, ("", limits)):
            compiled = self._compile(shared, group=bool(name))
            whose = f"slice {name}: " if name else ""
            for one in compiled.writes:
                found = self._controllers.found(one.controller)
                words = f"{one.file} = {one.value} (cgroup v{found.version})"
                rows.append((f"limits.{one.key}", whose + words))
            rows += [(f"limits.{m.key}", f"{whose}not enforced: {m.why}") for m in compiled.missing]
        return rows

    # --- while it runs ---

    def live(
        self, key: str, old: Limits | None, new: Limits, slices: Slices = (),
        pids: Callable[[], Sequence[int]] = tuple,
    ) -> list[str]:  # fmt: skip
        """Make `new` hold for the groups of a running instance in place of `old`. What could not
        be applied, as sentences; `retune` does what holds for each process. `pids`: of all its
        processes, which are moved into v1 groups that they are not in yet."""
        group = group_of(key, slices)
        if self.group(key) != group:
            return ["limits.slice holds from the next start on"]
        if group not in self._written and old is not None:
            self._written[group] = self._compile(old).writes
        before = self._written.get(group, ())
        missing, controllers = self._apply(group, self._compile(new))
        missing += self._move(group, controllers, pids)
        if any(one.key == "memory_min" for one in (*before, *self._written.get(group, ()))):
            self._protect(group)
        return [str(one) for one in missing]

    def _move(
        self, group: str, controllers: set[str], pids: Callable[[], Sequence[int]]
    ) -> list[Missing]:
        """Bring processes into the v1 groups that hold none. What fork(2) makes meanwhile is
        caught by looking again."""
        for name in sorted(controllers):
            found = self._controllers.found(name)
            path = f"{found.top}/{group}/cgroup.procs"
            if found.version == 2 or read(path, 64):
                continue
            moved: set[int] = set()
            for _ in range(_LOOKS):  # what they fork from now on is born in it
                fresh = [pid for pid in pids() if pid not in moved]
                if not fresh:
                    break
                for pid in fresh:
                    try:
                        write(path, str(pid))
                    except ProcessLookupError:
                        pass  # it ended
                    except OSError as exc:
                        why = f"cannot move process {pid} to {path}: {exc.strerror}"
                        keys = {one.key for one in self._written[group] if one.controller == name}
                        return [Missing(key, why) for key in sorted(keys)]
                moved.update(fresh)
        return []

    def live_slice(self, slices: Slices) -> list[str]:
        """The same for the last of `slices`, which keeps its members. [] if none of them runs."""
        group = above(slices)[:-1]
        if group not in self._written:
            return []
        absent, _ = self._apply(group, self._compile(slices[-1][1], group=True))
        return [str(one) for one in absent]

    def group(self, key: str) -> str:
        """The group that an instance is in, relative to the units' directory."""
        return self._groups.get(key) or group_of(key)

    def places(self, key: str) -> Places:
        """Where the figures of an instance are read (usage.read)."""
        return groups.places(self._controllers, self.group(key))

    def shared(self, slices: Slices) -> list[Places]:
        """The same of each of its slices, the outermost first."""
        names = [above(slices[: index + 1])[:-1] for index in range(len(slices))]
        return [groups.places(self._controllers, name) for name in names]

    def watch_oom(self, key: str) -> int:
        """On cgroup v1 an eventfd that is readable when the instance's memory ran out: the caller
        looks at usage.oom then and kills the rest, as v2 does by itself. -1: not to be had."""
        path = self.places(key).memory
        try:
            control = os.open(f"{path}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return -1
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            write(f"{path}/cgroup.event_control", f"{fd} {control}")
        except OSError:
            os.close(fd)
            return -1
        finally:
            os.close(control)
        return fd

    # --- after it ---

    def remove(self, key: str) -> bool:
        """Take the instance's v1 groups away, after the tracker did so on v2. False: somebody is
        still in one, and it stays for the next time."""
        group = self.group(key)
        gone = True
        for top in groups.tops(self._controllers):
            gone = groups.remove(f"{top}/{group}") and gone
        if gone:
            self._groups.pop(key, None)
            written = self._written.pop(group, ())
            if any(one.key == "memory_min" for one in written):
                self._protect(group)
        return gone

    def close(self) -> None:
        """Take away what is empty of our directories on v1, and of our slices on v2. To be called
        before the tracker's own close."""
        for top in groups.tops(self._controllers):
            groups.remove(top)
        if self._controllers.base:
            for path in groups.slices_of(self._controllers.base):
                groups.remove(path)

    def adopt(self) -> None:
        """After a restart of the manager: find again what the units that run have in use."""
        self._adopted = True
        self._controllers.adopt()
        self._groups.update(groups.sliced(self._controllers))


def _refuse(missing: Sequence[Missing], whose: str) -> None:
    if missing:
        words = "; ".join(str(one) for one in missing)
        raise CannotLimit(f'{whose}{words} (limits.require = "best" starts it all the same)')


def _words(failed: Sequence[tuple[Write, OSError]]) -> list[Missing]:
    return [
        Missing(one.key, f"cannot write {one.value!r} to {exc.filename}: {exc.strerror}")
        for one, exc in failed
    ]


def _cpus(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found

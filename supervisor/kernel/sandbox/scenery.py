"""The steps of one unit's view, in their order.

Law: what is shown is taken by descriptor before anything is covered, then all is made read-only,
then it is put back, parents first; last the old root goes. Nothing of it is left behind.
"""
from __future__ import annotations

from typing import NamedTuple

from supervisor.kernel.calls import Out
from supervisor.kernel.plan import Step
from supervisor.kernel.sandbox import devnodes, directories, paths, proc, share, vault
from supervisor.kernel.sandbox import root as roots
from supervisor.kernel.sandbox.mounts import NODEV, NOEXEC, NOSUID, RDONLY, Scene, is_below
from supervisor.kernel.sandbox.part import CannotConfine, Context
from supervisor.kernel.sandbox.trace import Traced, exists, trace
from supervisor.kernel.sandbox.usermap import may_map, ranges
from supervisor.model.policy import Policy

TMP = paths.TEMPORARY[:2]
_SHM = paths.TEMPORARY[2]
HOMES = ("/home", "/root", "/run/user")
_OWN = NOSUID | NODEV


class Shown(NamedTuple):
    """Something of the host's that is seen at `path`: the real path of what, by which label."""

    path: str
    label: str
    directory: bool = True


def hides(policy: Policy) -> bool:
    """Whether only what is listed exists."""
    return policy.read is not None and policy.view == "hide"


def lives_in(home: str, policy: Policy, ctx: Context) -> bool:
    """Whether its program or its directory is there, so that it cannot be empty."""
    return any(is_below(_real(one), home) for one in (ctx.program, ctx.directory) if one)


def kept(policy: Policy, ctx: Context) -> list[str]:
    """What of the host's /tmp and /var/tmp is in a private one: the entries in which its program
    and its directory are, since it could not start without them."""
    if not policy.private_tmp or hides(policy):
        return []
    found = []
    for path in (ctx.program, ctx.directory):
        for one in (path, trace(path, policy.root).real) if exists(path, policy.root) else ():
            tops = [top for top in TMP if is_below(one, top) and one != top]
            found += [f"{top}/{one[len(top) + 1 :].split('/')[0]}" for top in tops]
    return list(dict.fromkeys(found))


def _real(path: str) -> str:
    return trace(path).real if exists(path) else path


class View:
    """The steps of one unit's view."""

    def __init__(
        self, policy: Policy, ctx: Context, own: list[directories.Own], mapped: dict[str, str],
        nodes: list[Traced],
    ) -> None:  # fmt: skip
        """`mapped`: labels of its directories whose ids are mapped. `nodes`: of its own /dev."""
        self.policy, self.ctx, self.own, self.mapped = policy, ctx, own, mapped
        self.nodes = nodes
        # What has descriptors of its own below or among the scene's closes each by itself.
        others = policy.open or policy.secrets or mapped or policy.share_tmp
        self.scene = Scene(sweeps=not others)
        self.masks: list[str] = []  # directories of the kernel's that are empty to it
        self.shown: list[Shown] = []
        self.links: list[tuple[str, str]] = []
        self.below = ""  # label of root='s tree, in which listed paths are
        self.mine = {one.path for one in own}
        self.private: set[str] = set()  # where only root gets, in what is listed
        self.hide = hides(policy)
        self.read_only = policy.read_only and policy.view == "hide"
        self.replaced = self.hide or bool(policy.root)  # the root is not the host's

    def steps(self) -> tuple[Step, ...]:
        policy, scene = self.policy, self.scene
        scene.enter(slave=not self.replaced)
        scene.add("umask", 0, result="umask", words="modes as they are given")
        if policy.root:
            self.below = roots.take(scene, policy)
        taken = devnodes.take(scene, self.nodes)
        if self.hide or self.read_only:
            self._take_listed()
        self._take_own()
        self._take_host()
        self._take_kept()
        if policy.share_tmp:
            self.shown += [Shown(path, share.label(path)) for path in share.TMP]
        self._own_files()
        if self.hide:
            new = scene.make("tmpfs", _OWN, mode="0755", size="1m")
            scene.become_root(new, own=True)
        elif self.read_only:
            scene.read_only(self.below)
        covers = self._covers()
        for path in sorted({*covers, *(one.path for one in self.shown)}, key=_depth):
            self._must_have_place(path)
            for one in self.shown:
                if one.path == path:
                    scene.put(one.label, path, directory=one.directory)
            if path in covers:
                self._cover(path, covers[path])
            if path == "/proc":
                proc.guard(scene, self.policy, self.ctx)
        for path, text in self.links:
            scene.symlink(path, text)
        if devnodes.own(policy):
            devnodes.fill(scene, taken, self.nodes)
        self._finish(covers)
        return tuple(scene.steps)

    def _own_files(self) -> None:
        """What is made from now on belongs to an id that the unit's user namespace has; until now
        the host's files had to be found, by who may."""
        if self.policy.users is not None and may_map(self.ctx):
            first = ranges(self.policy, self.ctx)[0].inside
            for name in ("setfsgid", "setfsuid"):
                self.scene.add(name, first, words=f"new files are {first}'s in its user namespace")

    def _take_listed(self) -> None:
        """What the unit file lists, with the rights that it has there."""
        policy = self.policy
        reads, writes, runs = paths.listed(policy, self.ctx)
        if self.hide:  # its own must be there, to execute: libraries are mapped so (Landlock
            own = paths.own_program(self.ctx.program, policy.root)  # knows what is no program)
            reads, runs = (*reads, *own), (*runs, *own)
        if not self.hide:
            reads = runs = ()
        if self.hide and "/" in (*reads, *writes, *runs):
            raise CannotConfine(
                'sandbox.read: cannot make a view of / itself, in which nothing would be hidden; '
                'list directories in it, or write view = "deny"'
            )
        rights = _rights(policy, *(self._traced(one) for one in (reads, writes, runs)))
        tops: dict[str, int] = {}
        for path in sorted(rights, key=_depth):
            real, flags = rights[path]
            above = max((top for top in tops if is_below(path, top)), key=len, default="")
            if tops.get(above) != flags:
                tops[path] = flags
                self._show(path, real, flags, below=self.below)

    def _traced(self, given: tuple[str, ...]) -> dict[str, Traced]:
        """By real path, without what the unit has something of its own for."""
        found = {}
        for path in given:
            if path not in self.mine and not self._is_replaced(path):
                real = trace(path, self.policy.root)
                self.links += real.links
                found[real.real] = real
        return found

    def _show(self, path: str, real: Traced, flags: int, *, below: str = "") -> None:
        label = self.scene.take(real.real, below=below)
        self.scene.change(label, flags)
        self.shown.append(Shown(path, label, real.directory))

    def _is_replaced(self, path: str) -> bool:
        """Whether the unit has something of its own there anyway."""
        policy = self.policy
        return (
            (policy.private_tmp and path in TMP)
            or (devnodes.own(policy) and is_below(path, "/dev"))
            or path == "/proc"
        )

    def _take_own(self) -> None:
        """State and other directories of the unit, to write; no suid file in them is worth more."""
        listed = tuple(self.shown)
        for one in self.own:
            label = self.mapped.get(one.path) or self.scene.take(one.real)
            runs = self.policy.exec
            closed = runs is not None and not {f"@{one.kind}", one.path} & set(runs)
            self.scene.change(label, _OWN | (NOEXEC if closed else 0))
            above = any(is_below(one.path, other.path) for other in listed)
            if above and self.hide and not self.policy.root and directories.is_private(one):
                self.private.add(directories.private_of(one))  # the host's link leads there
                self.shown.append(Shown(one.real, label))
            else:
                self.shown.append(Shown(one.path if self.replaced else one.real, label))

    def _take_host(self) -> None:
        """What is the host's in every view: sockets, /dev and /proc if they are shared."""
        policy, scene = self.policy, self.scene
        if not proc.fresh(policy) and (self.replaced or self.read_only):
            self.shown.append(Shown("/proc", scene.take("/proc")))
        if not devnodes.own(policy) and (self.replaced or self.read_only):
            self.shown.append(Shown("/dev", scene.take("/dev")))
        for path, directory in proc.masked(policy, self.ctx).items():
            if path.startswith("/proc/") or not self.replaced or self._sees_sys():
                self._mask(path, directory=directory)
        for path in roots.files(policy) if policy.root else ():
            self._show(path, trace(path), RDONLY | _OWN | NOEXEC)
        for path in self.ctx.listens if self.replaced or policy.read_only else ():
            folder, _, name = path.rpartition("/")
            real = trace(folder)
            self.links += real.links if self.replaced else ()
            where = f"{real.real}/{name}"
            self.shown.append(Shown(where, scene.take(where), directory=False))
        for path in self.ctx.shows if policy.root or (policy.read_only and not self.hide) else ():
            self._show(path, trace(path), RDONLY | _OWN | NOEXEC)
        for path in policy.network.unix or () if self.replaced else ():
            if path.startswith("/") and exists(path):
                self._show(path, trace(path), _OWN | NOEXEC)

    def _take_kept(self) -> None:
        for path in kept(self.policy, self.ctx):
            real = trace(path, self.policy.root)
            self.links += real.links
            if not any(is_below(real.real, one.path) for one in self.shown):
                flags = _OWN | (RDONLY if self.read_only else 0)
                self._show(real.real, real, flags, below=self.below)

    def _sees_sys(self) -> bool:
        return bool(self.policy.root) and "/sys" in roots.files(self.policy)

    def _mask(self, path: str, *, directory: bool) -> None:
        """An empty directory or file instead of what is there."""
        if directory:
            self.masks.append(path)
            return
        label = self.scene.take(trace("/dev/null").real)
        self.scene.change(label, NOSUID | NOEXEC | RDONLY)
        self.shown.append(Shown(path, label, directory=False))

    def _covers(self) -> dict[str, str]:
        """Paths at which file systems of our own are, and of what kind."""
        policy = self.policy
        found = self._empties() | self._temporaries()
        if devnodes.own(policy):
            found["/dev"] = "devices"
        if proc.fresh(policy):
            found["/proc"] = "processes"
        if policy.secrets:
            found[vault.directory(self.ctx)] = "secrets"
        return found | dict.fromkeys(self.masks, "mask")

    def _empties(self) -> dict[str, str]:
        """What of the host is none of the unit's business, so that nothing is seen there."""
        policy, ctx = self.policy, self.ctx
        if policy.root:
            empty = () if self.hide else roots.EMPTY
            return {path: "empty" for path in empty if exists(path, policy.root)}
        if self.hide:  # whoever may use our sockets is out of his sandbox by them
            ours = _real(ctx.runtime)
            found = [ours] if any(is_below(ours, one.path) for one in self.shown) else []
            return dict.fromkeys([*found, *self.private], "empty")
        found = []
        if policy.hide_homes and policy.view == "hide":
            homes = [one for one in HOMES if exists(one) and not lives_in(one, policy, ctx)]
            found += [_real(one) for one in homes]
        if policy.read_only and not self._elsewhere(ctx.runtime):
            found.append(_real(ctx.runtime))
        elif policy.secrets:
            found.append(vault.top(ctx))
        found += {directories.private_of(one) for one in self.own if directories.is_private(one)}
        return dict.fromkeys(found, "empty")

    def _elsewhere(self, path: str) -> bool:
        """Whether it is in the host's /tmp, of which one that shares another's sees nothing."""
        return self.policy.share_tmp and any(is_below(_real(path), top) for top in TMP)

    def _temporaries(self) -> dict[str, str]:
        policy = self.policy
        if not policy.private_tmp:
            return {}
        found = []
        for path in () if policy.share_tmp else TMP:
            if self.hide:
                found.append(path)
            elif exists(path, policy.root):
                found.append(trace(path, policy.root).real)
        if not devnodes.own(policy) and exists(_SHM):
            found.append(_SHM)
        return dict.fromkeys(found, "temporary")

    def _must_have_place(self, path: str) -> None:
        """Whether something can be mounted there: in an image nothing is made. Raises
        CannotConfine."""
        root = self.policy.root
        if root and not self.hide and not self.scene.nearest(path) and not exists(path, root):
            files = {one.path for one in self.shown if not one.directory}
            kind = "file" if path in files else "directory"
            raise CannotConfine(
                f"root: cannot put {path} into {root}: there is none in it; make an empty {kind} "
                f"{root.rstrip('/')}{path}"
            )

    def _cover(self, path: str, kind: str) -> None:
        scene = self.scene
        if kind == "empty":
            scene.memory(path, _OWN | NOEXEC, 0o755)
        elif kind == "mask":
            scene.memory(path, _OWN | NOEXEC | RDONLY, 0o555)
        elif kind == "temporary":
            scene.memory(path, _OWN, 0o1777)
        elif kind == "devices":
            devnodes.cover(scene)
        elif kind == "processes":
            scene.put(proc.make(scene, self.policy), path)
        else:
            vault.put(scene, path, self.ctx)

    def _finish(self, covers: dict[str, str]) -> None:
        scene = self.scene
        for path, kind in covers.items():
            if kind in ("empty", "secrets"):
                scene.change(scene.covers[path], RDONLY, deep=False)
        if self.hide:
            scene.change(scene.base, RDONLY, deep=False)
        if scene.base:
            scene.pivot()
        scene.sweep()
        scene.add("umask", Out("umask"), words="the umask as it was")


def _rights(
    policy: Policy, reads: dict[str, Traced], writes: dict[str, Traced], runs: dict[str, Traced]
) -> dict[str, tuple[Traced, int]]:
    """Mount attributes by path: what is listed above a path holds for it too."""
    found = {}
    for path, real in (reads | writes | runs).items():
        flags = _OWN
        if not any(is_below(path, one) for one in writes):
            flags |= RDONLY
        if policy.exec is not None and not any(is_below(path, one) for one in runs):
            flags |= NOEXEC
        found[path] = (real, flags)
    return found


def _depth(path: str) -> tuple[str, ...]:
    return tuple(path.split("/"))

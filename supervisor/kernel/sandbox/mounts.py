"""What a view is built of: mounts taken, changed and put by descriptor, as steps of a plan.

Law: no path is trusted twice. A source is opened by its real path with RESOLVE_NO_SYMLINKS, so that
a link which somebody put there since we looked ends the launch; from then on it is a descriptor. A
target is a directory that we made in a mount of our own, or is opened in the same way.
"""
from __future__ import annotations

from _struct import Struct as _Layout

from supervisor.kernel.calls import Argument, Out, call
from supervisor.kernel.plan import Step

CWD = -100  # AT_FDCWD
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8  # MOUNT_ATTR_...
CLOEXEC = 0o2000000
O_WRONLY, O_CREAT, O_EXCL, O_PATH = 0o1, 0o100, 0o200, 0o10000000

_NEWNS = 0x00020000
_IDMAP, _SLAVE, _PRIVATE = 0x00100000, 1 << 19, 1 << 18
_RECURSIVE, _EMPTY_PATH = 0x8000, 0x1000
_CLONE, _DETACH = 1, 2  # OPEN_TREE_CLONE, MNT_DETACH
_FROM_FD, _TO_FD = 0x04, 0x40  # MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
_SET_STRING, _CREATE = 1, 6  # FSCONFIG_...
_EEXIST, _ENOSYS = 17, 38
_MOST_LEFT = 128  # labels, of which each may be a descriptor
_LAST = 255  # the keeper's own descriptors, which later steps need, are above
_ATTR = _Layout("<QQQQ")
_HOW = _Layout("<QQQ")
_NO_SYMLINKS, _BENEATH = 0x04, 0x08  # RESOLVE_...
_ATTRIBUTES = ("read-only", "nosuid", "nodev", "noexec")


class Scene:
    """Steps that build the view of one launch. `covers`: file systems of our own, by the path at
    which the service sees them: in them mount points are made. Elsewhere they must be there."""

    def __init__(self, name: str = "", *, sweeps: bool = False) -> None:
        """`name`: what labels begin with, for a plan that has several scenes. `sweeps`: nothing
        above its first descriptor is needed any more when it is over, so `sweep` closes them all
        with one call, and what was found once is not looked for again."""
        self.steps: list[Step] = []
        self.covers: dict[str, str] = {}
        self.base = ""  # label of the tree that becomes the root; "": the root stays
        self._trees: set[str] = set()  # paths at which something of the host's was put
        self._made: set[str] = set()  # directories, links and files in our file systems
        self._name = name
        self._count = 0
        self._sweeps = sweeps
        self._first = ""  # label of its first descriptor
        self._found: dict[tuple[str, str], str] = {}  # path and tree -> label, while it is open
        self._memory = ""  # label of the file system that `memory` makes

    def add(
        self, name: str, *args: Argument, words: str, result: str = "", tolerate: int = 0
    ) -> None:
        self.steps.append(call(name, *args, words=words, result=result, tolerate=tolerate))

    def enter(self, *, slave: bool) -> None:
        """A mount namespace of its own. Nothing that is mounted there gets out; with `slave`, what
        the host mounts and unmounts later is followed."""
        self.add("unshare", _NEWNS, words="a mount namespace of its own")
        attr = _ATTR.pack(0, 0, _SLAVE if slave else _PRIVATE, 0)
        words = "mounts of the host arrive, none go back" if slave else "no mount comes or goes"
        self.add("mount_setattr", CWD, "/", _RECURSIVE, attr, _ATTR.size, words=words)

    def take(self, path: str, *, below: str = "") -> str:
        """A detached copy of the mounts at this real path (of the tree `below`); its label."""
        found = self._found.get((path, below), "")
        if found:
            return self._copy(found, path)
        found = self._label("at")
        self._open(found, path, below)
        tree = self._copy(found, path)
        if self._leave(found):
            self._found[path, below] = found
        return tree

    def guard(self, path: str) -> None:
        """Something of the root to be, read-only from now on."""
        found = self._label("at")
        self._open(found, path, self.base)
        tree = self._copy(found, path)
        self.change(tree, RDONLY)
        self._move(tree, found, path)
        self._leave(found)
        self._trees.add(path)
        self._leave(tree)

    def change(self, label: str, attributes: int, *, deep: bool = True) -> None:
        """Add attributes to a tree."""
        words = ", ".join(word for bit, word in enumerate(_ATTRIBUTES) if attributes >> bit & 1)
        flags = _EMPTY_PATH | (_RECURSIVE if deep else 0)
        attr = _ATTR.pack(attributes, 0, 0, 0)
        self.add("mount_setattr", Out(label), "", flags, attr, _ATTR.size, words=f"make it {words}")

    def map_ids(self, label: str, users: int) -> None:
        """See the owners of a tree through the maps of the user namespace that has this number."""
        attr = _ATTR.pack(_IDMAP, 0, 0, users)
        words = "its stored owner is the unit's user"
        self.add("mount_setattr", Out(label), "", _EMPTY_PATH, attr, _ATTR.size, words=words)

    def read_only(self, label: str = "") -> None:
        """The whole tree that is to be the root, with all that is mounted in it by now."""
        if label:
            self.change(label, RDONLY)
        else:
            attr = _ATTR.pack(RDONLY, 0, 0, 0)
            words = "make / read-only, all of it"
            self.add("mount_setattr", CWD, "/", _RECURSIVE, attr, _ATTR.size, words=words)

    def make(self, kind: str, attributes: int, **options: str) -> str:
        """A new file system, mounted nowhere yet; its label."""
        system, mount = self._label("fs"), self._label(kind)
        self.add("fsopen", kind, 1, words=f"a new {kind}", result=system)  # FSOPEN_CLOEXEC
        for key, value in options.items():
            words = f"its {key} is {value}"
            self.add("fsconfig", Out(system), _SET_STRING, key, value, words=words)
        self.add("fsconfig", Out(system), _CREATE, words=f"make the {kind}")
        words = f"mount the {kind}"
        self.add("fsmount", Out(system), 1, attributes, words=words, result=mount)
        self._leave(system)
        return mount

    def memory(self, path: str, attributes: int, mode: int) -> str:
        """Cover this path with an empty directory in memory, without devices and suid; its label.
        All of them are in one file system, since each more of these costs every memory cgroup of
        the host (it keeps room for what each could shrink), and a mount is quicker made. It lies
        below the first of them, because open_tree(2) clones nothing that is mounted nowhere
        (before Linux 6.15)."""
        if not self._memory:
            options = {"mode": "0755", "size": "10%", "nr_inodes": "1m"}
            self._memory = self.make("tmpfs", NOSUID | NODEV, **options)
            self._mount(self._memory, path, directory=True)
        name, tree = self._label("d"), self._label("tree")
        self.add("mkdirat", Out(self._memory), name, mode, words=f"a directory for {path}")
        flags = _CLONE | CLOEXEC
        words = f"take the directory for {path}"
        self.add("open_tree", Out(self._memory), name, flags, words=words, result=tree)
        if attributes & ~(NOSUID | NODEV):
            self.change(tree, attributes)
        self.cover(tree, path)
        return tree

    def put(self, label: str, path: str, *, directory: bool = True) -> None:
        """Mount a tree of the host's at this path of the view."""
        self._mount(label, path, directory)
        self._trees.add(path)
        self._leave(label)

    def cover(self, label: str, path: str) -> None:
        """Mount a file system of our own there; mount points below it are made from now on."""
        self._mount(label, path, directory=True)
        self.covers[path] = label

    def become_root(self, label: str, *, own: bool) -> None:
        """This tree is what `pivot` makes the root; `own`: a file system of our own."""
        self.add("move_mount", Out(label), "", CWD, "/", _FROM_FD, words="put it over /")
        self.base = label
        if own:
            self.covers["/"] = label

    def pivot(self) -> None:
        """The new root, and the old one gone with all that was mounted in it."""
        self.add("fchdir", Out(self.base), words="enter the new root")
        self.add("pivot_root", ".", ".", words="make it the root")
        self.add("umount2", ".", _DETACH, words="the old root is gone")
        self.add("fchdir", Out(self.base), words="stand in the new root")

    def symlink(self, path: str, text: str) -> None:
        """A symbolic link, if a file system of our own is seen there."""
        cover = self.nearest(path)
        if cover in self.covers and path not in self._made:
            self._parents(cover, path)
            self._made.add(path)
            name = path[len(cover) :].strip("/")
            self.add("symlinkat", text, Out(self.covers[cover]), name, words=f"{path} -> {text}")

    def directory(self, path: str) -> None:
        """A directory in the file system of our own that is seen there."""
        self._parents(self.nearest(path), path + "/")

    def nearest(self, path: str) -> str:
        """The path of the mount of the scene that holds this one; "" if none does."""
        while path not in ("", "/"):
            path = path.rpartition("/")[0] or "/"
            if path in self.covers or path in self._trees:
                return path
        return ""

    def close(self, label: str) -> None:
        self.add("close", Out(label), words="it is in its place")

    def sweep(self) -> None:
        """Close what was left open. Without the call they are open until the program executes."""
        if self._sweeps and self._first:
            self.add(
                "close_range", Out(self._first), _LAST, 0, words="all is in its place",
                tolerate=_ENOSYS,
            )  # fmt: skip

    def _leave(self, label: str) -> bool:
        """No more needed: closed now, or, as long as they are few, left to `sweep` (True)."""
        left = self._sweeps and self._count <= _MOST_LEFT
        if not left:
            self.close(label)
        return left

    def _label(self, what: str) -> str:
        self._count += 1
        label = f"{self._name}{what}{self._count}"
        self._first = self._first or label
        return label

    def _copy(self, found: str, path: str) -> str:
        tree = self._label("tree")
        flags = _CLONE | _RECURSIVE | _EMPTY_PATH | CLOEXEC
        self.add("open_tree", Out(found), "", flags, words=f"take {path}", result=tree)
        return tree

    def _move(self, label: str, target: str, path: str) -> None:
        flags = _FROM_FD | _TO_FD
        words = f"put it at {path}"
        self.add("move_mount", Out(label), "", Out(target), "", flags, words=words)

    def _open(self, result: str, path: str, below: str) -> None:
        resolve = _NO_SYMLINKS | (_BENEATH if below else 0)
        how = _HOW.pack(O_PATH | CLOEXEC, 0, resolve)
        where: Argument = Out(below) if below else CWD
        name = (path.strip("/") or ".") if below else path
        words = f"find {path}, by no symbolic link"
        self.add("openat2", where, name, how, _HOW.size, words=words, result=result)

    def _mount(self, label: str, path: str, directory: bool) -> None:
        cover = self.nearest(path)
        if cover in self.covers:
            root, name = Out(self.covers[cover]), path[len(cover) :].strip("/")
            words = f"put it at {path}"
            self._point(cover, path, directory)
            self.add("move_mount", Out(label), "", root, name, _FROM_FD, words=words)
        else:
            target = self._label("at")
            self._open(target, path, self.base)
            self._move(label, target, path)
            self._leave(target)

    def _point(self, cover: str, path: str, directory: bool) -> None:
        self._parents(cover, path + "/" if directory else path)
        if not directory and path not in self._made:
            self._made.add(path)
            made, name = self._label("at"), path[len(cover) :].strip("/")
            flags = O_WRONLY | O_CREAT | O_EXCL | CLOEXEC
            where = Out(self.covers[cover])
            self.add("openat", where, name, flags, 0o444, words=f"make {path}", result=made)
            self.close(made)

    def _parents(self, cover: str, path: str) -> None:
        """Every directory of this path that is not there yet, from the cover on."""
        root, at = Out(self.covers[cover]), len(cover.rstrip("/")) + 1
        while (at := path.find("/", at)) > 0:
            parent = path[:at]
            at += 1
            if parent not in self._made and parent not in self._trees:
                self._made.add(parent)
                name = parent[len(cover) :].strip("/")
                words = f"make {parent}"
                self.add("mkdirat", root, name, 0o755, words=words, tolerate=_EEXIST)


def is_below(path: str, top: str) -> bool:
    """Whether `path` is `top` or below it."""
    return path == top or path.startswith(top.rstrip("/") + "/")

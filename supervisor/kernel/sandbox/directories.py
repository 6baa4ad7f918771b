"""State, runtime, cache and logs directories: made before the launch, for their one owner.

Law: nothing is followed and nothing is changed by path. Each component is opened below the one
before, without symbolic links, and what is changed is the directory that was looked at
(CVE-2018-6954 and its kin). Contents never change hands: there is no recursive chown. A directory
that belongs to somebody else is taken over only while it is empty; in /run, where the host's are,
only if we have made it (removal.py).

A dynamic user's are at TOP/private/NAME, which nobody but root can reach (TOP/NAME is a link to
it), and belong to idmap.STORED; where the file system cannot map ids, to the unit's id of today.
"""
from __future__ import annotations

import os
import stat
from typing import NamedTuple

from supervisor.kernel import users
from supervisor.kernel.sandbox import idmap, paths, removal
from supervisor.kernel.sandbox.namespaces import NEEDS, makes_views
from supervisor.kernel.sandbox.part import CannotConfine, Context
from supervisor.kernel.sandbox.usermap import outside
from supervisor.model.policy import Policy

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE = "private"
_VARIABLES = {
    "state": "STATE_DIRECTORY", "runtime": "RUNTIME_DIRECTORY", "cache": "CACHE_DIRECTORY",
    "logs": "LOGS_DIRECTORY",
}  # fmt: skip


class Own(NamedTuple):
    """One directory of the unit. `path`: as the unit file means it; `real`: where it is."""

    kind: str
    name: str  # below the top of its kind
    path: str
    real: str
    mapped: bool


def own(policy: Policy, ctx: Context) -> list[Own]:
    """The unit's directories, whether or not they are there yet. Raises CannotConfine."""
    found = []
    hidden = _hides(policy, ctx)
    for kind in paths.KINDS:
        if not paths.wanted(kind, policy):
            continue
        top = os.path.realpath(paths.top_of(kind, ctx))
        mapped = hidden and idmap.possible(top, ctx)
        for path in paths.directories(kind, policy, ctx):
            name = path.removeprefix(paths.top_of(kind, ctx)).strip("/")
            real = f"{top}/{_PRIVATE}/{name}" if hidden else f"{top}/{name}"
            found.append(Own(kind, name, path, real, mapped))
    return found


def _hides(policy: Policy, ctx: Context) -> bool:
    """Whether its directories are where only root gets: a mount brings the unit there."""
    return _dynamic(policy, ctx) and makes_views(ctx)


def _dynamic(policy: Policy, ctx: Context) -> bool:
    return policy.dynamic_user and not ctx.facts.uid


def exposed(found: list[Own], policy: Policy, ctx: Context) -> tuple[tuple[str, str], ...]:
    """Keys of directories that another dynamic user could inherit with the id of this one."""
    if not _dynamic(policy, ctx) or makes_views(ctx):
        return ()
    why = f"only mounts keep a dynamic user's files from the next one; write `user`, or it {NEEDS}"
    return tuple((f"sandbox.{one.kind}", why) for one in found if one.kind != "runtime")


def is_private(one: Own) -> bool:
    """Whether it is where only root gets, and a link leads there."""
    return one.real.endswith(f"/{_PRIVATE}/{one.name}")


def private_of(one: Own) -> str:
    return one.real[: -len(one.name) - 1]


def environment(found: list[Own]) -> tuple[tuple[str, str], ...]:
    """As systemd has it: the paths of a kind, separated by colons."""
    rows = []
    for kind, variable in _VARIABLES.items():
        names = [one.path for one in found if one.kind == kind]
        if names:
            rows.append((variable, ":".join(names)))
    return tuple(rows)


def prepare(policy: Policy, ctx: Context) -> None:
    """Make what is missing. Raises CannotConfine, with the directory and whose it is."""
    if policy.require == "all" and exposed(own(policy, ctx), policy, ctx):
        return  # it will be refused
    uid, gid = outside(policy, ctx, ctx.identity)
    for one in own(policy, ctx):
        owner = (idmap.STORED, idmap.STORED) if one.mapped else (uid, gid)
        top = os.path.realpath(paths.top_of(one.kind, ctx))
        key = f"sandbox.{one.kind}"
        try:
            if ctx.facts.uid:
                os.makedirs(top, 0o700, exist_ok=True)
            fd = os.open(top, _FLAGS)
            try:
                _make(fd, one.real[len(top) + 1 :].split("/"), owner, one, ctx.runtime)
                if _hides(policy, ctx):
                    _link(fd, one, top, ctx.runtime)
            finally:
                os.close(fd)
        except OSError as exc:
            raise CannotConfine(f"{key}: cannot make {one.real}: {exc.strerror}") from exc


def _make(top: int, names: list[str], owner: tuple[int, int], one: Own, runtime: str) -> None:
    """Every component, the last one `owner`'s. `runtime`: where the record of it is."""
    at, path, key = os.dup(top), one.real, f"sandbox.{one.kind}"
    try:
        for index, name in enumerate(names):
            last = index == len(names) - 1
            mode = 0o700 if last or name == _PRIVATE else 0o755
            new, made = _step(at, name, mode, path, key)
            os.close(at)
            at = new
            info = os.fstat(at)
            if last:
                if made and one.kind == "runtime":
                    _note(runtime, path, info)
                if not _was_there(one, path, info, runtime):
                    _give(at, info, owner, made=made, path=path, key=key)
                elif info.st_uid != owner[0]:
                    raise _refusal(key, path, info)
            elif info.st_uid not in (0, os.geteuid()):
                raise CannotConfine(
                    f"{key}: {name} of {path} belongs to uid {info.st_uid}, who could lead it "
                    "elsewhere; give it to root"
                )
            elif made:
                os.fchmod(at, mode)  # whatever the umask is
    finally:
        os.close(at)


def _step(at: int, name: str, mode: int, path: str, key: str) -> tuple[int, bool]:
    """The directory `name`, and whether it was made now."""
    made = True
    try:
        os.mkdir(name, mode, dir_fd=at)
    except FileExistsError:
        made = False
    try:
        return os.open(name, _FLAGS, dir_fd=at), made
    except OSError as exc:
        raise CannotConfine(
            f"{key}: {name} of {path} is no directory but a link or a file; "
            "move it away, or what it leads to here"
        ) from exc


def _give(
    fd: int, info: os.stat_result, owner: tuple[int, int], *, made: bool, path: str, key: str
) -> None:
    if (info.st_uid, info.st_gid) == owner:
        return
    if not made and info.st_uid != owner[0] and os.listdir(fd):
        raise CannotConfine(
            f"{key}: {path} belongs to uid {info.st_uid} and is not empty; give it and what is in "
            f"it to uid {owner[0]}, or move it away"
        )
    os.fchown(fd, *owner)
    if made:
        os.fchmod(fd, 0o700)


def _note(runtime: str, path: str, info: os.stat_result) -> None:
    try:
        removal.note(runtime, path, info)
    except OSError:
        os.rmdir(path)  # else it would be nobody's, and in the way of the next try
        raise


def _was_there(one: Own, path: str, info: os.stat_result, runtime: str) -> bool:
    """Whether it was there before us, where others have theirs: used as it is, or not at all."""
    return one.kind == "runtime" and not removal.is_ours(runtime, path, info)


def _refusal(key: str, path: str, info: os.stat_result) -> CannotConfine:
    return CannotConfine(
        f"{key}: cannot use {path}: it is there already and belongs to {users.name(info.st_uid)}; "
        "choose another name"
    )


def _link(top: int, one: Own, path: str, runtime: str) -> None:
    """TOP/NAME leads to TOP/private/NAME, for those who look for it there. `path`: the top's."""
    name, key = one.name, f"sandbox.{one.kind}"
    text = "../" * name.count("/") + f"{_PRIVATE}/{name}"
    parents = name.split("/")[:-1]
    at = os.dup(top)
    try:
        for parent in parents:
            new, made = _step(at, parent, 0o755, one.path, key)
            os.close(at)
            at = new
            if made:
                os.fchmod(at, 0o755)
        leaf = name.rpartition("/")[2]
        try:
            info = os.stat(leaf, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            os.symlink(text, leaf, dir_fd=at)
            return
        if stat.S_ISDIR(info.st_mode):
            if _was_there(one, f"{path}/{name}", info, runtime):
                raise _refusal(key, f"{path}/{name}", info)
            try:
                os.rmdir(leaf, dir_fd=at)
            except OSError:
                raise CannotConfine(
                    f"{key}: {one.path} is of a user that is not dynamic, and not empty; move what "
                    f"is in it to {one.real} and give it to uid {idmap.STORED}"
                ) from None
            os.symlink(text, leaf, dir_fd=at)
        elif not stat.S_ISLNK(info.st_mode) or os.readlink(leaf, dir_fd=at) != text:
            raise CannotConfine(f"{key}: {one.path} does not lead to {one.real}; move it away")
    finally:
        os.close(at)

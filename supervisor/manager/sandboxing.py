"""Units whose isolation is more than level base: what each launch of theirs needs.

Law: nothing here is enforced, and nothing decided but by the policy (model.policy) and the host's
facts; the steps that enforce it are compiled below kernel/sandbox and taken by the keeper's child.
What was not enforced is told or refuses the launch. Loaded when the first such unit is there; it
keeps nothing that a manager after this one would have to know (kernel/sandbox/dynamic.py has ids on
disk).
"""
from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from supervisor.core.words import exit_words
from supervisor.kernel import users
from supervisor.kernel.plan import Confinement, Identity
from supervisor.kernel.sandbox import compile as compiler
from supervisor.kernel.sandbox import (
    devices,
    dynamic,
    hung,
    namespaces,
    paths,
    private_net,
    removal,
    usermap,
)
from supervisor.kernel.sandbox.facts import facts
from supervisor.kernel.sandbox.part import CannotConfine, Context
from supervisor.manager.given import shared
from supervisor.manager.launcher import CannotLaunch, filled
from supervisor.model.paths import Paths
from supervisor.model.policy import Policy, fill, plain, resolve
from supervisor.model.sandbox import Secret
from supervisor.model.unit import Unit, receives

if TYPE_CHECKING:
    from supervisor.manager.violations import Violations

# Of open(2), by the mode of an entry of sandbox.open.
_FLAGS = {
    "read": os.O_RDONLY,
    "write": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "append": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "read-write": os.O_RDWR | os.O_CREAT,
}
Named = Callable[[Unit], Identity]  # looks names up


class Boxed(NamedTuple):
    """What the sandbox adds to a launch. `owner`: the host's ids of `identity`, if it has a user
    namespace."""

    identity: Identity
    owner: tuple[int, int] | None
    confinement: Confinement
    env: tuple[tuple[str, str], ...]
    opens: tuple[tuple[int, int, str], ...]
    no_new_privs: bool
    mechanisms: tuple[tuple[str, str], ...]
    lacking: tuple[tuple[str, str], ...]  # what is not enforced: key, and why
    # Descriptors that the keeper has to have before the launch: name, and what makes it.
    stores: tuple[tuple[str, Callable[[], int]], ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(f"{key} is {words}" for key, words in self.lacking)


class Sandboxing:
    def __init__(self, paths: Paths, group: Callable[[str], str], groups: str) -> None:
        """`group`: the directory of an instance's cgroup, "" where it has none; `groups`: the one
        that they are all in."""
        self._paths = paths
        self._group = group
        self._groups = groups

    def policy(self, unit: Unit, names: dict[str, str]) -> Policy | None:
        """None: all of it is level base after all."""
        return None if plain(unit) else fill(resolve(unit), names)

    def identity(self, unit: Unit, policy: Policy, named: Named, *, dry: bool) -> Identity:
        """Whom it becomes, as unit files number ids. Every plan begins with this. Raises
        CannotLaunch."""
        hung.forget()
        alone = _without_ids(policy)
        if policy.dynamic_user and not alone:
            ids = dynamic.users(self._paths.runtime)
            try:
                number = ids.of(unit.name) if dry else ids.take(unit.name)
                found = dynamic.identity(unit.name, number)
                extra = tuple(users.group_id(name) for name in unit.groups)
                gid = users.group_id(unit.group) if unit.group else number
            except CannotConfine as exc:
                raise CannotLaunch(f"user: {exc}") from exc
            except users.UnknownName as exc:
                raise CannotLaunch(f"cannot give it the groups that it names: {exc}") from exc
            return found._replace(gid=gid, groups=(*found.groups, *extra))
        if unit.user != "dynamic":
            return named(unit)
        if policy.require == "all":
            raise CannotLaunch(
                f'user: cannot be dynamic: {alone}; with require = "best" it runs as {os.geteuid()}'
            )
        return named(replace(unit, user=""))

    def find(self, word: str, path: str, root: str) -> str | None:
        """The program as it is found below `root`; None if it is not."""
        from supervisor.kernel.sandbox.trace import find_in_root

        try:
            return find_in_root(root, word, path)
        except CannotConfine as exc:
            raise CannotLaunch(str(exc)) from exc

    def box(
        self, unit: Unit, key: str, policy: Policy, who: Identity, program: str,
        command: tuple[str, ...], directory: str, notify: str, names: dict[str, str], *,
        joined: int = 0, main: int = 0, dry: bool,
    ) -> Boxed:  # fmt: skip
        """`notify`: the path of its notify socket, "" if it has none. `joined`: a process
        of its own whose namespaces it enters; 0: it gets new ones. `main`: the process that it
        shares some with, 0: none runs. `dry`: to look at only. Raises
        CannotLaunch."""
        if (policy.share_pid or policy.share_tmp) and not (main or joined or dry):
            raise CannotLaunch(f"agent.share: {unit.attach[0]} does not run")
        alone = _without_ids(policy)
        if alone:
            policy = replace(policy, dynamic_user=False)
        context = Context(
            facts(), unit.name, key, who, program, command, directory, self._paths.runtime,
            self._paths.state, self._group(key),
            tuple(filter(None, (notify, self._paths.status if receives(unit, "metrics") else ""))),
            tuple(Secret(one.name, filled(one.file, names)) for one in unit.secrets),
            (shared(self._paths),) if receives(unit, "endpoints") else (),
            (self._groups,) if self._groups and receives(unit, "cgroup") else (), main,
        )  # fmt: skip
        try:
            inside = namespaces.inside(policy, context, who)
            context = context._replace(identity=inside)
            if joined:
                confined = compiler.enter(policy, context, joined, namespaces.different(joined))
            else:
                if not dry:
                    compiler.prepare(policy, context)
                confined = compiler.confine(policy, context)
            owner = usermap.outside(policy, context, inside) if policy.users is not None else None
        except CannotConfine as exc:
            raise CannotLaunch(str(exc)) from exc
        except OSError as exc:
            what = f"{exc.filename}: " if exc.filename else ""
            raise CannotLaunch(f"cannot make its sandbox: {what}{exc.strerror}") from exc
        lacking = [(name, f"not enforced here: {why}") for name, why in confined.missing]
        mechanisms = confined.mechanisms
        if alone and (unit.user or not os.geteuid()):
            lacking.insert(0, ("user", f"not enforced here: {alone}"))
        elif alone:  # nobody expects it of an ordinary user's supervisor
            mechanisms = (*mechanisms, ("user", f"the supervisor's own: {alone}"))
        return Boxed(
            inside, owner, confined.confinement, confined.env,
            _opens(policy),
            policy.no_new_privileges, mechanisms, tuple(lacking), confined.stores,
        )  # fmt: skip

    def release(self, unit: Unit, key: str, names: dict[str, str], *, last: bool) -> int | None:
        """As Launcher.release. Its dynamic id, if that was given back. Raises OSError."""
        where = self._paths.runtime
        devices.remove(key, where)
        private_net.remove(key, where)
        own = resolve(unit).runtime
        gone = tuple(filled(one, names) for one in own if last or "{instance}" in one)
        number = None
        if last and not os.geteuid():
            dynamic.blocks(where).release(unit.name)
            number = dynamic.users(where).release(unit.name)
        top = paths.runtime_top() if gone else ""
        if top:
            removal.remove(where, top, gone)
        return number


def _without_ids(policy: Policy) -> str:
    """Why it cannot have the dynamic user that it is to have, "" if it can or is to have none."""
    return dynamic.lacks(facts().capabilities) if policy.dynamic_user else ""


def _opens(policy: Policy) -> tuple[tuple[int, int, str], ...]:
    """By real paths of which the keeper follows no link: a service that may write to a directory
    could have the supervisor open any file for it at its next start. Raises CannotLaunch."""
    always = os.O_NOCTTY | os.O_NOFOLLOW
    return tuple((one.fd, _FLAGS[one.mode] | always, _opened(one.path)) for one in policy.open)


def _opened(path: str) -> str:
    """Its real path. Raises CannotLaunch."""
    from supervisor.kernel.sandbox.trace import trace

    key = "sandbox.open"
    folder, _, name = path.rpartition("/")
    try:
        try:
            real = trace(path, key=key).real
        except FileNotFoundError:  # it may be made
            return f"{trace(folder, key=key).real.rstrip('/')}/{name}"
        info = os.lstat(real)
        whose = os.lstat(os.path.dirname(real)).st_uid
    except CannotConfine as exc:
        raise CannotLaunch(str(exc)) from exc
    except OSError:
        return path  # the step that opens it says why not
    if stat.S_ISFIFO(info.st_mode):  # whoever opens one waits for its other end
        raise CannotLaunch(f"{key}: {path} is a FIFO; give it one with `listen`")
    if stat.S_ISREG(info.st_mode) and info.st_nlink > 1 and whose not in (0, os.geteuid()):
        raise CannotLaunch(
            f"{key}: {path} has another name too (a hard link), and uid {whose}, whose directory "
            "it is in, may have chosen it; copy it"
        )
    return real


def violation(unit: Unit, pid: int, code: int, status: int, heard: Violations | None) -> str:
    """Of a process that ended, if its own filter killed it: how, in words; else ""."""
    from supervisor.kernel.sandbox.violation import killed_for, words

    if plain(unit) or not resolve(unit).promises:
        return ""
    call = "" if heard is None else heard.killed_for(pid)
    call = call or killed_for(pid, os.uname().machine)
    return f"{exit_words(code, status)}: {words(call, unit.name)}"

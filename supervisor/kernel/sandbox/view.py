"""What of the host's files a unit sees: the mechanism that makes all mounts of a sandbox.

Three kinds of view, each in a mount namespace of its own. The host's tree, read-only but for what
is listed, with homes, /tmp, /dev, /proc and our own sockets replaced. Only what is listed (view =
"hide"): a new root in which nothing else exists. A directory as root (root=): see root.py. What is
to be done is found out here; scenery.py has the steps.
"""
from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from supervisor.kernel.calls import call
from supervisor.kernel.plan import Step
from supervisor.kernel.sandbox import devnodes, directories, idmap, landlock, proc, vault
from supervisor.kernel.sandbox.mounts import Scene
from supervisor.kernel.sandbox.namespaces import NEEDS, NEWPID, NEWUSER, makes_views, privileged
from supervisor.kernel.sandbox.part import Context, Part
from supervisor.kernel.sandbox.scenery import HOMES, TMP, View, hides, kept, lives_in
from supervisor.kernel.sandbox.trace import Traced, exists
from supervisor.kernel.sandbox.usermap import outside
from supervisor.model.policy import Policy

_SINCE = (5, 12)  # mount_setattr(2)
_DENIED = ("sandbox.read", "sandbox.write", "sandbox.level")
_COMMANDS = (
    "as the supervisor's own user it could command the supervisor over its socket, which is seen "
    "where nothing can be mounted; write `unix = []` in [network]"
)
_LATER = "what the host mounts later arrives as it is mounted there"
_Stores = tuple[tuple[str, Callable[[], int]], ...]


def part(policy: Policy, ctx: Context) -> Part:
    """Raises CannotConfine for a path that is not there, or is not to be trusted."""
    lacking: tuple[tuple[str, str], ...] = ()
    if makes_views(ctx) and not proc.possible(policy, ctx):
        lacking = (("sandbox.processes", proc.MASKED),)
        policy = replace(policy, processes="host")
    own = directories.own(policy, ctx)
    env = environment(policy, ctx)
    nodes = devnodes.nodes(policy) if devnodes.own(policy) else []
    rows = _rows(policy, ctx, own, nodes)
    lacking += directories.exposed(own, policy, ctx)
    if not rows:
        return Part(missing=lacking, env=env)
    if not makes_views(ctx):
        return Part(missing=(*lacking, *_without(policy, ctx, rows)), env=env)
    early, stores, mapped = _early(policy, ctx, own)
    setup = View(policy, ctx, own, mapped, nodes).steps()
    return Part(
        first=early,
        setup=setup,
        mechanisms=rows,
        missing=lacking,
        env=env,
        holds=(0 if privileged(ctx) else NEWUSER) | (NEWPID if proc.needs_pids(policy, ctx) else 0),
        stores=stores,
    )


def environment(policy: Policy, ctx: Context) -> tuple[tuple[str, str], ...]:
    """Variables that tell where its directories and secrets are."""
    found = directories.environment(directories.own(policy, ctx))
    return (*found, (vault.VARIABLE, vault.directory(ctx))) if policy.secrets else found


def prepare(policy: Policy, ctx: Context) -> None:
    """Directories of the unit, and where its secrets go. Raises CannotConfine."""
    directories.prepare(policy, ctx)
    if policy.secrets:
        vault.prepare(ctx)


def _without(
    policy: Policy, ctx: Context, rows: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """What is missing where nothing can be mounted."""
    why = "takes Linux 5.12 (mount_setattr)" if ctx.facts.kernel < _SINCE else NEEDS
    kept = landlock.stands_in(policy, ctx)
    other = '; view = "deny" takes Landlock only' if ctx.facts.landlock else "; Landlock would do"
    more = dict.fromkeys(_DENIED, other)
    if landlock.shares_tmp(policy):
        more["sandbox.tmp"] = "; it has the host's /tmp"
    elif policy.dynamic_user:
        more["sandbox.tmp"] = "; the host's /tmp is for no dynamic user: write `user`"
    missing = [(key, why + more.get(key, "")) for key, _ in rows if key not in kept]
    same = ctx.identity.uid in (None, ctx.facts.uid)
    if policy.scoped and same and policy.network.unix is None:
        missing.append(("sandbox.level", _COMMANDS))
    return tuple(missing)


def _rows(
    policy: Policy, ctx: Context, own: list[directories.Own], nodes: list[Traced]
) -> tuple[tuple[str, str], ...]:
    """The keys that need mounts, and what does it; empty: the unit has the host's view."""
    rows = []
    out = "; CAP_SYS_PTRACE leads out of it" if _traces(policy, ctx) else ""
    if policy.root:
        words = f"pivot_root: {policy.root} is /, nothing of the host's is left"
        rows.append(("root", words + out))
    if hides(policy):
        words = "a root of what is listed: all else does not exist (ENOENT)"
        rows.append(("sandbox.read", words + out))
    if policy.read_only and policy.view == "hide":
        words = "mounted read-only but for what is listed (EROFS)"
        later = "" if policy.root or hides(policy) else f"; {_LATER}"
        rows.append(("sandbox.write", words + later))
    if policy.hide_homes and not policy.root and not hides(policy) and policy.view == "hide":
        rows.append(("sandbox.level", " ".join(HOMES) + " are empty to it" + _but(policy, ctx)))
    if policy.private_tmp:
        words = "its main's" if policy.share_tmp else _temporary(policy) + _with(policy, ctx)
        rows.append(("sandbox.tmp", words))
    if proc.fresh(policy):
        rows.append(("sandbox.processes", proc.words(policy, ctx)))
    if devnodes.own(policy):
        rows.append(("sandbox.devices", devnodes.words(nodes)))
    if any(one.mapped for one in own):
        words = f"an idmapped mount: stored as uid {idmap.STORED}, which nobody is"
        rows.append(("sandbox.state", words))
    if policy.secrets:
        rows.append(("secrets", "files in memory (ramfs), 0400, in its own mount namespace only"))
    return tuple(rows)


def _temporary(policy: Policy) -> str:
    """What it has of its own: in an image no directories are made."""
    found = [one for one in TMP if hides(policy) or exists(one, policy.root)]
    words = " and ".join(found) + " of its own, in memory" if found else "nothing"
    return words + "".join(f"; {policy.root} has no {one}" for one in TMP if one not in found)


def _traces(policy: Policy, ctx: Context) -> bool:
    """Whether it may look through /proc/PID/root of processes with another view."""
    if policy.capabilities is None:
        return not ctx.identity.uid
    return any(one.lower().removeprefix("cap_") == "sys_ptrace" for one in policy.capabilities)


def _but(policy: Policy, ctx: Context) -> str:
    left = [home for home in HOMES if lives_in(home, policy, ctx)]
    return f", but {' '.join(left)}, where its command or directory is" if left else ""


def _with(policy: Policy, ctx: Context) -> str:
    left = kept(policy, ctx)
    return f", with {' '.join(left)}, where its command or directory is" if left else ""


def _early(
    policy: Policy, ctx: Context, own: list[directories.Own]
) -> tuple[tuple[Step, ...], _Stores, dict[str, str]]:
    """With the supervisor's rights in the host's view: secrets opened, ids of directories mapped.
    And what the keeper has to store, and the labels of the mapped ones by path."""
    scene = Scene("first ")
    if policy.secrets:
        scene.steps += vault.opened(ctx)
    labels: dict[str, str] = {}
    stores: _Stores = ()
    mapped = [one for one in own if one.mapped]
    if mapped:
        name, make = idmap.stored(*outside(policy, ctx, ctx.identity))
        stores = ((name, make),)
        users = idmap.target(tuple(one.fd for one in policy.open))
        scene.steps.append(Step("FD", (users, name)))
        for one in mapped:
            tree = scene.take(one.real)
            scene.map_ids(tree, users)
            labels[one.path] = tree
        scene.steps.append(call("close", users, words="the map is in its place"))
    return tuple(scene.steps), stores, labels

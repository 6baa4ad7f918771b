"""The paths of a unit's sandbox: what @words stand for, and what it may read, write and execute.

View (mounts) and Landlock both ask `listed`, so that they cannot differ. All paths are as the
service sees them: with root= they are below that root.
"""
from __future__ import annotations

import os

from supervisor.kernel.host import read
from supervisor.kernel.sandbox.elf import Asked, asked
from supervisor.kernel.sandbox.part import CannotConfine, Context
from supervisor.kernel.sandbox.trace import exists, trace
from supervisor.model.policy import Policy

KINDS = ("state", "runtime", "cache", "logs")
TOPS = {"state": "/var/lib", "runtime": "/run", "cache": "/var/cache", "logs": "/var/log"}
_XDG = {  # rootless: the variable, and what is meant where it is not set
    "state": ("XDG_STATE_HOME", ".local/state"),
    "runtime": ("XDG_RUNTIME_DIR", ""),
    "cache": ("XDG_CACHE_HOME", ".cache"),
    "logs": ("XDG_STATE_HOME", ".local/state"),
}
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - the names are what this is about
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_LOADER_FILES = ("/etc/ld.so.cache", "/etc/ld.so.preload")
_RESOLVER = (
    "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf",
    "/etc/services", "/etc/protocols", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
    "/usr/share/ca-certificates",
)  # fmt: skip
_SYSTEM = ("", "/", "/usr", "/usr/local")  # prefixes whose libraries are in _LIBRARIES
_SEARCH = ("/usr/local/bin", "/usr/bin", "/bin")  # where "#!/usr/bin/env NAME" looks
_MOST_EXECUTED = 12


def listed(
    policy: Policy, ctx: Context
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """What it may read, write (and read) and execute (and read): absolute paths, each of them there
    but for directories that `prepare` makes. Without `read` in the policy reading is not limited
    and the first is what is shown of ours; the third is empty without `exec`. Raises CannotConfine
    for a path that is not there."""
    reads = _expand("read", policy.read or (), policy, ctx)
    reads += [path for path in ctx.shows if exists(path, policy.root)]
    if policy.read is not None and "dns" in policy.promises:
        reads += [path for path in _RESOLVER if exists(path, policy.root)]
    writes = _expand("write", policy.write or (), policy, ctx)
    for kind in KINDS:
        writes += directories(kind, policy, ctx) if getattr(policy, kind) else []
    return tuple(dict.fromkeys(reads)), tuple(dict.fromkeys(writes)), executed(policy, ctx)


def executed(policy: Policy, ctx: Context) -> tuple[str, ...]:
    """The third of `listed` alone."""
    return tuple(dict.fromkeys(_expand("exec", policy.exec or (), policy, ctx)))


def wanted(kind: str, policy: Policy) -> bool:
    """Whether the unit has such directories: by key, or because a list has the @word."""
    lists = (policy.read or (), policy.write or (), policy.exec or ())
    return bool(getattr(policy, kind)) or any(f"@{kind}" in one for one in lists)


def directories(kind: str, policy: Policy, ctx: Context) -> list[str]:
    """The unit's own directories of a kind; of its name if the unit file gives none."""
    top = top_of(kind, ctx)
    return [f"{top}/{name}" for name in getattr(policy, kind) or (ctx.unit,)]


def top_of(kind: str, ctx: Context) -> str:
    """Where directories of this kind are. Raises CannotConfine if a user has no such place."""
    if not ctx.facts.uid:
        return TOPS[kind]
    variable, otherwise = _XDG[kind]
    home = os.environ.get("HOME", "") or ctx.identity.home
    top = os.environ.get(variable, "") or (f"{home}/{otherwise}" if otherwise and home else "")
    if not top.startswith("/"):
        raise CannotConfine(
            f"sandbox.{kind}: cannot find a place for it: {variable} is not set; set it where the "
            "supervisor is started"
        )
    return top + "/log" if kind == "logs" else top


def runtime_top() -> str:
    """The same of runtime directories alone, by its real path; "" if there is no such place."""
    top = os.environ.get(_XDG["runtime"][0], "") if os.geteuid() else TOPS["runtime"]
    return os.path.realpath(top) if top else ""


def own_program(program: str, root: str = "") -> tuple[str, ...]:
    """@self: the program, what runs it ("#!", ELF loader), and the libraries these load. Raises
    CannotConfine for a program that a link leads to which is not to be trusted: who is limited to
    what is found here could not start."""
    found: list[str] = []
    try:
        trace(program, root, "command")
    except OSError:
        pass  # executing it says why
    for path, asks in interpreters(program, root):
        found += (path, *asks.libraries)
        for name in (path, trace(path, root).real):
            prefix = os.path.dirname(os.path.dirname(name))
            if prefix not in _SYSTEM and os.path.basename(os.path.dirname(name)) == "bin":
                found.append(f"{prefix}/lib")
                home = _venv_home(root + prefix)
                if home:
                    found += (prefix, f"{os.path.dirname(home)}/lib", f"{home}/python3")
    found += _library_list(root)
    return tuple(dict.fromkeys(path for path in found if exists(path, root)))


def interpreters(program: str, root: str = "") -> list[tuple[str, Asked]]:
    """The program, what runs it ("#!", also by env; ELF loader), what runs that, and so on; each
    with what it asks for. Empty if it is not there: executing it says so."""
    found: dict[str, Asked] = {}
    left = [program]
    while left and len(found) < _MOST_EXECUTED:
        path = left.pop()
        if path in found or not exists(path, root):
            continue
        asks = found[path] = asked(root + trace(path, root).real)
        left += [name for name in (asks.loader, *asks.script[:1]) if name]
        if asks.script and os.path.basename(asks.script[0]) == "env":
            words = " ".join(asks.script[1:]).split()
            names = [word for word in words if word[0] != "-" and "=" not in word]
            left += [f"{directory}/{name}" for name in names[:1] for directory in _SEARCH]
    return list(found.items())


def _expand(key: str, paths: tuple[str, ...], policy: Policy, ctx: Context) -> list[str]:
    found: list[str] = []
    for path in paths:
        if path == "@self":
            found += own_program(ctx.program, policy.root)
        elif path == "@tmp":
            found += [one for one in TEMPORARY if exists(one, policy.root)]
        elif path.startswith("@"):
            found += directories(path[1:], policy, ctx)
        else:
            _must_exist(key, path, policy.root)
            found.append(path)
    return found


def _must_exist(key: str, path: str, root: str) -> None:
    try:
        trace(path, root, f"sandbox.{key}")
    except OSError as exc:
        where = f" in {root}" if root else ""
        raise CannotConfine(
            f"sandbox.{key}: cannot find {path}{where}: {exc.strerror}; make it, or do not list it"
        ) from exc


def _venv_home(prefix: str) -> str:
    """The directory of the Python that this virtual environment is one of."""
    for line in read(f"{prefix}/pyvenv.cfg").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "home" and value.strip().startswith("/"):
            return value.strip().rstrip("/")
    return ""


def _library_list(root: str) -> list[str]:
    """Where the loader looks by itself."""
    found = [*_LIBRARIES, *_LOADER_FILES]
    try:
        names = sorted(os.listdir(f"{root}/etc/ld.so.conf.d"))
    except OSError:
        names = []
    for name in names:
        lines = read(f"{root}/etc/ld.so.conf.d/{name}").splitlines()
        found += [line.strip() for line in lines if line.startswith("/")]
    return found

"""The secrets of a unit: files in memory that only its own mount namespace has.

Law: what a secret holds is in no plan, no variable, no log, no memory of the supervisor. The
service's own process, while it still has the supervisor's rights, opens the files and has the
kernel copy them (sendfile) into a file system in memory that is never swapped (ramfs). Each start
copies anew, so a secret is rotated by replacing its file and restarting.
"""
from __future__ import annotations

import os
import stat
from _struct import Struct as _Layout

from supervisor.kernel.calls import Out, call
from supervisor.kernel.plan import Step
from supervisor.kernel.sandbox.mounts import (
    CLOEXEC,
    CWD,
    NODEV,
    NOEXEC,
    NOSUID,
    O_CREAT,
    O_EXCL,
    O_WRONLY,
    Scene,
)
from supervisor.kernel.sandbox.part import CannotConfine, Context
from supervisor.kernel.sandbox.trace import trace
from supervisor.model.sandbox import Secret

_ALL = 0x7FFFF000  # the most that one sendfile(2) copies
_O_NONBLOCK, _O_NOCTTY = 0o4000, 0o400
_HOW, _NO_SYMLINKS = _Layout("<QQQ"), 0x04  # struct open_how; RESOLVE_...
MOST_BYTES = 64 * 1024  # of one: it stays in memory
VARIABLE = "CREDENTIALS_DIRECTORY"


def directory(ctx: Context) -> str:
    """Where the service finds them."""
    return f"{ctx.runtime}/secrets/{ctx.key.replace('/', '@')}"


def opened(ctx: Context) -> tuple[Step, ...]:
    """With the supervisor's rights and in the host's view: the files themselves."""
    how = _HOW.pack(CLOEXEC | _O_NONBLOCK | _O_NOCTTY, 0, _NO_SYMLINKS)
    return tuple(
        call(
            "openat2", CWD, _real(secret), how, len(how), result=f"secret {secret.name}",
            words=f"open {secret.file}, by no link that others could make",
        )
        for secret in ctx.secrets
    )  # fmt: skip


def _real(secret: Secret) -> str:
    """Where its file is. Raises CannotConfine for a link that could lead to any other one."""
    try:
        return trace(secret.file, key=f"secrets.{secret.name}").real
    except OSError:
        return secret.file  # opening it says why not


def put(scene: Scene, path: str, ctx: Context) -> None:
    """Mount them at this path of the view, for the unit's user to read."""
    uid, gid = ctx.identity.uid, ctx.identity.gid
    vault = scene.make("ramfs", NOSUID | NODEV | NOEXEC, mode="0555")
    scene.cover(vault, path)
    for secret in ctx.secrets:
        source, copy = f"secret {secret.name}", f"copy of {secret.name}"
        flags = O_WRONLY | O_CREAT | O_EXCL | CLOEXEC
        scene.add(
            "openat", Out(vault), secret.name, flags, 0o400, words=f"make the secret {secret.name}",
            result=copy,
        )  # fmt: skip
        words = f"copy the secret {secret.name}"
        scene.add("sendfile", Out(copy), Out(source), 0, _ALL, words=words)
        if uid is not None:
            words = f"the secret {secret.name} is uid {uid}'s"
            scene.add("fchown", Out(copy), uid, gid, words=words)
        scene.close(copy)
        scene.close(source)


def top(ctx: Context) -> str:
    """What is covered for it where the supervisor's runtime directory is not."""
    return f"{ctx.runtime}/secrets"


def prepare(ctx: Context) -> None:
    """Look at the files, and make the empty directory over which secrets are mounted. Raises
    CannotConfine, which names the secret and its file."""
    for secret in ctx.secrets:
        what = f"secrets.{secret.name}: cannot read {secret.file}"
        try:
            info = os.stat(_real(secret))
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "its path holds a NUL"
            raise CannotConfine(f"{what}: {reason}") from exc
        if not stat.S_ISREG(info.st_mode):
            raise CannotConfine(f"{what}: it is no regular file")
        if info.st_size > MOST_BYTES:
            raise CannotConfine(f"{what}: it has over {MOST_BYTES} bytes; secrets stay in memory")
    try:
        os.makedirs(top(ctx), 0o755, exist_ok=True)
    except OSError as exc:
        raise CannotConfine(f"secrets: cannot make {top(ctx)}: {exc.strerror}") from exc

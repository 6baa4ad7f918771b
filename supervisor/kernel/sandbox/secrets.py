"""Reading the files of [secrets] at launch: what a unit gets is what they hold at that moment.

Read by the supervisor, with its rights, so that the unit needs none to the files themselves. The
content goes nowhere but into the launch plan: no log, no status, no error has it.
"""
from __future__ import annotations

import os
import stat

from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.kernel.spare import use
from supervisor.model.sandbox import Secret

MOST_BYTES = 64 * 1024  # of one
MOST_TOGETHER = 128 * 1024  # they travel in the launch plan


def read_all(secrets: tuple[Secret, ...]) -> tuple[tuple[str, bytes], ...]:
    """Name and content of each. Raises CannotConfine, which names the secret and its file."""
    found = tuple((one.name, _read(one)) for one in secrets)
    size = sum(len(content) for _, content in found)
    if size > MOST_TOGETHER:
        raise CannotConfine(
            f"secrets: they have {size} bytes together; the limit is {MOST_TOGETHER}"
        )
    return found


def _read(secret: Secret) -> bytes:
    what = f"secrets.{secret.name}: cannot read {secret.file}"
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO keeps nobody waiting
    try:
        fd = use(os.open, secret.file, flags)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "its path holds a NUL"
        raise CannotConfine(f"{what}: {reason}") from exc
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise CannotConfine(f"{what}: it is no regular file")
        content = b""
        while part := os.read(fd, MOST_BYTES + 1 - len(content)):
            content += part
    except OSError as exc:
        raise CannotConfine(f"{what}: {exc.strerror}") from exc
    finally:
        os.close(fd)
    if len(content) > MOST_BYTES:
        raise CannotConfine(f"{what}: it has over {MOST_BYTES} bytes")
    return content

"""Files of variables (env_files). Loaded for the first unit that has one."""
from __future__ import annotations

import os

from supervisor.kernel.host import read
from supervisor.kernel.spare import use
from supervisor.manager.launcher import CannotLaunch

_MOST_BYTES = 64 * 1024


def variables(path: str) -> dict[str, str]:
    """NAME=value lines; "#" comments, blank lines, and one pair of quotes round a value."""
    try:
        if os.stat(path).st_size > _MOST_BYTES:
            raise CannotLaunch(f"cannot read {path}: it is over {_MOST_BYTES} bytes")
        os.close(use(os.open, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as exc:
        raise CannotLaunch(f"cannot read {path}: {exc.strerror}") from exc
    found = {}
    for number, line in enumerate(read(path, _MOST_BYTES).splitlines(), 1):
        text = line.strip().removeprefix("export ")
        if not text or text[0] == "#":
            continue
        name, equals, value = text.partition("=")
        if "\0" in text:
            raise CannotLaunch(f"{path}:{number}: cannot use {text[:40]!r}: it holds a NUL")
        if not equals or not name.strip().isidentifier():
            raise CannotLaunch(f"{path}:{number}: cannot read {text[:40]!r}: not NAME=value")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name.strip()] = value
    return found

"""`unboxed run`: find the parts, look for what can be known to be wrong, become the keeper.

Without a terminal this process turns into the keeper, so whoever started it (systemd, a container
engine, a shell script) supervises the real thing. On a terminal it stays, as the keeper's parent
and as a client like any other: see foreground.py.
"""
from __future__ import annotations

import os
import sys

from supervisor.cli.call import BAD_USAGE, FAILED, NOT_PERMITTED, NOT_RUNNING, Call, Failure
from supervisor.cli.screen import Screen
from supervisor.model.paths import MAX_SOCKET_PATH_BYTES, Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

KEEPER = "unboxed-init"
_LIBRARIES = ("msgspec", "tomli")  # what the manager imports
_SUFFIX = ".toml"


def run(call: Call) -> int:
    where = call.paths()
    names = _check_units(where, call)
    _check_runtime(where)
    live = not call.flag("plain") and Screen().redraws
    argv = command_line(call, where, quiet=live)
    if live:
        from supervisor.cli.foreground import supervise

        return supervise(call, argv, where, names)
    sys.stdout.flush()
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        raise Failure(
            f"cannot run {argv[0]}: {(error.strerror or str(error)).lower()}; set UNBOXED_INIT to"
            f" a working {KEEPER}") from None


def command_line(call: Call, where: Paths, *, quiet: bool) -> list[str]:
    """The keeper's argument list. `quiet`: the manager prints no state lines, someone else will."""
    flags = ["--quiet"] if quiet else []
    for unit in call.words:
        flags += ["--start", unit]
    return [_keeper(), "--supervise", *programs(call, where, flags)]


def programs(call: Call, where: Paths, flags: Sequence[str]) -> list[str]:
    """What the keeper starts, as its arguments: `--`, the manager, which gets `flags` too, `--`,
    the logger."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    python = [sys.executable, "-I", "-S"]
    manager = [*python, f"{package}/manager/__main__.py", "--site", ":".join(_sites())]
    for directory in call.many("units"):
        manager += ["--units", os.path.abspath(directory)]
    manager += ["--runtime-dir", where.runtime, "--state-dir", where.state, "--log-dir", where.log]
    logger = [*python, f"{package}/logger/__main__.py", "--log-dir", where.log]
    logger += ["--runtime-dir", where.runtime]
    budget = _budget(call)
    if budget is not None:
        logger += ["--budget", str(budget)]
    if site := _site("zstandard"):
        logger += ["--site", site]
    return ["--", *manager, *flags, "--", *logger]


def _keeper() -> str:
    """UNBOXED_INIT, else beside this command, else with this Python's scripts, else in PATH."""
    given = os.environ.get("UNBOXED_INIT")
    if given:
        if os.access(given, os.X_OK):
            return os.path.abspath(given)
        raise Failure(f"cannot run {given}: UNBOXED_INIT names it, and it is no program; unset that"
                      f" to use the installed {KEEPER}")
    found = installed(KEEPER, os.environ.get("PATH", os.defpath).split(":"))
    if found:
        return found
    raise Failure(f"cannot run {KEEPER}: it is not installed beside this command or in PATH;"
                  " install it, or name it in UNBOXED_INIT")


def installed(name: str, others: Sequence[str] = ()) -> str:
    """A program in C that was installed with this command, "" if there is none: from UNBOXED_INIT's
    directory, else this command's own or that of this Python's scripts, or one of `others`."""
    given = os.environ.get("UNBOXED_INIT")
    if given:
        directories = [os.path.dirname(os.path.abspath(given))]
    else:
        import sysconfig

        directories = [os.path.dirname(os.path.abspath(sys.argv[0])), sysconfig.get_path("scripts")]
    for directory in [*directories, *others]:
        path = os.path.join(directory, name)
        if directory and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def _sites() -> list[str]:
    """Where the manager's libraries are: it runs without `site`, which would cost it the time."""
    found: list[str] = []
    for name in _LIBRARIES:
        directory = _site(name)
        if not directory:
            raise Failure(f"cannot run a supervisor: the Python library {name} is not installed for"
                          f" {sys.executable}; `pip install {name}` does it")
        found.append(directory)
    found.append(_site("zstandard"))  # optional; for those that the manager has read logs
    return list(dict.fromkeys(filter(None, found)))


def _site(library: str) -> str:
    """The directory that the library is imported from; "" if it is not installed."""
    from importlib.util import find_spec

    spec = find_spec(library)
    return os.path.dirname(os.path.dirname(spec.origin)) if spec and spec.origin else ""


_LEAST_BUDGET = 1 << 20  # below it a flood makes thousands of files a second, and none is kept


def _budget(call: Call) -> int | None:
    """How many bytes all logs may take; None: it is for the logger to say."""
    from supervisor.config.quantity import size
    from supervisor.config.table import Refused

    text = call.text("log-budget") or os.environ.get("UNBOXED_LOG_BUDGET")
    if not text:
        return None
    try:
        given = int(text) if text.isdecimal() else text
        return int(size(0).parse(given) and size(_LEAST_BUDGET).parse(given))
    except Refused as error:
        raise Failure(
            f"cannot run a supervisor: --log-budget or UNBOXED_LOG_BUDGET: {error}", BAD_USAGE
        ) from None


def _check_units(where: Paths, call: Call) -> list[str]:
    """The names of all units. Refuse what would only start an empty supervisor: a wrong directory,
    no files, a typo."""
    for directory in call.many("units"):
        if not os.path.isdir(directory):
            what = "it is a file, and --units takes the directory it is in" if os.path.exists(
                directory) else "no such directory"
            raise Failure(
                f"cannot read units from {directory}: {what}; nothing was started", BAD_USAGE)
    names = _unit_names(where.units)
    if not names:
        raise Failure(
            f"cannot run a supervisor: no unit files (*{_SUFFIX}) in {', '.join(where.units)};"
            " write one, or name a directory with --units")
    from fnmatch import fnmatchcase

    for word in call.words:
        pattern = word.partition("/")[0]
        if not any(fnmatchcase(name, pattern) for name in names):
            from difflib import get_close_matches

            near = get_close_matches(pattern, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names[:10])}"
            raise Failure(
                f"cannot run {word}: no such unit in {', '.join(where.units)}; {hint}", NOT_RUNNING)
    return names


def _unit_names(directories: Sequence[str]) -> list[str]:
    names = set()
    for directory in directories:
        try:
            entries = os.listdir(directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Failure(
                f"cannot read units from {directory}: {reason}; nothing was started") from None
        names |= {entry.removesuffix(_SUFFIX) for entry in entries if entry.endswith(_SUFFIX)}
    return sorted(names)


def _check_runtime(where: Paths) -> None:
    if len(os.fsencode(where.control)) > MAX_SOCKET_PATH_BYTES:
        raise Failure(
            f"cannot use {where.runtime} as runtime directory: it is too long for the sockets in it"
            f" (a socket's path has at most {MAX_SOCKET_PATH_BYTES} bytes); choose another"
            " --runtime-dir", BAD_USAGE)
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(where.control)
        except (FileNotFoundError, ConnectionRefusedError):
            return  # nobody listens; a leftover socket is the manager's to replace
        except BlockingIOError:
            pass  # somebody listens, and is busy
        except OSError as error:
            raise Failure(
                f"cannot use {where.runtime} as runtime directory:"
                f" {(error.strerror or str(error)).lower()}; name another --runtime-dir",
                NOT_PERMITTED if isinstance(error, PermissionError) else FAILED) from None
    raise Failure(
        f"cannot use {where.runtime} as runtime directory: another supervisor does; `unboxed"
        " status` shows that one, another --runtime-dir starts a second one beside it")

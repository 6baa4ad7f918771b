"""The command `unboxed`: find the verb, let its handler do it, turn every end into an exit code.

Law: start-up time is a feature. What every call needs is imported here and is small; a handler's
module is imported when its verb is used, and click only for help and complaints.
"""
from __future__ import annotations

import os
import sys

from supervisor.cli.call import DONE, FAILED, INTERRUPTED, Call, Failure
from supervisor.cli.parse import parse
from supervisor.cli.table import BY_NAME

CLASSIC = ("poweroff", "reboot", "halt", "shutdown")  # other names of this program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name; None: this process's). Never raises."""
    try:
        code = _named() if argv is None else _run(argv)
        sys.stdout.flush()
    except Failure as failure:
        code = _report(failure)
    except BrokenPipeError:
        # Whoever read our output has seen enough (`unboxed logs | head`): that is no failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        code = _report(Failure(f"cannot finish this command: {reason}; it ended there"))
    return code


def _named() -> int:
    """By the name that this program was called by."""
    name = os.path.basename(sys.argv[0])
    if name not in CLASSIC:
        return _run(sys.argv[1:])
    _have_standard()
    from supervisor.cli.classic import run

    return run(name, sys.argv[1:])


def _have_standard() -> None:
    if sys.stdout is None or sys.stderr is None:
        _open_standard()
    if sys.stdout.encoding != "utf-8":  # a character that the locale lacks is no reason to fail
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _run(argv: Sequence[str]) -> int:
    _have_standard()
    call = parse(argv)
    if call is None:
        from supervisor.cli.front import understand

        answer = understand(argv)
        if not isinstance(answer, Call):
            return answer
        call = answer
    return _handler(call)(call)


def _open_standard() -> None:
    """Started with a standard descriptor closed (`>&-`): what would be written there is nobody's,
    and no socket of ours may get its number."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free
    for fd, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, "w", closefd=False))


def _handler(call: Call) -> Callable[[Call], int]:
    from importlib import import_module

    module = import_module("supervisor.cli." + BY_NAME[call.verb].module)
    handler: Callable[[Call], int] = module.run
    return handler


def _report(failure: Failure) -> int:
    try:
        sys.stdout.flush()  # what was done stands above what was not
        print(failure.text, file=sys.stderr)
    except OSError:
        return failure.code or FAILED
    return failure.code

"""`unboxed agent NAME [ARG...]`: an agent that comes with the package, in this interpreter.

For unit files: `command = "unboxed agent metrics"` finds the agent of the version that is installed
wherever that is. Libraries that only an agent needs are extras of the package, which this names if
they are missing.
"""
from __future__ import annotations

import os
import sys

from supervisor.cli.call import BAD_USAGE, Call, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "agents")
_EXTRAS = {"metrics": "metrics", "dashboard": "dashboard"}  # of pyproject.toml, by agent


def run(call: Call) -> int:
    from importlib import import_module

    name, *arguments = call.words
    known = agents()
    if name not in known:
        raise Failure(
            f"cannot run agent {name}: there is no such agent; there is {', '.join(known)}",
            BAD_USAGE)
    runtime = call.text("runtime-dir")
    if runtime:  # an agent looks for its supervisor where its environment says
        os.environ["UNBOXED_RUNTIME_DIR"] = os.path.abspath(runtime)
    try:
        module = import_module(f"supervisor.agents.{name}")
        main: Callable[[Sequence[str]], int] = module.main
        return main(arguments)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if name not in _EXTRAS or missing in {"", "supervisor"}:
            raise
        raise Failure(
            f"cannot run agent {name}: the library {missing} is not installed for {sys.executable};"
            f" `pip install {missing}` does it, and the extra `{_EXTRAS[name]}` of this package"
        ) from None


def agents() -> list[str]:
    """Those that this package has."""
    return sorted(
        name for name in os.listdir(_FOLDER)
        if os.path.isfile(os.path.join(_FOLDER, name, "__init__.py")))

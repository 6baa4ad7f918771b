"""`unboxed boot STEP [ARG...]`: one step of a machine's boot, in this interpreter.

For the units in units/system: `command = "unboxed boot filesystems"` finds the step of the version
that is installed wherever that is.
"""
from __future__ import annotations

import os

from supervisor.cli.call import BAD_USAGE, Call, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ARGS = "args"  # no step: what the keeper of a machine is to be told
_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "boot")


def run(call: Call) -> int:
    from importlib import import_module

    name, *arguments = call.words
    if name == ARGS:
        from supervisor.cli.boot_args import show

        return show(call, arguments)
    known = steps()
    if name not in known:
        raise Failure(
            f"cannot run boot step {name}: there is no such step; there is"
            f" {', '.join([*known, ARGS])}",
            BAD_USAGE)
    runtime = call.text("runtime-dir")
    if runtime:  # a step looks for its supervisor where its environment says
        os.environ["UNBOXED_RUNTIME_DIR"] = os.path.abspath(runtime)
    module = import_module(f"supervisor.boot.{name.replace('-', '_')}")
    main: Callable[[Sequence[str]], int] = module.main
    return main(arguments)


def steps() -> list[str]:
    """Those that this package has: modules that have no underscore before their name."""
    return sorted(
        name.removesuffix(".py").replace("_", "-") for name in os.listdir(_FOLDER)
        if name.endswith(".py") and not name.startswith("_"))

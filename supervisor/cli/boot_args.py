"""`unboxed boot args`: the arguments that unboxed-init boots a machine with, one a line.

They are written into a file (/etc/unboxed/boot.args, docs/machine.md) by whoever makes the machine,
so what is said here is that of root without any environment, whoever asks.
"""
from __future__ import annotations

from supervisor.cli.call import BAD_USAGE, DONE, Call, Failure
from supervisor.cli.parse import parse
from supervisor.cli.run import installed, programs
from supervisor.model.paths import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

EARLY = "unboxed-early"
USAGE = """\
unboxed boot args [--units DIR]... [--runtime-dir DIR] [--state-dir DIR] [--log-dir DIR]
                  [--log-budget SIZE]
Prints the arguments that unboxed-init boots with, one a line, for /etc/unboxed/boot.args. Options
are those of `unboxed run`."""


def show(call: Call, arguments: Sequence[str]) -> int:
    """`arguments`: what follows `args`."""
    if "--help" in arguments:
        print(USAGE)
        return DONE
    given = parse(["run", *arguments])  # its options are what we take
    if given is None or given.words or given.flag("plain"):
        raise Failure(f"cannot read {' '.join(arguments)!r}; usage: {USAGE}", BAD_USAGE)
    runtime = call.text("runtime-dir")
    if runtime is not None:
        given.options.setdefault("runtime-dir", runtime)
    mine = given.paths()  # makes what was given absolute
    chosen = {
        name: value if given.text(f"{name}-dir") else None
        for name, value in (("runtime", mine.runtime), ("state", mine.state), ("log", mine.log))
    }
    where = paths({}, 0, chosen["runtime"], chosen["state"], chosen["log"])
    words = programs(given, where, ["--machine"])
    early = installed(EARLY)
    if early:  # it starts the boot plan before the manager
        words[1:1] = [early, f"{where.state}/boot-plan"]
    for word in words:
        if "\n" in word:
            raise Failure(
                f"cannot write {word!r} into a file of one argument a line: it has more than one;"
                " choose another directory", BAD_USAGE)
    print("\n".join(words))
    return DONE

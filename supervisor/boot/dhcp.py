"""`unboxed boot dhcp`: become the DHCP client of this machine, for the interfaces that
network.toml asks it for (`unboxed boot network` left word of them).

Law: one process where the client can do with one, and then nothing of ours stays in memory.
"""
from __future__ import annotations

import os
import sys

from supervisor.boot.net.clients import NoClient, asked, commands, write_script
from supervisor.boot.net.places import Places, places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = "usage: unboxed boot dhcp"


def main(arguments: Sequence[str], where: Places | None = None) -> int:
    if arguments[:1] == ["--event"]:
        return _event(*arguments[1:3], event=(arguments[3:] or [""])[0])
    if arguments:
        print(USAGE, file=sys.stderr)
        return 0 if arguments[0] in {"--help", "-h"} else 2
    found = where or places()
    wanted = asked(found.folder)
    if wanted is None:
        print("no interface is to have an address by DHCP: nothing to do")
        return 0
    try:
        script = write_script([found.folder, _state()], _call_back(found))
        listed = commands(wanted, found.folder, script)
    except NoClient as no:
        print(no, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"cannot start a DHCP client: {(error.strerror or str(error))}", file=sys.stderr)
        return 1
    print(f"asking for addresses of {', '.join(wanted.links)}: {os.path.basename(listed[0][0])}",
          flush=True)
    if len(listed) == 1:
        os.execv(listed[0][0], listed[0])
    return _all(listed)


def _state() -> str:
    from supervisor.model.paths import paths

    return paths(os.environ, os.geteuid()).state


def _call_back(where: Places) -> list[str]:
    """What the script runs: this module as it is here, in a client's environment."""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        "from supervisor.boot.dhcp import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-I", "-c", code, "--event", where.folder, where.resolv]


def _event(folder: str, resolv: str, *, event: str) -> int:
    from supervisor.boot.net.lease import happened

    wanted = asked(folder)
    if wanted is None:
        return 0
    said = os.environ
    try:
        done = happened(event or said.get("reason", ""), said, wanted, folder, resolv)
    except OSError as error:
        print(f"cannot apply a lease: {(error.strerror or str(error))}", file=sys.stderr)
        return 1
    for line in done:
        print(line)
    return 0


def _all(listed: list[list[str]]) -> int:
    """A client for each interface. When one ends all do, and whoever runs this starts it again."""
    import signal

    children: list[int] = []

    def end(number: int, _: object) -> None:
        for pid in children:
            os.kill(pid, number)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    children += [os.posix_spawn(words[0], words, os.environ) for words in listed]
    pid, status = os.wait()
    which = listed[children.index(pid)]
    children.remove(pid)
    for other in children:
        os.kill(other, signal.SIGTERM)
    print(f"cannot go on: the client of {which[-1]} ended ({os.waitstatus_to_exitcode(status)})",
          file=sys.stderr)
    return 1

"""`unboxed boot online`: ends when the machine is online as network.toml means it: each interface
that is waited for has carrier, its addresses (known to be nobody else's) and its default routes.

Law: it sleeps until the kernel says that something changed, and then looks again; the end of
`wait.online` is told with what was lacking.
"""
from __future__ import annotations

import sys
import time

from supervisor.boot.net.chosen import choose
from supervisor.boot.net.last import in_force
from supervisor.boot.net.made import load
from supervisor.boot.net.netlink import ALL, Netlink, NoLibrary
from supervisor.boot.net.places import Places, places
from supervisor.boot.net.ready import Lacking, lacking
from supervisor.boot.net.seen import look
from supervisor.boot.net.wanted import want
from supervisor.config.machine_file import Wrong
from supervisor.config.machine_network import MachineNetwork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = "usage: unboxed boot online"
_SOON_S = 2.0  # between an address by DHCP and its route


def main(arguments: Sequence[str], where: Places | None = None) -> int:
    if arguments:
        print(USAGE, file=sys.stderr)
        return 0 if arguments[0] in {"--help", "-h"} else 2
    found = where or places()
    try:
        force = in_force(found.file, found.last)
        network = force.network
        for problem in force.problems[:1]:
            print(f"cannot use {problem}; the last good file says what to wait for",
                  file=sys.stderr)
        awaited = [one.name for one in network.interface if one.awaited] if network else []
        if network is None or not awaited:
            print("no interface is to be waited for")
            return 0
        left = _wait(network, found)
    except Wrong as wrong:
        print(f"cannot tell what online is: {wrong}", file=sys.stderr)
        return 1
    except (NoLibrary, OSError) as error:
        reason = str(error) if isinstance(error, NoLibrary) else (error.strerror or str(error))
        print(f"cannot tell if the machine is online: {reason}", file=sys.stderr)
        return 1
    for one in left:
        print(f"cannot call this machine online: {one.words}", file=sys.stderr)
    if left:
        return 1
    print(f"online: {', '.join(awaited)}")
    return 0


def _wait(network: MachineNetwork, where: Places) -> list[Lacking]:
    """What is lacking in the end."""
    from select import select

    deadline = time.monotonic() + network.wait.online_ns / 1e9
    earlier = dict(load(where.folder).chosen)
    told: list[Lacking] = []
    with Netlink(ALL) as events, Netlink() as netlink:
        while True:
            seen = look(netlink)
            chosen = choose(network, seen, earlier)
            missing = lacking(network, chosen, want(network, chosen), seen)
            now = time.monotonic()
            if all(one.maybe for one in missing):
                deadline = min(deadline, now + _SOON_S)
            left = deadline - now
            if not missing or left <= 0 or any(one.final for one in missing):
                return [one for one in missing if not one.maybe]
            for one in missing:
                if one not in told:
                    print(f"waiting: {one.words}", flush=True)
            told = missing
            if select([events.socket], [], [], left)[0]:
                events.drain()

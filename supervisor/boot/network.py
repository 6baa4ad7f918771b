"""`unboxed boot network`: make the machine's network as /etc/unboxed/network.toml says.

Law: the difference only, so that it may run at any time; a file with an error changes nothing. At
boot, where nothing would be no network, the last file that was applied as a whole takes its place.
Without a file there is nothing to do but the loopback: another tool has the network.
"""
from __future__ import annotations

import os
import sys
import time

from supervisor.boot import _console
from supervisor.boot.net.last import in_force, keep
from supervisor.boot.net.netlink import LINKS, Netlink, NoLibrary
from supervisor.boot.net.places import Places, places
from supervisor.config.machine_file import Wrong, json_schema
from supervisor.config.machine_network import MachineNetwork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervisor.config.problem import Problem

USAGE = """usage: unboxed boot network [--show | --check | --watch | --boot | --schema] [FILE]

Make the network of this machine as FILE says (/etc/unboxed/network.toml).
  --show    print what would be done, and do nothing
  --check   read the file only
  --watch   stay, and do it again when an interface comes or goes
  --boot    as the unit `network` does: if FILE is broken, take the last one that was
            applied as a whole
  --schema  print the JSON Schema of the file, for editors
"""
_MODES = ("--show", "--check", "--watch", "--boot", "--schema", "--help", "-h")
_LATE_S = 0.05  # what comes together is looked at once
_OFTEN_S, _HEARD_S = 0.05, 1.0


def main(arguments: Sequence[str], where: Places | None = None) -> int:
    mode = arguments[0] if arguments and arguments[0] in _MODES else ""
    rest = arguments[1:] if mode else arguments
    if len(rest) > 1 or any(word.startswith("-") for word in rest):
        _complain(USAGE.rstrip())
        return 2
    if mode in {"--help", "-h"}:
        print(USAGE.rstrip())
        return 0
    if mode == "--schema":
        import json

        print(json.dumps(json_schema(), indent=2))
        return 0
    found = where or (places(os.path.abspath(rest[0])) if rest else places())
    try:
        return _run(mode, found, named=bool(rest))
    except Wrong as wrong:
        _tell(wrong.problems)
        if mode != "--check":
            _complain(f"cannot use {found.file}: see above; the network is left as it is")
        if mode == "--boot":
            _show_on(found, wrong.problems, "no network is set up")
        return 1
    except (NoLibrary, OSError) as error:
        reason = str(error) if isinstance(error, NoLibrary) else (error.strerror or str(error))
        _complain(f"cannot set up the network: {reason}")
        return 1


def _run(mode: str, where: Places, *, named: bool) -> int:
    fresh = mode == "--boot" and not os.path.isdir(where.folder)
    if fresh:
        os.makedirs(where.folder, mode=0o755)
    force = in_force(where.file, where.last if mode == "--boot" else "")
    network = force.network
    if network is None and (named or mode == "--check"):
        _complain(f"cannot read {where.file}: there is no such file")
        return 1
    if mode == "--check":
        return 0
    if network is None:
        _say(f"there is no {where.file}: only the loopback is set up here")
        network = MachineNetwork()
    if mode == "--show":
        return _show(network, where)
    if force.problems:
        _tell(force.problems)
        _complain(f"cannot use {where.file}: see above; the last one that was applied as a whole is"
                  f" used instead ({where.last}); correct it, then: unboxed boot network")
        _show_on(where, force.problems, "the last good file is used instead")
    with Netlink(LINKS) as events, Netlink() as netlink:
        wrong, others = _settle(network, where, netlink, events)
        for line in wrong:
            _complain(line)
        if force.data is not None and not wrong:
            _keep(force.data, where)
        if mode == "--watch":
            _hint(others)
            _watch(network, where, netlink, events, wrong)
    if not fresh:  # else those that wait for us start by themselves
        wrong += _follow(where, others=others, done=not mode and not wrong)
    return 1 if wrong or force.problems else 0


def _keep(data: bytes, where: Places) -> None:
    if not where.last:
        return
    try:
        keep(data, where.last)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        _complain(f"cannot keep a copy of {where.file} in {where.last}: {why}; with a broken file"
                  " the next boot would have no network")


def _follow(where: Places, *, others: bool, done: bool) -> list[str]:
    """What could not be asked for, told already."""
    from supervisor.boot.net.follow import follow
    from supervisor.control.client import ControlError

    said = None
    try:
        if where.runtime:
            leases = os.path.exists(f"{where.folder}/dhcp")
            said = follow(where.runtime, leases=leases, others=others, done=done)
    except ControlError as error:
        line = f"cannot have dhcp and online follow: {error.message}; next: unboxed restart network"
        _complain(line)
        return [line]
    if said is None:
        _hint(others)
    for line in said or ():
        _say(line)
    return []


def _hint(others: bool) -> None:
    if others:
        _say("other addresses are to be asked for by DHCP: unboxed restart dhcp")


def _watch(
    network: MachineNetwork, where: Places, netlink: Netlink, events: Netlink, told: list[str]
) -> None:
    """For good. What else happens to links, by whomever, is not undone."""
    from supervisor.boot.net.seen import look

    known: set[tuple[int, str]] = set()  # none: what came while it was set up is not known either
    while True:
        there = {(link.index, link.name) for link in look(netlink).links.values()}
        if there != known:
            limit = time.monotonic() + network.wait.devices_ns / 1e9
            _named(where, netlink, events, limit)
            wrong, others = _settle(network, where, netlink, None)
            _hint(others)
            for line in wrong if wrong != told else ():
                _complain(line)
            told = wrong
        known = there
        events.drain()
        time.sleep(_LATE_S)


def _show(network: MachineNetwork, where: Places) -> int:
    from supervisor.boot.net.apply import show

    with Netlink() as netlink:
        words, outcome = show(network, where, netlink)
    for line in words:
        _say(line)
    for problem in outcome.problems:
        _complain(problem)
    for name in outcome.missing:
        _complain(f"cannot find {name}: it would be waited for")
    if not (words or outcome.problems or outcome.missing):
        _say("nothing to do")
    return 1 if outcome.problems or outcome.missing else 0


def _settle(
    network: MachineNetwork, where: Places, netlink: Netlink, events: Netlink | None
) -> tuple[list[str], bool]:
    """Apply it, and with `events` again as interfaces come, until none is missing or `wait.devices`
    is over; one that is optional is waited for while udev is busy. What is not as the file says,
    and whether other leases are to be asked for."""
    from supervisor.boot.net import udev
    from supervisor.boot.net.apply import apply

    others = False
    deadline = time.monotonic() + network.wait.devices_ns / 1e9
    if events is not None and network.interface:
        _named(where, netlink, events, deadline)
    while True:
        outcome = apply(network, where, netlink, _say)
        others = others or outcome.dhcp
        perhaps = outcome.absent and udev.busy(where.udev)
        if events is None or not (outcome.missing or perhaps) or time.monotonic() >= deadline:
            break
        while not _event(events, deadline, often=perhaps) and time.monotonic() < deadline:
            if perhaps and not udev.busy(where.udev):
                break
    when = f"after {network.wait.devices_ns / 1e9:g} s"
    return outcome.problems + [
        f"cannot find {name}: it is not there {when}; the others are set up"
        for name in outcome.missing
    ], others


def _named(where: Places, netlink: Netlink, events: Netlink, deadline: float) -> None:
    """Wait until udev has named the interfaces that are there. That it is idle counts from a second
    on: it may not have heard of them before."""
    from supervisor.boot.net import udev
    from supervisor.boot.net.seen import look

    surely = time.monotonic() + _HEARD_S
    while udev.unnamed(look(netlink).links.values(), where.udev):
        now = time.monotonic()
        if now >= deadline or (now >= surely and not udev.busy(where.udev)):
            return
        _event(events, deadline, often=True)


def _event(events: Netlink, deadline: float, *, often: bool) -> bool:
    """Whether links changed. `often`: come back soon, since udev tells nobody what it is at."""
    from select import select

    left = max(0.0, deadline - time.monotonic())
    if not select([events.socket], [], [], min(left, _OFTEN_S) if often else left)[0]:
        return False
    events.drain()
    return True


def _tell(problems: Sequence[Problem]) -> None:
    for problem in problems:
        _complain(str(problem))


def _show_on(where: Places, problems: Sequence[Problem], what: str) -> None:
    """The first of them, on the console: of a machine without network nobody reads the log."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if where.console:
        _console.show(f"network: {problems[0]}{more}; {what}", where.console)


def _say(line: str) -> None:
    print(line, flush=True)


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

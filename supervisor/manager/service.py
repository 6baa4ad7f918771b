"""The manager's outer face, put on once the first services are out: sockets, event log, words."""
from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket

from supervisor import __version__
from supervisor.config.problem import Problem
from supervisor.control.access import Access
from supervisor.control.access_file import read as read_access
from supervisor.control.server import Server
from supervisor.kernel.host import owner
from supervisor.kernel.users import UnknownName, group_id
from supervisor.manager.eventlog import EventLog
from supervisor.manager.facts import Facts, fetch
from supervisor.manager.observer import Observer
from supervisor.manager.requests import Requests
from supervisor.manager.runtime import GROUP
from supervisor.manager.supervisor import Supervisor
from supervisor.model.unit import receives


def serve(
    sup: Supervisor, observer: Observer, facts: Facts, made: dict[str, int], *, quiet: bool
) -> None:
    """Take over the sockets (`made`: those that are new), and answer on them from the next round
    on."""
    EventLog(sup, quiet=quiet)
    control = _listener(sup, facts, made, "control")
    status = _listener(sup, facts, made, "status")
    if "nudge" in made:
        os.close(made["nudge"])  # the keeper reads it
    requests = Requests(sup, lambda cause: observer.stop(cause, again_kills=False))
    loop = sup.loop

    def watch(fd: int, mask: int) -> None:
        loop.add(fd, mask, lambda events: on_event(fd, events))

    def on_event(fd: int, events: int) -> None:
        sup.current = ""
        server.on_event(fd, events)

    server = Server(
        control, status, requests, access=_access(sup), version=__version__, watch=watch,
        unwatch=loop.remove, clock=sup.now, collects=lambda uid: _collects(sup, uid),
    )  # fmt: skip
    sup.server = server
    sup.reload_access = lambda: setattr(server, "access", _access(sup))
    tell_parent(f"READY=1\nMAINPID={sup.keeper_pid}\nSTATUS={len(sup.world.graph.units)} units")


def _collects(sup: Supervisor, uid: int) -> bool:
    """Whether an agent that receives "metrics" runs as that user."""
    graph, world = sup.world.graph, sup.world
    return any(
        owner(world.instances[key].pid) == uid
        for name in graph.agents if receives(graph.units[name], "metrics")
        for key in world.all_of(name)
    )


def _listener(sup: Supervisor, facts: Facts, made: dict[str, int], name: str) -> int:
    """A listening socket that the keeper holds, so that no client is refused between managers."""
    if name in made:
        return made[name]
    fd, others = fetch(sup.keeper, name)
    facts.later += others
    return fd


def _access(sup: Supervisor) -> Access:
    uid = os.geteuid()
    path = sup.paths.access
    try:
        gid = group_id(GROUP) if uid == 0 else None
    except UnknownName:
        gid = None
    access = read_access(path, uid, gid)
    for found in access.problems:
        sup.report(str(Problem(found.file, found.line, found.key, found.message)))
    return access


def tell_parent(text: str) -> None:
    """sd_notify to whoever runs us (a systemd unit of Type=notify), if anybody asked for it."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
    try:
        sock.sendto(text.encode(), "\0" + path[1:] if path[0] == "@" else path)
    except OSError:
        pass  # nobody listens any more
    finally:
        sock.close()

"""The manager's outer face, put on once the first services are out: sockets, event log, words."""
from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM, socket

from supervisor import __version__
from supervisor.config.problem import Problem
from supervisor.control.access import Access
from supervisor.control.access_file import read as read_access
from supervisor.control.server import Server
from supervisor.kernel.users import UnknownName, group_id
from supervisor.manager.eventlog import EventLog
from supervisor.manager.facts import Facts, fetch
from supervisor.manager.observer import Observer
from supervisor.manager.requests import Requests
from supervisor.manager.supervisor import Supervisor

GROUP = "unboxed"  # members may use the control socket
_BACKLOG = 256


def serve(sup: Supervisor, observer: Observer, facts: Facts, *, quiet: bool) -> None:
    """Open (or take over) the sockets, and answer on them from the next round on."""
    EventLog(sup, quiet=quiet)
    control = _listener(sup, facts, "control", 0o660)
    status = _listener(sup, facts, "status", 0o666)
    _nudge(sup)
    requests = Requests(sup, lambda cause: observer.stop(cause, again_kills=False))
    loop = sup.loop

    def watch(fd: int, mask: int) -> None:
        loop.add(fd, mask, lambda events: on_event(fd, events))

    def on_event(fd: int, events: int) -> None:
        sup.current = ""
        server.on_event(fd, events)

    server = Server(
        control, status, requests, access=_access(sup), version=__version__, watch=watch,
        unwatch=loop.remove, clock=sup.now,
    )  # fmt: skip
    sup.server = server
    sup.reload_access = lambda: setattr(server, "access", _access(sup))
    tell_parent(f"READY=1\nMAINPID={sup.keeper_pid}\nSTATUS={len(sup.world.graph.units)} units")


def _listener(sup: Supervisor, facts: Facts, name: str, mode: int) -> int:
    """A listening socket that the keeper holds, so that no client is refused between managers."""
    path = f"{sup.paths.runtime}/{name}"
    if name in sup.stored:
        fd, others = fetch(sup.keeper, name)
        facts.later += others
        if fd >= 0:
            return fd
    sock = _bind(path, SOCK_STREAM, mode)
    if name == "control" and os.geteuid() == 0:
        try:
            os.chown(path, 0, group_id(GROUP))
        except UnknownName:
            os.chmod(path, 0o600)  # no such group: root alone
    sock.listen(_BACKLOG)
    sup.keeper.put(name, sock.fileno())
    sup.stored.add(name)
    return sock.detach()


def _bind(path: str, kind: int, mode: int) -> socket:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    sock = socket(AF_UNIX, kind | SOCK_CLOEXEC | SOCK_NONBLOCK)
    old = os.umask(0o777 & ~mode)
    try:
        sock.bind(path)
    finally:
        os.umask(old)
    return sock


def _nudge(sup: Supervisor) -> None:
    """Whoever gets no answer from us writes here, and the keeper asks whether we live."""
    if "nudge" in sup.stored:
        return
    sock = _bind(f"{sup.paths.runtime}/nudge", SOCK_DGRAM, 0o622)
    sup.keeper.put("nudge", sock.fileno())
    sup.stored.add("nudge")
    sock.close()


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

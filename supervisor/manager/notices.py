"""What services say over sd_notify(3), and the descriptors they park (FDSTORE).

A message counts only if its sender belongs to the instance whose socket it came by. Descriptors
that no FDSTORE takes, a BARRIER's among them, are closed: that is all a barrier asks for.
"""
from __future__ import annotations

import os

from supervisor.kernel import notify
from supervisor.manager.adoption import Adoptions
from supervisor.manager.loop import READ
from supervisor.manager.supervisor import Supervisor
from supervisor.model import event as ev

MAX_STORED = 64  # descriptors that one instance may park
MAX_BURST = 64  # messages of one service that are read before another's turn
_MAX_NAME = 40


class Notices:
    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup
        self._sockets: dict[str, int] = {}
        self._polled: dict[str, int] = {}  # our copies of parked descriptors that may hang up
        self._asked: dict[str, tuple[int, int]] = {}  # key -> pid of its MAINPID, errno (-1: none)
        self.ignored = 0  # messages of strangers, or not to be read
        sup.hear, sup.unkept = self.hear, self._unkept
        sup.adoptions = Adoptions(sup)

    def watch(self, key: str, fd: int) -> None:
        """Take over the notify socket of an instance."""
        self._sockets[key] = fd
        self._sup.loop.add(fd, READ, lambda _events: self._on_socket(key, fd))

    def hear(self, key: str) -> None:
        """What an instance has said so far: before the end of one of its processes is told, because
        after that nobody knows whose the sender's number was."""
        fd = self._sockets.get(key, -1)
        if fd >= 0:
            self._on_socket(key, fd)

    def close(self, key: str) -> None:
        """The instance is down: its socket and what it parked are of no more use."""
        self.close_socket(key)
        for name in [s for s in self._sup.stored if s.startswith(f"fdstore:{key}:")]:
            self._forget(name)

    def close_socket(self, key: str) -> None:
        fd = self._sockets.pop(key, -1)
        self._asked.pop(key, None)
        if fd >= 0:
            self._sup.loop.remove(fd)
            os.close(fd)
            try:
                os.unlink(f"{self._sup.paths.runtime}/notify/{key.replace('/', '@')}")
            except OSError:
                pass  # the runtime directory was cleaned by somebody else
            self._sup.drop(f"notify:{key}")

    def _on_socket(self, key: str, fd: int) -> None:
        for _ in range(MAX_BURST):
            message = notify.peek(fd)
            if message is None:
                return
            self._sup.current = key
            if self._is_put_off(key, message):
                self._sup.loop.remove(fd)
                notify.close(message.fds)
                return
            try:
                self._take(key, message)
                self._sup.commit()
            finally:
                notify.close(message.fds)
                notify.drop(fd)

    def _take(self, key: str, message: notify.Message) -> None:
        sup, fields = self._sup, message.fields
        if not fields or not (key in self._asked or self._belongs(key, message.pid)):
            self.ignored += 1
            return
        if message.cut:
            sup.report(f"cannot take the descriptors that {key} sent: no number is left for them;"
                " the rest of what it said counts")
        if "FDSTORE" in fields:
            polled = fields.get("FDPOLL") != "0"
            self._store(key, fields.get("FDNAME", "stored"), message.fds, polled=polled)
        if "FDSTOREREMOVE" in fields:
            self._unstore(key, fields.get("FDNAME", ""))
        inst = sup.world.instances.get(key)
        if inst is None:
            return
        watchdog = fields.get("WATCHDOG", "")
        sup.deliver(
            key,
            ev.Notified(
                status=fields.get("STATUS"),
                reloading="RELOADING" in fields,
                stopping="STOPPING" in fields,
                watchdog="ping" if watchdog == "1" else "trigger" if watchdog == "trigger" else "",
                watchdog_ns=_microseconds(fields.get("WATCHDOG_USEC")),
                extend_ns=_microseconds(fields.get("EXTEND_TIMEOUT_USEC")),
                pid=self._adopted(key),
            ),
        )
        if fields.get("READY") == "1":
            sup.deliver(key, ev.Ready())

    def _belongs(self, key: str, pid: int) -> bool:
        """The main process may be dead by now (its pid is held by its unreaped slot); any other
        sender must still be there to be looked at."""
        return self._sup.pids.get(pid) == key or self._sup.tracker.owner(pid) == key

    def _is_put_off(self, key: str, message: notify.Message) -> bool:
        """A message with a MAINPID is left where it is until the keeper has said whether it takes
        that process: if this manager dies before, the next one finds it."""
        sup, inst = self._sup, self._sup.world.instances.get(key)
        text = message.fields.get("MAINPID", "")
        pid = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
        if key in self._asked:
            return self._asked[key][1] < 0
        if not pid or inst is None or not inst.launch or pid == inst.pid:
            return False
        if not self._belongs(key, message.pid):
            return False
        if sup.pids.get(pid) == key:
            if not inst.job:  # the keeper took it, and a manager died before it could be noted
                self._asked[key] = pid, 0
            return False
        if sup.tracker.owner(pid) != key:
            self.ignored += 1
            return False
        launch, self._asked[key] = inst.launch, (pid, -1)
        fd = self._sockets[key]

        def answered(err: int) -> None:
            if self._sockets.get(key) == fd and self._asked.get(key) == (pid, -1):
                self._asked[key] = pid, err
                self._on_socket(key, fd)
                if key in self._sockets:
                    self.watch(key, fd)

        sup.adoptions.ask(launch, pid, answered)
        return True

    def _adopted(self, key: str) -> int | None:
        """The main process by the message at hand, if the keeper has taken it; of the one before it
        nobody tells any more when its number is free for others."""
        pid, err = self._asked.pop(key, (0, 0))
        if not pid:
            return None
        sup, inst = self._sup, self._sup.world.instances[key]
        if err or pid == inst.pid:
            if pid != inst.pid:  # else it named itself before we knew its number
                sup.report(
                    f"cannot make pid {pid} the main process of {key}: {os.strerror(err)};"
                    f" it stays {inst.pid}"
                )
            return None
        sup.pids.pop(inst.pid, None)
        sup.pids[pid] = key
        return pid

    def _store(self, key: str, name: str, fds: list[int], *, polled: bool) -> None:
        """Park descriptors under FDNAME; what is over the limit is closed by the caller. The number
        in a stored name ends in "p" if the descriptor is to be dropped once it hangs up."""
        sup, prefix = self._sup, f"fdstore:{key}:"
        clean = "".join(c for c in name if c.isprintable() and c != ":")[:_MAX_NAME] or "stored"
        for fd in fds:
            taken = {int(s.split(":")[2].rstrip("p")) for s in sup.stored if s.startswith(prefix)}
            if len(taken) >= MAX_STORED:
                return
            number = next(n for n in range(MAX_STORED) if n not in taken)
            stored = f"{prefix}{number:02d}{'p' if polled else ''}:{clean}"
            sup.launcher.descriptors.keep(stored, fd)
            try:
                copy = os.dup(fd)
            except OSError:
                continue  # no number is left: nobody tells of its hang-up, as with FDPOLL=0
            self.poll(stored, copy)

    def poll(self, stored: str, fd: int) -> None:
        """Watch our copy of a parked descriptor for its hang-up, unless FDPOLL=0 was said."""
        if stored.split(":")[2].endswith("p"):
            try:
                self._sup.loop.add(fd, 0, lambda _events: self._forget(stored))
            except OSError:
                pass  # a file cannot hang up, and of an epoll of epolls nobody can be told
            else:
                self._polled[stored] = fd
                return
        os.close(fd)

    def _forget(self, stored: str) -> None:
        fd = self._polled.pop(stored, -1)
        if fd >= 0:
            self._sup.loop.remove(fd)
            os.close(fd)
        self._sup.drop(stored)

    def _unkept(self, name: str) -> None:
        """The keeper did not take it: our side of it is of no use either."""
        kind, _, key = name.partition(":")
        if kind == "notify":
            self.close_socket(key)
        elif name in self._polled:
            self._forget(name)

    def _unstore(self, key: str, name: str) -> None:
        for stored in [s for s in self._sup.stored if s.startswith(f"fdstore:{key}:")]:
            if stored.split(":", 3)[3] == name:
                self._forget(stored)


def _microseconds(text: str | None) -> int | None:
    """Nanoseconds, None for what is no number of microseconds up to a year."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 14:
        return None
    return int(text) * 1000

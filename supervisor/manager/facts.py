"""What the keeper knows when a manager begins: the only conversation that waits for its answer."""
from __future__ import annotations

from supervisor.kernel.keeper import Child, Frame, Keeper, child

BOOT_PLAN = "boot-plan"  # the keeper has the plan that was sent by this name, until all is decided


class Facts:
    """What the keeper knows when a manager begins."""

    def __init__(self, keeper: Keeper) -> None:
        self.children: list[Child] = []
        self.rows: list[Frame] = []  # the same as they came
        self.stored: set[str] = set()
        self.highest = 0
        self.later: list[Frame] = []  # what happened meanwhile
        keeper.hello()
        _wait(keeper)
        while not self._take(keeper):
            _wait(keeper)

    def hear(self, keeper: Keeper, op: str, tag: int, seconds: float) -> bool:
        """Whether there is such a frame, or comes within that time. It is taken out of `later`;
        whatever else comes meanwhile is put there."""
        from time import monotonic

        until = monotonic() + seconds
        while True:
            found = [frame for frame in self.later if frame.op == op and frame.tag == tag]
            if found or monotonic() >= until:
                self.later = [frame for frame in self.later if frame not in found]
                return bool(found)
            _wait(keeper, max(0.0, until - monotonic()))
            self.later += keeper.receive()

    def _take(self, keeper: Keeper) -> bool:
        done = False
        for frame in keeper.receive():
            data = frame.payload
            if done or frame.op not in ("CHILD", "STORED", "READY"):
                self.later.append(frame)
            elif frame.op == "CHILD":
                self.children.append(child(frame))
                self.rows.append(frame)
            elif frame.op == "STORED":
                self.stored.add(data.split(b"\0", 1)[0].decode())
            else:
                self.highest = int.from_bytes(data[:8], "little")
                done = True
        return done


def _wait(keeper: Keeper, seconds: float | None = None) -> None:
    """Until the keeper says something: only while nothing else could happen yet. What is queued is
    sent meanwhile, or its answer would never come when the socket is full of launches."""
    from select import POLLIN, POLLOUT, poll

    waiter = poll()
    fd = keeper.fileno()
    while True:
        waiter.register(fd, POLLIN if keeper.flush() else POLLIN | POLLOUT)
        found = waiter.poll(None if seconds is None else seconds * 1000)
        if not found or any(events & ~POLLOUT for _, events in found):
            return


def fetch(keeper: Keeper, name: str) -> tuple[int, list[Frame]]:
    """A stored descriptor (-1: there is none), and what else came while it was waited for."""
    tag = keeper.tag()
    others: list[Frame] = []
    keeper.named("GET", name, tag=tag)
    while True:
        _wait(keeper)
        found = None
        for frame in keeper.receive():
            if frame.tag == tag and frame.op in ("FD", "RESULT"):
                found = frame
            else:
                others.append(frame)
        if found is not None:
            return (found.fds[0] if found.fds else -1), others

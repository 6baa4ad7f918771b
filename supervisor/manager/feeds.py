"""The feed processes: each brings the logs of what an agent is attached to into the agent's input.

Law: a feed is the supervisor's own, outside of the agent's cgroup, and core knows nothing of it. It
lives as long as the run of its agent. The keeper holds its ends of the pipes (`feed:KEY`, and
`ack:KEY` where the agent acknowledges), so one that died is replaced on the same pipe, by whichever
manager there is then. Nobody but the agent waits for it. Launch numbers rise, so a feed is launched
when nothing that core asked for, whose numbers are lower, is still to be sent.

At the stop of an agent its feed delivers what is stored; the keeper's copy of the pipe goes at
once, so that the agent sees the end of file when the feed is through.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.core.words import CLD_EXITED, exit_words
from supervisor.kernel import users
from supervisor.kernel.plan import Launch, PlanTooLong, encode
from supervisor.kernel.plan import compile as compile_plan
from supervisor.manager import runtime
from supervisor.manager.given import cursor_file, forget_progress, progress_file
from supervisor.manager.launcher import PATH
from supervisor.model.state import Instance
from supervisor.model.unit import SECOND_NS, Unit

if TYPE_CHECKING:
    from supervisor.core.resume import Child
    from supervisor.manager.supervisor import Supervisor

TERM, KILL = 15, 9
FIRST_NS, LONGEST_NS = SECOND_NS // 10, 5 * SECOND_NS  # before one that died is replaced
STABLE_NS = 10 * SECOND_NS  # one that lived so long is replaced at once
BORN_NS = SECOND_NS // 2  # until then it may not hear a SIGTERM as it should
GONE_NS = 2 * SECOND_NS  # how long it has to end, once its agent has


class Feed:
    """Of one run of an agent. `run`: the agent's launch; `launch`: the feed's, 0 while none is."""

    def __init__(self, key: str, unit: Unit, run: int, since_ns: int) -> None:
        self.key = key
        self.unit = unit
        self.run = run
        self.since_ns = since_ns  # realtime: when the agent was launched
        self.launch = 0
        self.began_ns = 0
        self.failures = 0
        self.draining = False  # it is to deliver what there is
        self.ending = False  # it was told so, or its agent is gone: it is not replaced
        self.ends = 0  # how often in a row it ended by itself and soon
        self.over = False  # nobody reads the pipe any more
        self.patterns: tuple[str, ...] = ()
        self.again_ns = self.term_ns = self.kill_ns = 0  # when to do what, 0 for never


class Feeds:
    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup
        self._feeds: dict[str, Feed] = {}
        self._command = runtime.feeder(sup.paths)
        sup.settled.append(self._begin)

    # --- the life of an agent's run -----------------------------------------------------------

    def begin(self, inst: Instance, unit: Unit) -> None:
        """The agent's launch was asked for, and the keeper has the ends of its pipes."""
        self._discard(inst.key)
        since_ns = self._sup.realtime_ns(self._sup.now())
        feed = self._feeds[inst.key] = Feed(inst.key, unit, inst.launch, since_ns)
        feed.again_ns = self._sup.now()
        self._schedule()

    def adopt(self, inst: Instance, unit: Unit, child: Child | None) -> None:
        """An earlier manager began it. `child`: the last feed of this run that the keeper knows."""
        since_ns = self._sup.realtime_ns(inst.launched_ns)
        feed = self._feeds[inst.key] = Feed(inst.key, unit, inst.launch, since_ns)
        feed.ending = inst.phase not in ("launching", "starting", "up")
        if child is not None and child.state != "EXITED_UNACKED":
            feed.launch, feed.began_ns = child.launch, self._sup.now()
            feed.patterns = self._patterns(unit)
        elif child is not None:
            self._ended(feed, child.code, child.status)
        elif not feed.ending:
            feed.again_ns = self._sup.now()
        self._schedule()

    def drain(self, key: str) -> None:
        """No more will be written: the agent is to have what is stored, then the end of file."""
        feed = self._feeds.get(key)
        if feed is None:
            return
        now = self._sup.now()
        feed.draining = True
        if feed.launch:
            self._end(feed, max(now, feed.began_ns + BORN_NS))
        elif feed.over or feed.ending:
            self._end(feed, 0)
        else:
            feed.again_ns = now
        self._schedule()

    def _end(self, feed: Feed, term_ns: int) -> None:
        """The agent sees the end of file once the feed is through, or at once if there is none."""
        feed.ending = True
        feed.term_ns = term_ns
        self._sup.drop(f"feed:{feed.key}")

    def gone(self, key: str) -> None:
        """The agent's main process has ended, or was never there."""
        feed = self._feeds.get(key)
        if feed is None:
            return
        feed.ending = True
        feed.again_ns = 0
        for kind in ("feed", "ack"):
            self._sup.drop(f"{kind}:{key}")
        if not feed.launch:
            self._forget(key)
        else:  # it reads the last acknowledgements
            self._sup.keeper.signal(feed.launch, TERM)
            feed.kill_ns = self._sup.now() + GONE_NS
        self._schedule()

    def run_of(self, key: str) -> int:
        feed = self._feeds.get(key)
        return feed.run if feed is not None else 0

    def redefined(self) -> None:
        """Units came and went: a feed for a group whose members are others now is replaced."""
        for feed in self._feeds.values():
            if feed.launch and not feed.ending and self._patterns(feed.unit) != feed.patterns:
                self._sup.keeper.signal(feed.launch, KILL)

    def _discard(self, key: str) -> None:
        old = self._feeds.pop(key, None)
        if old is not None and old.launch:
            self._sup.keeper.signal(old.launch, KILL)

    # --- processes ----------------------------------------------------------------------------

    def _begin(self) -> None:
        """At the end of a turn: launch what is due."""
        now = self._sup.now()
        if not 0 < self._sup.feeds_ns <= now:
            return
        for feed in self._feeds.values():
            if 0 < feed.again_ns <= now and self._sup.world.turn.actions:
                feed.again_ns = now + FIRST_NS  # the journal takes nothing just now
            elif 0 < feed.again_ns <= now:
                self._launch(feed)
        self._schedule()

    def _launch(self, feed: Feed) -> None:
        sup, agent = self._sup, feed.unit.agent
        feed.again_ns = 0
        feed.patterns = self._patterns(feed.unit)
        command = [*self._command, "--progress", progress_file(sup.paths, feed.key)]
        fds = [(1, f"feed:{feed.key}")]
        if agent is not None and agent.cursor:
            command += ["--cursor", cursor_file(sup.paths, feed.key)]
            fds.append((0, f"ack:{feed.key}"))
        else:
            command += ["--since", str(feed.since_ns)]
        command += ["--key", feed.key, "--", *feed.patterns]
        me = users.identity("", "", ())
        plan = Launch(
            tuple(command), command[0], (("PATH", PATH), ("HOME", me.home)), me, directory="/",
            fds=tuple(fds),
        )  # fmt: skip
        try:
            payload = encode(compile_plan(plan), sup.keeper.max_frame)
            feed.launch = sup.number()
        except PlanTooLong as exc:
            sup.report(f"cannot feed {feed.key}: {exc}; it gets no logs")
            feed.over = True
            return
        except OSError:  # the journal takes nothing just now
            self._again(feed)
            return
        feed.began_ns = sup.now()
        sup.launches[feed.launch] = (feed.key, "feed")
        name = f"{feed.key}:feed:{feed.launch}".encode()
        sup.keeper.send("SPAWN", feed.launch, name + b"\0" + payload)
        if feed.draining:
            self._end(feed, feed.began_ns + BORN_NS)
        sup.flush()

    def _patterns(self, unit: Unit) -> tuple[str, ...]:
        """What it is attached to: a group by its members."""
        from supervisor.core.graph import members

        graph = self._sup.world.graph
        found: dict[str, None] = {}
        for word in unit.attach:
            known = graph.units.get(word)
            if known is not None and known.kind == "group":
                names = sorted(members(graph, word))
                found.update((name, None) for name in names if graph.units[name].kind != "group")
            else:
                found[word] = None
        return tuple(found) or unit.attach  # a group without members has no lines

    def failed(self, launch: int, words: str, *, alive: bool) -> None:
        """It was not executed. `alive`: its exit is still to come."""
        feed = self._of(launch)
        if feed is not None:
            self._report(feed, words)
            if not alive:
                feed.launch = 0
                self._again(feed)

    def ended(self, launch: int, code: int, status: int) -> None:
        feed = self._of(launch)
        if feed is not None:
            self._ended(feed, code, status)
            self._schedule()

    def _ended(self, feed: Feed, code: int, status: int) -> None:
        feed.launch = feed.term_ns = feed.kill_ns = 0
        if feed.ending:
            if not self._lives(feed):
                self._forget(feed.key)
            return
        if self._sup.now() - feed.began_ns >= STABLE_NS:
            feed.failures = feed.ends = 0
        if code != CLD_EXITED or status:
            feed.ends = 0
            self._report(feed, exit_words(code, status))
        else:  # its agent is gone or has closed its input; or a stranger sent it SIGTERM
            feed.ends += 1
            feed.over = feed.ends > 1
            feed.failures = max(feed.failures, 1)  # its agent's end may be heard of any moment
        if not feed.over:
            self._again(feed)

    def _forget(self, key: str) -> None:
        self._feeds.pop(key, None)
        forget_progress(self._sup.paths, key)

    def _lives(self, feed: Feed) -> bool:
        inst = self._sup.world.instances.get(feed.key)
        return inst is not None and inst.launch == feed.run

    def _report(self, feed: Feed, words: str) -> None:
        if feed.failures < 8:  # by then it was said often enough
            self._sup.report(f"cannot feed {feed.key}: its feed ended: {words}; another is started")

    def _again(self, feed: Feed) -> None:
        delay = min(FIRST_NS << min(feed.failures, 8) >> 1, LONGEST_NS) if feed.failures else 0
        feed.failures += 1
        feed.again_ns = self._sup.now() + max(delay, 1)
        self._schedule()

    def _of(self, launch: int) -> Feed | None:
        return next((one for one in self._feeds.values() if one.launch == launch), None)

    # --- time ---------------------------------------------------------------------------------

    def look(self, now: int) -> None:
        """Send the signals that are due."""
        for feed in self._feeds.values():
            if 0 < feed.term_ns <= now:
                feed.term_ns = 0
                self._sup.keeper.signal(feed.launch, TERM)
            if 0 < feed.kill_ns <= now:
                feed.kill_ns = 0
                self._sup.keeper.signal(feed.launch, KILL)
        self._schedule()
        self._sup.flush()

    def _schedule(self) -> None:
        times = [
            when
            for feed in self._feeds.values()
            for when in (feed.again_ns, feed.term_ns, feed.kill_ns)
            if when
        ]
        self._sup.feeds_ns = min(times, default=0)

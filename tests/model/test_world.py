"""Whatever is asked for and whatever processes do: the world keeps its laws.

The laws about single steps stand in host.Watched (needs met at a launch, order of stops, restart
limits, causes, stale events), those about launches and processes in kernel.Kernel (never two live
launches of one key, rising numbers, nothing released that still runs).
"""
from __future__ import annotations

from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from supervisor.core.world import ENDED, RESTING, World
from supervisor.model import event as ev
from supervisor.model.state import Instance
from supervisor.model.unit import Unit
from tests.model import units as made
from tests.model.host import Host, Plans

S = 1_000_000_000
names = st.sampled_from(made.NAMES)
some = st.lists(names, min_size=1, max_size=3)


class Worlds(RuleBasedStateMachine):
    host: Host

    @initialize(
        units=made.units(), plans=made.plans(), now=made.HOSTILE, machine=st.booleans())
    def begin(self, units: dict[str, Unit], plans: Plans, now: int, machine: bool) -> None:
        self.host = Host(units, plans, now, machine=machine)

    def _known(self, chosen: list[str]) -> list[str]:
        return [name for name in chosen if name in self.host.world.graph.units]

    def _keys(self, chosen: list[str]) -> list[str]:
        return [key for name in chosen for key in self.host.world.keys.get(name, ())]

    # --- requests -----------------------------------------------------------------------------

    @rule(chosen=some)
    def start(self, chosen: list[str]) -> None:
        units = self._known(chosen)
        self.host.request(lambda world, now: world.start(units, "asked", now))

    @rule(chosen=some)
    def stop(self, chosen: list[str]) -> None:
        units = self._known(chosen)
        self.host.request(lambda world, now: world.stop(units, "asked", now))

    @rule(chosen=some)
    def restart(self, chosen: list[str]) -> None:
        keys = self._keys(chosen)
        self.host.request(lambda world, now: world.restart(keys, "asked", now))

    @rule(name=names, last=st.booleans(), up=st.booleans())
    def one_instance(self, name: str, last: bool, up: bool) -> None:
        keys = self._keys([name])
        if keys:
            key = keys[-1] if last else keys[0]

            def work(world: World, now: int) -> None:
                (world.start_key if up else world.stop_key)(key, "asked", now)

            self.host.request(work)

    @rule(
        name=names,
        event=st.sampled_from([
            ev.Reset("asked"),
            ev.Reloaded("asked"),
            ev.Measured(1 << 40),
            ev.Notified(status="busy"),
            ev.Notified(watchdog="ping"),
            ev.Notified(watchdog="trigger"),
            ev.Notified(reloading=True),
            ev.Notified(stopping=True, watchdog_ns=5_000_000),
            ev.Notified(extend_ns=S),
            ev.Notified(pid=77),
        ]),
    )
    def tell(self, name: str, event: object) -> None:
        for key in self._keys([name]):
            self.host.request(lambda world, now, key=key: world.deliver(key, event, now))  # type: ignore[misc]

    @rule(name=names, frozen=st.booleans())
    def freeze(self, name: str, frozen: bool) -> None:
        for key in self._keys([name]):
            if self.host.kernel.members(key):
                self.host.kernel.freeze(key, frozen)
                event = ev.Froze(frozen)
                self._deliver(key, event)

    @rule(
        name=names,
        number=st.integers(10**6, 10**7),
        kind=st.sampled_from(["exec", "exit", "fail", "skip"]),
    )
    def stale(self, name: str, number: int, kind: str) -> None:
        """Events of launches and instances that are long gone change nothing at all."""
        event = {
            "exec": ev.Execed(number, 1),
            "exit": ev.Exited(number, 1, 0, True),
            "fail": ev.LaunchFailed(number, "late", False),
            "skip": ev.Skipped(number, "late"),
        }[kind]
        world = self.host.world
        before = {key: replace(inst) for key, inst in world.instances.items()}
        for key in (*self._keys([name]), "nobody", "nobody/7"):
            world.deliver(key, event, self.host.now)
        assert world.instances == before
        assert not world.turn.actions

    @rule(units=made.units())
    def redefine(self, units: dict[str, Unit]) -> None:
        self.host.define(units)

    # --- time, and the manager's death --------------------------------------------------------

    @rule(span=st.sampled_from([1, 10, 50, 1_000, 20_000_000, 600_000_000, 20 * S]))
    def pass_time(self, span: int) -> None:
        self.host.run(self.host.now + span)

    @rule(span=st.sampled_from([30, 1_000_000, 5 * S, 3600 * S]))
    def oversleep(self, span: int) -> None:
        """The manager gets no time at all for a while."""
        self.host.now += span
        self.host.kernel.run(self.host.now)
        self.host.survive(self.host.turn)

    @rule(points=st.integers(0, 12))
    def killed(self, points: int) -> None:
        self.host.kill_in(points)

    # --- laws ---------------------------------------------------------------------------------

    @invariant()
    @precondition(lambda self: hasattr(self, "host"))
    def what_rests_has_no_process(self) -> None:
        world, kernel = self.host.world, self.host.kernel
        for key, inst in world.instances.items():
            if inst.phase in RESTING:
                assert (inst.launch, inst.job, inst.pid) == (0, 0, 0)
                assert kernel.empty(key), f"{key} is {inst.phase} and has processes"
            if inst.phase == "launching":
                assert inst.launch or inst.job
            assert not inst.again or inst.goal == "up"
        for process in kernel.slots.values():
            if process.alive and process.role != "ready":
                assert process.key in world.instances, f"{process.key} is an orphan"

    @invariant()
    @precondition(lambda self: hasattr(self, "host"))
    def every_deadline_is_known(self) -> None:
        world = self.host.world
        times = [t for inst in world.instances.values() for t in deadlines(inst)]
        if world.closing_ns:
            times.append(world.closing_ns)
        assert world.deadline() == min(times, default=0)

    @invariant()
    @precondition(lambda self: hasattr(self, "host"))
    def the_chain_of_causes_leads_to_its_beginning(self) -> None:
        world = self.host.world
        for key, inst in world.instances.items():
            chain = world.why(key)
            assert bool(chain) == (inst.cause_id in {t.id for t in world.history})
            assert all(a.cause_id == b.id for a, b in pairwise(chain))

    def _deliver(self, key: str, event: object) -> None:
        self.host.request(lambda world, now: world.deliver(key, event, now))

    def teardown(self) -> None:
        if not hasattr(self, "host"):
            return
        self.host.play_fair()
        unsettled = self._unsettled()
        for _ in range(600):
            self.host.run(self.host.now + 97_000_001)
            unsettled = self._unsettled()
            if not unsettled:
                break
        else:
            raise AssertionError(unsettled)
        self._no_surplus()
        self.host.close()
        assert not any(p.alive for p in self.host.kernel.slots.values() if p.role != "ready")
        assert not self.host.kernel.strays

    def _no_surplus(self) -> None:
        """What runs beyond its unit's number serves because nobody took its place yet."""
        world = self.host.world
        for name in world.left.keys() & world.graph.units.keys():
            unit, keys = world.graph.units[name], world.keys[name]
            assert unit.listen, f"{name}: {world.left[name]} are left"
            assert not any(world.instances[key].phase == "up" for key in keys), name

    def _unsettled(self) -> list[Instance]:
        """Whoever is not where its goal is, and waits for nothing that could stay away for ever."""
        world = self.host.world
        return [
            inst
            for inst in world.instances.values()
            if inst.phase not in (("up", "failed") if inst.goal == "up" else ENDED)
            and not (inst.phase == "waiting" and world.waiting_for(inst))
        ]


def deadlines(inst: Instance) -> list[int]:
    every = (inst.deadline_ns, inst.watchdog_due_ns, inst.age_due_ns, inst.measure_due_ns)
    return [when for when in every if when]


TestWorlds = Worlds.TestCase
TestWorlds.settings = settings(
    max_examples=130,
    stateful_step_count=30,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

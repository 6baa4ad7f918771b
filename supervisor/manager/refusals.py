"""What the keeper did not store (it has room for so many names, and so many descriptors): it is
known as not stored, somebody is told, and a start that relied on it fails."""
from __future__ import annotations

import os
from collections.abc import Iterable

from supervisor.manager.adoption import NOTHING
from supervisor.manager.supervisor import SHORTAGES, Supervisor
from supervisor.model import event as ev

_RETRY_NS = 100_000_000


class Refusals:
    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup

    def lost(self, err: int) -> None:
        """The keeper could not take the descriptors of some datagram, and so never saw what it
        said. Answers come in order: what was put before and has none by the next one is it."""
        keeper = self._sup.keeper
        before = keeper.tag()

        def answered(_err: int) -> None:
            for tag in [tag for tag in keeper.puts if tag < before]:
                self.put(keeper.puts.pop(tag), err)

        self._sup.ask_keeper("DROP", NOTHING, answered)

    def put(self, name: str, err: int) -> None:
        """The keeper refused to store `name`."""
        sup = self._sup
        sup.stored.discard(name)
        words = f"cannot have the keeper store {name}: {os.strerror(err)}"
        kind, _, rest = name.partition(":")
        if name == "state":
            sup.put_state_ns = sup.now() + _RETRY_NS
            sup.report(f"{words}; a manager that dies now forgets what is new, it is tried again")
        elif kind == "fdstore":
            sup.report(f"{words}; the service's descriptor is closed")
            sup.unkept(name)
        elif kind in ("listen", "notify", "ready"):
            sup.report(f"{words}; the start that needs it fails")
            sup.unkept(name)
            owner = rest.partition(":")[0]
            self._fail(sup.world.keys.get(owner, (owner,)), words, err)
        else:
            sup.report(f"{words}; the next manager makes it anew")

    def _fail(self, keys: Iterable[str], words: str, err: int) -> None:
        """End what was launched without it; its exit (or the refusal of its launch) follows."""
        for key in keys:
            inst = self._sup.world.instances.get(key)
            if inst is not None and inst.launch and inst.phase in ("launching", "starting"):
                failed = ev.LaunchFailed(inst.launch, words, True, err in SHORTAGES)
                self._sup.deliver(key, failed)
                self._sup.keeper.signal(inst.launch, 9)

"""How far a need has come, as people read it in `status` and `why`."""
from __future__ import annotations

import pytest

from supervisor.model.unit import Needs, Until
from tests.unit.core.kit import Bench, edges, service


@pytest.mark.parametrize("until, awaited, met", [
    ("started", "db to start", "db has started"),
    ("ready", "db to be ready", "db is ready"),
    ("finished", "db to finish", "db has finished"),
])  # fmt: skip
def test_what_is_waited_for_and_what_ended_the_wait_are_said_with_a_verb(
    until: Until, awaited: str, met: str
) -> None:
    bench = Bench(service("web", needs=Needs(requires=edges("db", until=until))),
                  service("db", kind="task" if until == "finished" else "service"))
    bench.start("web")
    assert bench.world.waiting_for(bench["web"]) == [awaited]
    bench.execed("db")
    if until == "finished":
        bench.exited("db")
    bench.asked()
    causes = [one.cause for one in bench.told if one.key == "web" and one.target == "launching"]
    assert causes == [met]

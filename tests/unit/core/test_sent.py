"""An exit names the operator's signal it came of, and no other."""

from __future__ import annotations

from supervisor.core.sent import SENT_NS
from supervisor.model import event as ev
from supervisor.model.unit import Restart
from tests.unit.core.kit import Bench, S, service

KILL = "uid 0 with `unboxed kill`"


def killed_bench(number: int = 15) -> Bench:
    bench = Bench(service(restart=Restart(when="never"))).up("web")
    bench.world.signalled("web", number, KILL, bench.now)
    return bench


def test_to_die_of_an_operators_signal_names_the_operator() -> None:
    bench = killed_bench()
    assert "web" in bench.world.take()[2], "it is written down before the signal is sent"
    bench.killed("web", 15)
    words = "killed by SIGTERM, sent by uid 0 with `unboxed kill`"
    assert (bench["web"].last_exit, bench["web"].cause) == (words, words)


def test_to_exit_soon_after_it_names_it_too() -> None:
    bench = killed_bench().after(S * 3 // 2)
    bench.exited("web", 3)
    assert bench["web"].cause == (
        "exit 3, 1.5 s after SIGTERM sent by uid 0 with `unboxed kill`"
    )


def test_to_exit_long_after_it_has_another_cause() -> None:
    bench = killed_bench(10).after(SENT_NS + 1)
    bench.exited("web", 3)
    assert bench["web"].last_exit == "exit 3"


def test_to_die_of_another_signal_has_another_cause() -> None:
    bench = killed_bench(10)
    bench.killed("web", 11)
    assert bench["web"].last_exit == "killed by SIGSEGV"


def test_a_signal_counts_for_one_end_only() -> None:
    bench = Bench(service(restart=Restart(when="always", delay_ns=0))).up("web")
    bench.world.signalled("web", 9, KILL, bench.now)
    bench.killed("web", 9)
    assert "sent by uid 0" in bench["web"].last_exit
    bench.execed("web")
    assert bench["web"].phase == "up"
    bench.killed("web", 9)
    assert bench["web"].last_exit == "killed by SIGKILL"


def test_an_end_that_nobody_saw_is_not_put_down_to_it() -> None:
    bench = killed_bench(9)
    bench.tell("web", ev.Exited(bench["web"].launch, 2, 9, True, "its end was not seen"))
    assert bench["web"].last_exit == "its end was not seen"


def test_the_end_of_a_job_is_none_of_the_run() -> None:
    bench = killed_bench(15)
    bench.tell("web", ev.Exited(bench["web"].launch + 1, 2, 15, False))
    assert bench["web"].sent == 15

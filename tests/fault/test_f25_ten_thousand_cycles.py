"""Fault 25: after ten thousand starts and stops keeper, manager and logger are as before."""

from __future__ import annotations

from tests.fault.lifecycle import descriptors, resident_bytes, supervisor, three
from tests.fault.witness import at_rest
from tests.keeper.keeperclient import small_program
from tests.stack import Stack

UNITS, ROUNDS = 100, 100
WARM = 10  # rounds until every cache and history is full
MORE_BYTES = 1 << 20


def cycle(stack: Stack, rounds: int) -> None:
    for _ in range(rounds):
        for method in ("Start", "Stop"):
            results = stack.call(method, units=["u*"], wait=True)["results"]
            assert len(results) == UNITS
            assert all(result["ok"] for result in results), results


def held(stack: Stack, pid: int) -> list[str]:
    """What its descriptors are, whatever their numbers."""
    return sorted(at_rest(stack, lambda: descriptors(pid)).values())


def test_f25_ten_thousand_starts_and_stops_leave_nothing_behind() -> None:
    unit = f'command = ["{small_program()}", "pause"]\nautostart = false\n'
    with supervisor("cgroup", {f"u{number}": unit for number in range(UNITS)}) as stack:
        cycle(stack, WARM)
        pids = three(stack)
        files = {name: held(stack, pid) for name, pid in pids.items()}
        memory = {name: resident_bytes(pid) for name, pid in pids.items()}
        cycle(stack, ROUNDS)
        assert three(stack) == pids
        for name, pid in pids.items():
            assert held(stack, pid) == files[name]
            more = resident_bytes(pid) - memory[name]
            assert more < MORE_BYTES, f"the {name} has {more} bytes more"
        assert {row["state"] for row in stack.rows().values()} == {"stopped"}

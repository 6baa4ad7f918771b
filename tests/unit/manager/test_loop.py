"""A round that broke off is followed by another at once."""

from __future__ import annotations

from supervisor.manager.loop import Loop


def test_what_a_broken_turn_left_waits_for_no_event() -> None:
    errors: list[BaseException] = []
    loop = Loop(errors.append)
    turns = []

    def turn() -> None:
        turns.append(1)
        if len(turns) == 1:
            raise ValueError("broken")
        loop.running = False

    due = [1]  # the first round is due, and no other
    loop.run(lambda: due.pop() if due else 0, turn)
    assert len(turns) == 2
    assert isinstance(errors[0], ValueError)

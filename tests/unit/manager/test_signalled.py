"""A signal to the supervisor is put down to whoever sent it, as far as that has a number here."""
from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.unit.manager.kit import Bench


@pytest.mark.parametrize("number, sender, words", [
    (2, 0, "SIGINT to the supervisor from the keyboard"),
    (3, 0, "SIGQUIT to the supervisor from the keyboard"),
    (15, 0, "SIGTERM to the supervisor from outside its pid namespace"),
    (15, 77, "SIGTERM to the supervisor from pid 77"),
])  # fmt: skip
def test_the_sender_is_named(
    tmp_path: Path, number: int, sender: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    causes: list[str] = []
    monkeypatch.setattr(bench.observer, "stop", lambda cause, _: causes.append(cause))
    try:
        bench.tell("SIGNALLED", 0, struct.pack("<iiI", number, sender, 0))
    finally:
        bench.close()
    assert causes == [words]

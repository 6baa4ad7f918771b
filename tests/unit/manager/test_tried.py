"""A tried unit that nobody asks after is forgotten a minute after its end, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from supervisor.manager.transient import LINGER_NS, Tried
from tests.unit.manager.kit import Bench


def test_a_minute_after_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path)
    sup = bench.sup
    tried = Tried(sup)
    assert tried.define(("/bin/true",), {}) == "try-1"
    file = tmp_path / "units" / "try-1.toml"
    assert file.exists()
    bench.start("try-1")
    launch = bench["try-1"].launch
    bench.execed("try-1", 1000)
    assert sup.forget_ns == 0, "it runs"
    bench.exited("try-1", launch, 1000)
    assert bench["try-1"].finished
    due = sup.forget_ns
    assert 0 < sup.deadline() <= due <= sup.now() + LINGER_NS
    monkeypatch.setattr(sup, "now", lambda: due - 1)
    sup.turn()
    assert "try-1" in sup.world.instances
    bench.sent()
    monkeypatch.setattr(sup, "now", lambda: due)
    sup.turn()
    assert (sup.world.instances, sup.world.graph.units) == ({}, {})
    assert not file.exists()
    dropped = [text for op, _, text in bench.sent() if op == "DROP"]
    assert dropped == [b"log:try-1\0", b"log:try-1!err\0"]
    assert sup.forget_ns == 0
    bench.close()


def test_a_unit_file_of_that_name_is_nobodys_to_forget(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    tried = Tried(bench.sup)
    name = tried.define(("/bin/true",), {})
    assert isinstance(name, str)
    unit = bench.sup.world.graph.units[name]
    assert tried.has(name)
    bench.sup.world.define({name: replace(unit, source="/etc/unboxed/units/try-1.toml")})
    assert not tried.has(name)
    bench.close()

"""Unit keys on a command line become the table that a unit file would have been."""
from __future__ import annotations

from typing import Any

import pytest

from supervisor.config.load import load_table, load_text
from supervisor.config.options import help_rows, read_options
from supervisor.config.problem import Broken
from supervisor.config.schema import walk
from supervisor.config.table import Refused
from supervisor.model.unit import Unit


@pytest.mark.parametrize(
    "pairs, table",
    [
        ([], {}),
        ([("description", "5")], {"description": "5"}),
        ([("description", '"5"')], {"description": "5"}),
        ([("instances", "2")], {"instances": 2}),
        ([("instances", "cores")], {"instances": "cores"}),
        ([("pin", "true")], {"pin": True}),
        ([("restart.delay", "0")], {"restart": {"delay": 0}}),
        ([("restart.delay", "100ms")], {"restart": {"delay": "100ms"}}),
        (
            [("restart.when", "always"), ("restart.jitter", "0.5")],
            {"restart": {"when": "always", "jitter": 0.5}},
        ),
        ([("restart.limit.count", "3")], {"restart": {"limit": {"count": 3}}}),
        ([("start.ready", "notify")], {"start": {"ready": "notify"}}),
        ([("start.ready", "{exit = 3}")], {"start": {"ready": {"exit": 3}}}),
        ([("umask", "022")], {"umask": "022"}),
        ([("env.A", "1"), ("env.B", '"x"')], {"env": {"A": "1", "B": '"x"'}}),
        ([("groups", "a"), ("groups", '["b", "c"]')], {"groups": ["a", "b", "c"]}),
        (
            [("listen", "tcp:80"), ("listen", "unix:/x")],
            {"listen": [{"address": "tcp:80"}, {"address": "unix:/x"}]},
        ),
        ([("reload", "restart")], {"reload": "restart"}),
        ([("needs.requires", '["db"]')], {"needs": {"requires": ["db"]}}),
        ([("description", "a\nb = 1")], None),
        ([("description", "x = [[[[")], {"description": "x = [[[["}),
    ],
)
def test_reads(pairs: list[tuple[str, str]], table: dict[str, Any] | None) -> None:
    if table is None:
        with pytest.raises(Refused):
            read_options(pairs)
    else:
        assert read_options(pairs) == table


@pytest.mark.parametrize(
    "pairs, reason",
    [
        ([("restart.dealy", "1")], "did you mean restart.delay?"),
        ([("foo", "1")], "there is no such key"),
        ([("user", "0")], "a number is not a user name"),
        ([("instances", "2"), ("instances", "3")], "twice"),
        ([("limits.memory", "1")], "not supported yet"),
        ([("restart.delay", "[" * 5000)], "no duration"),
        ([("restart.limit", "none"), ("restart.limit.count", "3")], "set as a whole"),
    ],
)
def test_refuses(pairs: list[tuple[str, str]], reason: str) -> None:
    with pytest.raises(Refused, match=reason.replace("?", r"\?")) as refused:
        read_options(pairs)
    assert refused.value.faults[0][0] == (pairs[-1][0],)


def test_a_table_makes_the_unit_that_its_text_makes() -> None:
    table = {"command": ["/bin/x"], "restart": {"delay": 0}, "env": {"A": "1"}}
    text = 'command = ["/bin/x"]\nrestart.delay = 0\nenv.A = "1"\n'
    assert load_table("try-1", table, "s") == load_text("try-1", text, "s")


@pytest.mark.parametrize("name", ["unboxed", "", "Web", "a/b", "a\n"])
def test_a_name_that_no_unit_can_have_is_refused(name: str) -> None:
    for found in (load_table(name, {"command": ["x"]}, "s"), load_text(name, 'command="x"', "s")):
        assert isinstance(found, Broken)
        assert "cannot be a unit" in str(found.problems[0])


def test_a_table_from_a_stranger_is_refused_like_a_file() -> None:
    found = load_table("a", {"command": None, "restart": {"delay": "x"}, "\ud800": 1}, "try")
    assert isinstance(found, Broken)
    assert [problem.key for problem in found.problems] == [
        "command", "restart.delay", '"\\ud800"',
    ]  # fmt: skip
    assert isinstance(load_text("a", 'command = "\ud800"', "s"), Broken)


def test_a_lone_surrogate_is_no_text() -> None:
    """It cannot be written to a file or passed to a program."""
    found = load_table("a", {"command": ["/bin/x", "\ud800"]}, "try")
    assert isinstance(found, Broken)


def test_help_has_every_key_that_an_option_can_be() -> None:
    rows = help_rows()
    keys = {path: key for path, key in walk() if not key.later}
    assert {row[0] for row in rows} <= set(keys)
    assert {"command", "restart.delay", "env", "start.ready", "logs.keep"} <= {r[0] for r in rows}
    assert all(row[1] and row[3] for row in rows)
    assert isinstance(load_table("a", {"command": "x", **read_options([])}, "s"), Unit)

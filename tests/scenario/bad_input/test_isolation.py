"""Isolation that cannot be: by `unboxed check`, by a start among good units, and by a reload."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scenario.bad_input.kit import SLEEP, said, unboxed
from tests.stack import Refused, Stack
from tests.unit.config.test_isolation import CONTRADICTIONS

MANY = """\
command = ["/bin/sleep", "1000"]
user = "dynamic"
[sandbox]
level = "base"
promises = ["stdio", "inte"]
capabilities = ["CAP_NET_BIND", "net_raw"]
write = ["@stat", "srv", "/a/../b"]
users = {map = ["0:1000:0", "1:4294967295:1"]}
open = [{path = "/etc/key", fd = 1}]
[network]
mode = "own"
connect = ["db.example:5432", "10.1.2.3/8:80"]
[secrets]
"../key" = "/etc/key"
"""
EXPECTED = [
    (5, "sandbox.promises[1]", "did you mean inet?"),
    (6, "sandbox.capabilities[0]", "there is no such capability"),
    (7, "sandbox.write[0]", "did you mean @state?"),
    (7, "sandbox.write[1]", "write an absolute path"),
    (7, "sandbox.write[2]", 'it goes up with ".."'),
    (8, "sandbox.users.map[0]", "it maps no id"),
    (8, "sandbox.users.map[1]", "it goes beyond 4294967294"),
    (9, "sandbox.open[0].fd", "it must be from 3 to 255"),
    (11, "network.mode", 'write "host" or "none" or "private"'),
    (12, "network.connect[0]", "names are not looked up"),
    (12, "network.connect[1]", "write 10.0.0.0/8"),
    (14, 'secrets."../key"', "rename it"),
]


def test_check_and_a_start_name_all_that_is_wrong_at_once(tmp_path: Path) -> None:
    stack = Stack(tmp_path, {"good": SLEEP, "bad": MANY})
    path = str(stack.units / "bad.toml")
    checked = json.loads(unboxed("check", "--json", path, home=tmp_path).stdout)
    found = [(one["line"], one["key"]) for one in checked["problems"]]
    assert found == [(line, key) for line, key, _ in EXPECTED]
    with stack:
        stack.wait("good", "running")
        assert set(stack.rows()) == {"good"}
        lines = said(stack, path)
        assert len(lines) == len(EXPECTED)
        for text, (line, key, reason) in zip(lines, EXPECTED, strict=True):
            assert text.startswith(f"unboxed: {path}:{line}: {key}: cannot ")
            assert reason in text
            assert text.endswith("; bad is left out")


def test_each_contradiction_is_left_out_and_the_others_run(tmp_path: Path) -> None:
    wrong = {f"w{n}": text for n, (text, *_) in enumerate(CONTRADICTIONS.values())}
    with Stack(tmp_path, {"good": SLEEP, **wrong}) as stack:
        stack.wait("good", "running")
        assert set(stack.rows()) == {"good"}
        for (_, line, key, _), name in zip(CONTRADICTIONS.values(), wrong, strict=True):
            lines = said(stack, f"{stack.units}/{name}.toml:")
            assert len(lines) == 1, lines
            assert lines[0].startswith(f"unboxed: {stack.units}/{name}.toml:{line}: {key}: cannot ")


def test_a_reload_that_cannot_confine_changes_nothing(tmp_path: Path) -> None:
    with Stack(tmp_path, {"good": SLEEP}) as stack:
        pid = stack.wait("good", "running")["pid"]
        stack.write("good", f'{SLEEP}sandbox.level = "strict"\n')
        with pytest.raises(Refused) as refused:
            stack.call("ReloadUnits")
        [problem] = refused.value.parameters["problems"]
        assert (problem["line"], problem["key"]) == (2, "sandbox.level")
        assert "`unboxed learn` finds them" in problem["message"]
        assert stack.row("good")["pid"] == pid

"""Errors name the line on which the key stands."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.lines import Lines
from supervisor.config.load import load_text
from supervisor.config.problem import Broken

TEXT = '''\
# comment with [header]
description = """
[not.a.header]
key = "not a key"
"""
command = [
  "/bin/x",  # a ] in a comment
  "]",
]
a.b . "c d" = 1

[restart]
when = 'x'
limit = {count = 1, within = "[", then = "fail"}
  [ env ]
"quoted.key" = "="
[[listen]]
address = "tcp:1"
[[ listen ]]

name = "x"\r
[[listen]]
[listen.deep]
z = 1
'''


def test_every_kind_of_key_is_found() -> None:
    lines = Lines(TEXT)
    expected = {
        ("description",): 2,
        ("command",): 6,
        ("command", 1): 6,
        ("a",): 10,
        ("a", "b", "c d"): 10,
        ("restart",): 12,
        ("restart", "when"): 13,
        ("restart", "limit", "count"): 14,
        ("env",): 15,
        ("env", "quoted.key"): 16,
        ("listen",): 17,
        ("listen", 0, "address"): 18,
        ("listen", 1): 19,
        ("listen", 1, "name"): 21,
        ("listen", 2): 22,
        ("listen", 2, "deep", "z"): 24,
        ("nowhere",): 0,
        (): 0,
    }
    assert {where: lines.find(where) for where in expected} == expected


def test_a_problem_reads_file_line_key_reason() -> None:
    found = load_text("web", 'command = "/x"\n\n[restart]\nwhen = "sometimes"\n', "/u/web.toml")
    assert isinstance(found, Broken)
    (problem,) = found.problems
    assert str(problem) == (
        '/u/web.toml:4: restart.when: cannot use "sometimes": it is none of the words that are '
        'known; write "always" or "on-failure" or "on-abnormal" or "never"'
    )


def test_all_errors_come_at_once_in_order_of_line() -> None:
    text = 'x1 = 1\nuser = 5\n[stop]\nladder = ["A", 5, "B"]\n[[listen]]\n[[listen]]\nmode = 1\n'
    found = load_text("web", text, "f")
    assert isinstance(found, Broken)
    assert [(p.line, p.key) for p in found.problems] == [
        (1, "x1"),
        (1, ""),
        (2, "user"),
        (4, "stop.ladder[0]"),
        (4, "stop.ladder[1]"),
        (4, "stop.ladder[2]"),
        (5, "listen[0]"),
        (6, "listen[1]"),
        (7, "listen[1].mode"),
    ]


def test_ten_thousand_errors_are_a_hundred_and_a_word() -> None:
    found = load_text("web", "".join(f"k{n} = 1\n" for n in range(3000)), "f")
    assert isinstance(found, Broken)
    assert len(found.problems) == 101
    assert "more than 100" in found.problems[-1].message


@given(st.text(st.sampled_from("ab.=[]{}\"'#\n\\ \t,1")))
def test_any_text_has_lines(text: str) -> None:
    lines = Lines(text)
    assert 0 <= lines.find(("a", "b")) <= text.count("\n") + 1

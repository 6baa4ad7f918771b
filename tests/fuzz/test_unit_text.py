"""Any bytes are a Unit or a list of problems: never an exception, never slow, always printable."""
from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.config.build import BadText, build, document
from supervisor.config.load import load_text
from supervisor.config.problem import Broken
from supervisor.config.schema import walk
from supervisor.model.unit import Unit

KEYS = [path for path, _ in walk()]
PIECES = (
    "[restart]\n", "[[listen]]\n", "[[", "]]", "[", "]", "{", "}", "=", ".", ",", '"', "'", '"""',
    "'''", "\n", "\r\n", " ", "#", "\\", "\\u0000", "\0", "\x1b", "true", "nan", "1e9", "5", "-1",
    "0x", "1979-05-27", '"5s"', '"TERM"', '"512MiB"', '"tcp:80"', '["/bin/x"]', "{a=1}", "{unit}",
    "{port:x}", "\u00e9", "\U0001f600", "\ufeff", "inf", "_",
)  # fmt: skip
PARTS = st.sampled_from(KEYS) | st.sampled_from(PIECES)
SOUP = st.lists(PARTS, max_size=40).map("".join)

WORDS = (
    "TERM", "10s", "512MiB", "notify", "fd:3", "tcp:80", "unix:/x", "db", "/bin/x", "always",
    "task", "group", "cores", "none", "restart", "022", "ready",
)  # fmt: skip
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.dates(),
    st.times(),
    st.sampled_from(WORDS),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["unit", "until", "log", "exit", "count", "x"]), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(sorted({part for path in KEYS for part in path.split(".")})) | st.text()
DOCUMENTS = st.recursive(
    st.dictionaries(NAMES, VALUES, max_size=6),
    lambda inner: st.dictionaries(NAMES, inner | VALUES | st.lists(inner, max_size=3), max_size=4),
    max_leaves=8,
)


def _check(found: Unit | Broken) -> None:
    if isinstance(found, Unit):
        return
    assert found.problems
    for problem in found.problems:
        assert str(problem).isprintable()
        assert problem.message.startswith("cannot ")
        assert len(str(problem)) < 1000


@settings(max_examples=400, deadline=None)
@given(SOUP)
def test_any_text_is_a_unit_or_problems(text: str) -> None:
    started = time.process_time()
    found = load_text("web", text, "web.toml")
    assert time.process_time() - started < 0.1
    _check(found)
    if isinstance(found, Broken):
        assert all(0 <= problem.line <= text.count("\n") + 1 for problem in found.problems)


def _bad_text(data: bytes) -> BadText | None:
    try:
        document(data)
    except BadText as bad:
        return bad
    return None


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=4000) | SOUP.map(lambda text: text.encode("utf-16")))
def test_any_bytes_are_a_document_or_bad_text(data: bytes) -> None:
    bad = _bad_text(data)
    if bad:
        assert str(bad).startswith("cannot read it: ")
        assert 0 <= bad.line <= data.count(b"\n") + 1


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS)
def test_any_document_is_a_unit_or_faults(document: dict[str, object]) -> None:
    _, faults = build("web", "web.toml", document)
    for _, message in faults:
        assert message.startswith("cannot ")
        assert message.isprintable()

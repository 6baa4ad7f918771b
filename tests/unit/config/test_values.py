"""The text of durations, sizes, signals, modes, names and addresses: what is read and what not."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.address import ADDRESS
from supervisor.config.quantity import (
    DURATION,
    MAX_DURATION_NS,
    MODE,
    POSITIVE_DURATION,
    RELOAD_SIGNAL,
    SIGNAL,
    size,
)
from supervisor.config.render import size_text
from supervisor.config.table import Refused, Type, show
from supervisor.config.values import PATH, REGEX, UNIT_NAME
from supervisor.model.values import duration_text

SECOND = 1_000_000_000
SIZE = size(0)

GOOD = [
    (DURATION, 0, 0),
    (DURATION, 5, 5 * SECOND),
    (DURATION, 1.5, 1_500_000_000),
    (DURATION, 1e-9, 1),
    (DURATION, "0s", 0),
    (DURATION, "1.5s", 1_500_000_000),
    (DURATION, "100ms", 100_000_000),
    (DURATION, "10m", 600 * SECOND),
    (DURATION, "1h30m", 5400 * SECOND),
    (DURATION, "2d", 172_800 * SECOND),
    (DURATION, "0.000000001s", 1),
    (DURATION, "3us7ns", 3007),
    (DURATION, "3650d", MAX_DURATION_NS),
    (POSITIVE_DURATION, "1ns", 1),
    (SIZE, 0, 0),
    (SIZE, 4096, 4096),
    (SIZE, "512MiB", 512 << 20),
    (SIZE, "50MB", 50_000_000),
    (SIZE, "1.5GiB", 3 << 29),
    (SIZE, "1kB", 1000),
    (SIZE, "1KB", 1000),
    (SIZE, "7B", 7),
    (SIGNAL, "TERM", 15),
    (SIGNAL, "SIGTERM", 15),
    (SIGNAL, "term", 15),
    (SIGNAL, 15, 15),
    (SIGNAL, "15", 15),
    (SIGNAL, "RTMIN+3", 37),
    (SIGNAL, 64, 64),
    (RELOAD_SIGNAL, "USR1", 10),
    (MODE, "077", 0o077),
    (MODE, "0022", 0o022),
    (MODE, "2", 2),
    (MODE, "777", 0o777),
    (UNIT_NAME, "web", "web"),
    (UNIT_NAME, "0.a_b-c", "0.a_b-c"),
    (UNIT_NAME, "a" * 63, "a" * 63),
    (PATH, "/", "/"),
    (REGEX, r"listening on \d+", r"listening on \d+"),
    (REGEX, "(?i)ready|grün", "(?i)ready|grün"),
    (ADDRESS, "tcp:127.0.0.1:8080", ("tcp", "127.0.0.1", 8080, "")),
    (ADDRESS, "tcp:8080", ("tcp", "0.0.0.0", 8080, "")),  # noqa: S104 - that is its meaning
    (ADDRESS, "tcp:*:0", ("tcp", "0.0.0.0", 0, "")),  # noqa: S104 - that is its meaning
    (ADDRESS, "tcp:localhost:80", ("tcp", "127.0.0.1", 80, "")),
    (ADDRESS, "tcp6:[::1]:80", ("tcp6", "::1", 80, "")),
    (ADDRESS, "tcp6:[0:0:0:0:0:0:0:1]:80", ("tcp6", "::1", 80, "")),
    (ADDRESS, "tcp6:localhost:80", ("tcp6", "::1", 80, "")),
    (ADDRESS, "udp6:53", ("udp6", "::", 53, "")),
    (ADDRESS, "udp:10.0.0.1:53", ("udp", "10.0.0.1", 53, "")),
    (ADDRESS, "unix:/run/x.sock", ("unix", "", 0, "/run/x.sock")),
    (ADDRESS, "abstract:a:b", ("abstract", "", 0, "a:b")),
    (ADDRESS, "fifo:/run/x", ("fifo", "", 0, "/run/x")),
    (ADDRESS, "netlink:route", ("netlink", "", 0, "route")),
    (ADDRESS, "netlink:kobject-uevent 1", ("netlink", "", 0, "kobject-uevent 1")),
]

ODD = [None, True, False, [], {}, [1], {"a": 1}, float("nan"), float("inf"), -float("inf"), 1 << 99]

BAD: list[tuple[Type, list[object]]] = [
    (
        DURATION,
        ["", "5", "s", "1.s", ".5s", "-1s", "1 s", "1s1s", "1m30m", "1S", "5 parsecs", "1e3s",
         "0.5ns", "3651d", "9" * 30 + "s", "1" * 5000, "\u0663s", -1, -0.5, 1e-10, 1e300],
    ),
    (POSITIVE_DURATION, [0, "0s", 0.0]),
    (
        SIZE,
        ["", "5", "512M", "1.5B", "MiB", "-1MiB", "1 MiB", "1mib", "0.3KiB", "2000000TiB", -1, 1.5],
    ),
    (SIGNAL, ["", "FOO", "SIG", "0", "65", "RTMIN+31", "RTMIN+\u00b2", "9" * 5000, 0, 65, -1, 32,
              "33", 1.0]),
    (RELOAD_SIGNAL, ["KILL", "STOP", 9, 19]),
    (MODE, ["", "8", "07777", "1777", "0o77", "-77", "\u0667", 77, 0o77]),
    (UNIT_NAME, ["", "Web", "a b", "a/b", ".a", "-a", "_a", "a" * 64, "ä", "a\n", "a\0", 5]),
    (PATH, ["", "a", "./a", "~/a", "/a\0b", "/" + "a" * 4095, 5]),
    (REGEX, ["", "(", "[", "*", "a" * 1025, "(?P<a>x)(?P<a>y)", "[[a]", "(" * 500, 5]),
    (
        ADDRESS,
        ["", "tcp", "tcp:", "8080", ":8080", "http:80", "tcp:x:80", "tcp:1.2.3:80", "tcp:::1:80",
         "tcp:127.0.0.1:", "tcp:127.0.0.1:65536", "tcp:127.0.0.1:-1", "tcp:127.0.0.1:\u0663",
         "tcp:[::1]:80", "tcp6:::1:80", "tcp6:[::1]", "tcp6:[x]:1", "tcp6:[fe80::1%lo]:1",
         "tcp:256.0.0.1:1", "tcp:1.2.3.4\0:1", "unix:run/x", "unix:/", "unix:/" + "x" * 107,
         "unix:/a\0b", "unix-datagram:x", "unix-datagram:/" + "x" * 107,
         "abstract:", "abstract:a\n", "abstract:" + "x" * 108, "fifo:x",
         "netlink:", "netlink:foo", "netlink:route x", "netlink:route 4294967296", 80],
    ),
]  # fmt: skip


@pytest.mark.parametrize("kind, value, meant", GOOD)
def test_reads(kind: Type, value: object, meant: object) -> None:
    assert kind.parse(value) == meant


@pytest.mark.parametrize(
    "kind, value",
    [(kind, value) for kind, values in BAD for value in values]
    + [(kind, value) for kind, _ in BAD for value in ODD],
)
def test_refuses(kind: Type, value: object) -> None:
    with pytest.raises(Refused) as refused:
        kind.parse(value)
    for _, message in refused.value.faults:
        assert message.startswith("cannot ")
        assert message.isprintable()
        assert len(message) < 400


@given(st.integers(0, MAX_DURATION_NS))
def test_a_duration_survives_its_own_text(ns: int) -> None:
    assert DURATION.parse(duration_text(ns)) == ns


@given(st.one_of(st.integers(0, 1 << 60), st.integers(0, 1 << 20).map(lambda n: n << 20)))
def test_a_size_survives_its_own_text(number: int) -> None:
    text = size_text(number)
    assert SIZE.parse(int(text) if text == "0" else text) == number


ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.datetimes(),
        st.text("0123456789.smhdKMiB:[]!/-"),
    ),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.sampled_from([kind for kind, _ in BAD]), ANYTHING)
def test_no_value_is_more_than_refused(kind: Type, value: object) -> None:
    try:
        kind.parse(value)
    except Refused as refused:
        assert refused.faults  # noqa: PT017 - either outcome is right, any other exception is not


@given(ANYTHING)
def test_a_quoted_value_is_short_and_printable(value: object) -> None:
    text = show(value)
    assert text.isprintable()
    assert len(text) <= 60 * 10 + 5

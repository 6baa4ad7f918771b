"""The fewest promises for what was seen: forced and combined words, choices, what none allows."""
from __future__ import annotations

import pytest

from supervisor.kernel.seccomp.least import Least, Seen, allowed, least, shape
from supervisor.kernel.seccomp.words import WORDS

AT_FDCWD = 2**64 - 100
INET, INET6, UNIX, NETLINK = 2, 10, 1, 16
STREAM, DGRAM = 1, 2


def seen(call: str, *args: int, family: int = 0) -> Seen:
    padded = (*args, *(0 for _ in range(6 - len(args))))
    return Seen(call, shape(call, padded), family)


def opened(flags: int) -> Seen:
    return seen("openat", AT_FDCWD, 0x7000, flags, 0o644)


def words(*calls: Seen) -> tuple[str, ...]:
    return least(calls).words


def test_nothing_seen_takes_stdio_alone() -> None:
    assert least(()) == Least(("stdio",), {"stdio": ()}, ())


def test_what_stdio_allows_takes_no_word_and_is_no_reason() -> None:
    assert least([seen("read", 3), seen("ioctl", 1, 0x5401)]).why == {"stdio": ()}


@pytest.mark.parametrize(
    "flags, expected",
    [
        (0, ("stdio", "rpath")),
        (1, ("stdio", "wpath")),
        (2, ("stdio", "rpath", "wpath")),
        (1 | 0o100, ("stdio", "wpath", "cpath")),
        (0o100, ("stdio", "rpath", "cpath")),
        (2 | 0o100 | 0o1000, ("stdio", "rpath", "wpath", "cpath")),
        (0o1000, ("stdio", "rpath", "wpath")),
    ],
)
def test_open_takes_the_words_of_its_flags(flags: int, expected: tuple[str, ...]) -> None:
    assert words(opened(flags)) == expected


def test_each_set_that_is_found_allows_what_it_was_found_for() -> None:
    """By the rules that are compiled: any one call of any word."""
    for word, what in WORDS.items():
        if word == "app":
            continue
        for call in what.calls:
            one = seen(call, 0, 0, 0, 0, 0, 0)
            found = least([one])
            assert not found.never or call in found.never
            if not found.never:
                assert allowed(found.words, call, one.shape), (word, call)


def test_a_choice_is_made_for_the_word_that_is_needed_anyway() -> None:
    """stat is rpath's and wpath's; a file is written."""
    assert words(seen("stat", 0x7000), opened(1)) == ("stdio", "wpath")
    assert words(seen("stat", 0x7000)) == ("stdio", "rpath")


def test_a_sockets_family_decides_between_words_that_a_filter_cannot_tell_apart() -> None:
    inet = [seen("socket", INET, STREAM), seen("bind", 3, 0x7000, 16, family=INET),
            seen("listen", 3, 9, family=INET)]
    unix = [seen("socket", UNIX, STREAM), seen("connect", 3, 0x7000, 110, family=UNIX)]
    assert words(*inet) == ("stdio", "inet")
    assert words(*unix) == ("stdio", "unix")
    assert words(*inet, *unix) == ("stdio", "unix", "inet")
    found = least([*inet, *unix])
    assert found.why["unix"] == ("connect", "socket")
    assert found.why["inet"] == ("bind", "listen", "socket")


def test_a_message_of_a_unix_socket_takes_the_word_for_messages() -> None:
    assert words(seen("recvmsg", 3, 0x7000, family=UNIX)) == ("stdio", "recvfd")
    assert words(seen("recvmsg", 3, 0x7000, family=INET)) == ("stdio", "inet")


def test_netlink_beside_a_client_is_name_resolution() -> None:
    assert words(seen("socket", NETLINK, 3, 0), seen("socket", INET, DGRAM, 0)) == ("stdio", "dns")


def test_threads_are_stdio_and_processes_are_not() -> None:
    assert words(seen("clone", 0x3D0F00)) == ("stdio",)
    assert words(seen("clone", 0x1200011)) == ("stdio", "proc")


def test_what_no_word_allows_is_named_and_chooses_nothing() -> None:
    found = least([seen("ioctl", 0, 0x5412), seen("reboot", 0, 0, 0), seen("flock", 3, 2)])
    assert found.words == ("stdio", "flock")
    assert found.never == ("ioctl", "reboot")


def test_a_shape_keeps_what_rules_see_and_no_more() -> None:
    assert shape("openat", (3, 0x7000, 0o2000000 | 2, 0o644, 1, 1)) == (0, 0, 2, 0, 0, 0)
    assert shape("sendto", (3, 0x7000, 5, 0, 0x7100, 16)) == (0, 0, 0, 0, 1, 0)
    assert shape("socket", (2 | 1 << 32, 1, 0, 0, 0, 0))[0] == 2  # the kernel drops the upper half

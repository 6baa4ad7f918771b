"""What each ABI of Landlock knows, and the calls that a ruleset becomes."""
from __future__ import annotations

import struct
from typing import Any, cast

import pytest

from supervisor.kernel.calls import Struct
from supervisor.kernel.sandbox import ruleset as r
from supervisor.kernel.sandbox.ruleset import Ruleset

# The number of rights on files that each ABI knows: the highest bit of its header.
FILES = {0: 0, 1: 13, 2: 14, 3: 15, 4: 15, 5: 16, 6: 16, 7: 16, 8: 16, 9: 17, 10: 17}
EINVAL = 22


def steps(rules: Ruleset, abi: int, **more: bool) -> list[tuple[str, tuple[Any, ...], int]]:
    """(name, arguments, tolerated errno) of each call."""
    found = []
    for step in r.steps(rules, abi, **more):
        assert step.name == "CALL"
        name, args, _, tolerate, words = cast(
            "tuple[str, tuple[Any, ...], str, int, str]", step.args
        )
        assert words
        found.append((name, args, tolerate))
    return found


@pytest.mark.parametrize("abi", FILES)
def test_each_abi_knows_the_rights_of_its_header(abi: int) -> None:
    assert r.files(abi) == (1 << FILES[abi]) - 1
    assert r.network(abi) == (0 if abi < 4 else 0b11 if abi < 10 else 0b1111)
    assert r.scopes(abi) == (0 if abi < 6 else 0b11)


@pytest.mark.parametrize("abi, size", [(1, 8), (3, 8), (4, 16), (5, 16), (6, 24), (10, 24)])
def test_the_attribute_is_as_long_as_the_abi_has_it(abi: int, size: int) -> None:
    rules = Ruleset(r.READ, r.BIND_TCP & r.network(abi), r.SIGNALS & r.scopes(abi))
    name, (attr, length), _ = steps(rules, abi)[0]
    assert (name, length) == ("landlock_create_ruleset", size)
    fields = struct.pack("<QQQ", rules.files, rules.network, rules.scopes)[:size]
    assert attr == Struct((fields,))


def test_nothing_limited_is_no_domain() -> None:
    assert r.steps(Ruleset(paths=(("/", r.READ),)), 7) == ()


def test_a_path_is_given_what_files_may_have_first_and_then_all() -> None:
    made = steps(Ruleset(r.READ | r.WRITE, paths=(("/srv", r.READ), ("/srv", r.WRITE))), 7)
    added = [(args[2].parts[0], tolerate) for name, args, tolerate in made if name.endswith("rule")]
    both = r.READ | r.WRITE
    assert added == [
        (struct.pack("<Q", both & r.ON_FILES), 0), (struct.pack("<Q", both), EINVAL)
    ]  # fmt: skip
    assert [name for name, _, _ in made].count("openat2") == 2
    assert [name for name, _, _ in made].count("close") == 2


def test_no_link_is_followed_to_a_path() -> None:
    _, opened, *_ = steps(Ruleset(r.EXECUTE, paths=(("/bin/true", r.EXECUTE),)), 1)
    flags, mode, resolve = struct.unpack("<QQQ", opened[1][2])
    assert (flags, mode, resolve) == (0o12000000, 0, 0x04)  # O_PATH | O_CLOEXEC; NO_SYMLINKS


def test_rights_that_are_not_limited_are_not_asked_for() -> None:
    made = steps(Ruleset(r.EXECUTE, paths=(("/lib", r.READ), ("/bin", r.READ | r.EXECUTE))), 7)
    assert [args[1] for name, args, _ in made if name == "openat2"] == ["/bin"]
    (attr,) = [args[2] for name, args, _ in made if name == "landlock_add_rule"]
    assert attr.parts[0] == struct.pack("<Q", r.EXECUTE)


def test_ports_are_numbers_of_the_host_s_order() -> None:
    ports = ((8080, r.BIND_TCP), (8080, r.CONNECT_TCP), (53, r.CONNECT_UDP))
    made = steps(Ruleset(network=r.BIND_TCP | r.CONNECT_TCP, ports=ports), 7)
    added = [args for name, args, _ in made if name == "landlock_add_rule"]
    assert [args[1:] for args in added] == [(2, Struct((struct.pack("<QQ", 3, 8080),)))]


def test_refusals_are_logged_from_the_seventh_abi_on() -> None:
    flags = [steps(Ruleset(r.READ), abi, log=True)[-1][1][1] for abi in (6, 7)]
    assert flags == [0, 2]
    assert steps(Ruleset(r.READ), 7)[-1][1][1] == 0


def test_the_classes_of_rights_cover_all_of_them() -> None:
    assert r.files(r.NEWEST) == r.READ | r.WRITE | r.EXECUTE | r.RESOLVE_UNIX
    assert not r.READ & r.WRITE
    assert not r.EXECUTE & (r.READ | r.WRITE)

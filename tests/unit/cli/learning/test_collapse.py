"""Few paths out of many, and never more than what was used."""
from __future__ import annotations

from collections.abc import Mapping

import pytest

from supervisor.cli.learning.collapse import MOST, Lists, below, known, lists

OWN = ("/usr/lib", "/lib", "/usr/bin/prog", "/etc/ld.so.cache")
WORDS = (("@state", "/var/lib/web"), ("@tmp", "/tmp"), ("@tmp", "/dev/shm"))


def collapsed(uses: Mapping[str, str], *directories: str, devices: tuple[str, ...] = ()) -> Lists:
    kinds = dict.fromkeys(uses, "file")
    kinds |= dict.fromkeys(directories, "directory") | dict.fromkeys(devices, "device")
    return lists({path: use.split() for path, use in uses.items()}, kinds, OWN, WORDS)


def read(*paths: str, directories: tuple[str, ...] = ()) -> tuple[str, ...]:
    return collapsed(dict.fromkeys(paths, "read"), *directories).read


def test_few_files_of_a_directory_are_listed_and_many_are_the_directory() -> None:
    few = [f"/srv/www/{name}" for name in range(MOST)]
    assert read(*few) == tuple(few)
    assert read(*few, "/srv/www/more") == ("/srv/www",)


def test_directories_that_come_of_it_count_as_entries_of_the_next() -> None:
    many = [f"/srv/www/{a}/{b}" for a in range(MOST + 1) for b in range(MOST + 1)]
    assert read(*many) == ("/srv/www",)


@pytest.mark.parametrize("top", ["/etc", "/home", "/home/ann", "/usr/share", "/srv", "/sys/class"])
def test_where_others_have_files_each_is_listed(top: str) -> None:
    many = [f"{top}/{name}" for name in "abcdefgh"]
    if top == "/home":  # each of these is somebody's whole
        assert collapsed(dict.fromkeys(many, "read")).read == ()
    else:
        assert read(*many) == tuple(many)


def test_what_lies_below_a_listed_directory_is_not_listed_again() -> None:
    assert read("/srv/www", "/srv/www/a/b", directories=("/srv/www",)) == ("/srv/www",)


def test_what_self_has_and_what_every_service_has_is_left_out() -> None:
    assert read("/usr/lib/x/y.so", "/usr/bin/prog", "/proc/self/status", "/dev/null") == ()
    assert known("/dev/urandom")
    assert not known("/dev/fuse")


def test_state_and_temporary_files_are_words() -> None:
    found = collapsed({"/var/lib/web/a/b": "write", "/tmp/x": "write", "/var/lib/web/c": "read"})
    assert found.write == ("@state", "@tmp")
    assert found.read == ()  # what may be written may be read
    assert collapsed({"/var/lib/web/c": "read"}).read == ("@state",)


def test_what_may_be_written_is_not_listed_for_reading() -> None:
    found = collapsed({"/srv/data": "write", "/srv/data/x": "read"}, "/srv/data")
    assert (found.read, found.write) == ((), ("/srv/data",))


def test_a_directory_that_was_only_looked_at_is_listed_if_nothing_below_is() -> None:
    assert collapsed({"/srv/www": "look", "/srv/www/a": "read"}, "/srv/www").read == (
        "/srv/www/a",)
    assert collapsed({"/srv/www": "look"}, "/srv/www").read == ("/srv/www",)
    assert collapsed({"/srv": "look", "/": "look read"}, "/srv", "/") == Lists((), (), (), (), ())


def test_a_shared_directory_is_never_granted_and_is_named() -> None:
    found = collapsed({"/etc": "read", "/var/lib": "write"}, "/etc", "/var/lib")
    assert (found.read, found.write, found.shared) == ((), (), ("/etc", "/var/lib"))


def test_programs_are_listed_one_by_one_and_not_for_reading_too() -> None:
    found = collapsed({f"/bin/{name}": "look exec" for name in "abcdef"} | {"/usr/lib/x": "exec"})
    assert found.exec == tuple(f"/bin/{name}" for name in "abcdef")
    assert found.read == ()


def test_devices_have_a_key_of_their_own() -> None:
    found = collapsed({"/dev/fuse": "read write", "/dev/null": "write"},
                      devices=("/dev/fuse", "/dev/null"))
    assert (found.devices, found.read, found.write) == (("/dev/fuse",), (), ())


def test_below_goes_by_whole_names() -> None:
    assert below("/a/b", ("/a",))
    assert below("/a", ("/a",))
    assert below("/a", ("/",))
    assert not below("/ab", ("/a",))

"""Notes: what is there, what is not, what comes into being; sockets that nobody answers."""
from __future__ import annotations

from supervisor.cli.learning.notes import Address, Found, Notes

INET, UNIX, STREAM = 2, 1, 1


def found(path: str, kind: str = "file") -> Found:
    return Found(path, path, kind)


def test_what_is_not_there_is_counted_once_and_is_no_use() -> None:
    notes = Notes()
    for use in ("look", "look", "read"):
        notes.path(found("/etc/none", ""), use)
    assert notes.absent == {"/etc/none"}
    assert not notes.uses


def test_a_file_that_is_made_is_a_change_of_its_directory() -> None:
    notes = Notes()
    notes.path(found("/srv/new", ""), "look")
    for use in ("write", "make"):  # O_WRONLY | O_CREAT
        notes.path(found("/srv/new", ""), use)
    assert notes.uses == {"/srv": {"write"}}
    assert notes.kinds == {"/srv": "directory"}
    assert not notes.absent


def test_an_entry_of_the_root_belongs_to_the_root() -> None:
    notes = Notes()
    notes.path(found("/new", ""), "make")
    assert notes.uses == {"/": {"write"}}


def test_the_uses_of_a_path_add_up() -> None:
    notes = Notes()
    notes.path(found("/srv/a"), "look")
    notes.path(found("/srv/a"), "read")
    assert notes.uses == {"/srv/a": {"look", "read"}}


def test_calls_that_no_rule_tells_apart_are_one_note() -> None:
    notes = Notes()
    notes.call("openat", (3, 0x7000, 0o2000000, 0, 0, 0))
    notes.call("openat", (9, 0x8000, 0, 0o777, 1, 2))
    assert list(notes.calls.values()) == [2]


def test_a_unix_socket_that_reaches_nobody_needs_no_promise() -> None:
    """A C library asks for nscd before it reads /etc/passwd."""
    notes = Notes()
    notes.call("socket", (UNIX, STREAM, 0, 0, 0, 0))
    notes.call("socket", (INET, STREAM, 0, 0, 0, 0))
    notes.address(Address("unix", "/run/nscd/socket"), "connect", there=False)
    assert [one.shape[0] for one in notes.needed()] == [INET]
    assert notes.absent == {"/run/nscd/socket"}
    notes.address(Address("unix", "/run/db.sock"), "connect")
    assert [one.shape[0] for one in notes.needed()] == [UNIX, INET]


def test_binding_is_listening_and_other_families_are_no_address() -> None:
    notes = Notes()
    notes.address(Address("tcp", "::", 80), "bind")
    notes.address(Address("udp", "10.0.0.1", 53), "connect")
    notes.address(Address("", "10.0.0.1", 0), "connect")  # ping
    assert notes.listens == {Address("tcp", "::", 80)}
    assert notes.connects == {Address("udp", "10.0.0.1", 53)}

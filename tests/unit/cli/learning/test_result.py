"""The text that comes of notes: config takes it as it stands, and it says what it leaves out."""
from __future__ import annotations

import tomli

from supervisor.cli.learning.notes import Address, Found, Notes
from supervisor.cli.learning.result import Result, Subject, result, to_toml
from supervisor.config.build import build
from supervisor.model.unit import Unit

SUBJECT = Subject("web", ("/usr/lib",), (("@tmp", "/tmp"),), 3.0)
INET, UNIX, STREAM = 2, 1, 1


def call(notes: Notes, name: str, *args: int, family: int = 0) -> None:
    notes.call(name, (*args, *(0 for _ in range(6 - len(args)))), family)


def server() -> Notes:
    notes = Notes()
    call(notes, "socket", INET, STREAM)
    call(notes, "bind", 3, 1, 16, family=INET)
    call(notes, "openat", 3, 1, 0)
    notes.path(Found("/srv/www/index.html", "/srv/www/index.html", "file"), "read")
    notes.path(Found("/etc/none", "/etc/none", ""), "read")
    notes.address(Address("tcp", "::", 8080), "bind")
    return notes


def understood(notes: Notes, subject: Subject = SUBJECT) -> tuple[Result, str, Unit]:
    found = result(notes, subject)
    text = to_toml(found, subject, notes)
    unit, faults = build("web", "web.toml", {"command": ["/bin/web"], **tomli.loads(text)})
    assert not faults, faults
    assert unit is not None
    return found, text, unit


def test_a_unit_file_takes_it_as_it_stands() -> None:
    _, text, unit = understood(server())
    assert unit.sandbox is not None
    assert unit.network is not None
    assert unit.sandbox.level == "strict"
    assert unit.sandbox.promises == ("stdio", "rpath", "inet")
    assert unit.sandbox.read == ("/srv/www/index.html",)
    assert (unit.sandbox.write, unit.sandbox.exec) == ((), ("@self",))
    assert [rule.port for rule in unit.network.listen or ()] == [8080]
    assert (unit.network.connect, unit.network.unix) == ((), ())
    assert '"inet",  # bind, socket' in text
    assert "1 paths that are not there" in text


def test_files_of_content_that_are_listed_one_by_one_come_with_a_warning() -> None:
    notes = server()
    notes.path(Found("/etc/web/web.conf", "/etc/web/web.conf", "file"), "read")
    warned = [line for line in understood(notes)[1].splitlines() if "one by one" in line]
    assert [line.rpartition(": ")[2] for line in warned] == ["/srv/www"]
    assert "one by one" not in understood(Notes())[1]


def test_a_server_that_was_left_before_it_listened_gets_the_word_for_its_port() -> None:
    notes = Notes()
    call(notes, "socket", INET, STREAM)
    call(notes, "bind", 3, 1, 16, family=INET)
    notes.address(Address("tcp", "::", 8080), "bind")
    notes.address(Address("unix", "/run/a"), "connect")
    promises = understood(notes)[2].sandbox
    assert promises is not None
    assert {"inet", "unix"} <= set(promises.promises or ())


def test_programs_that_it_starts_take_the_word_for_them() -> None:
    notes = server()
    call(notes, "execve", 1, 2, 3)
    notes.path(Found("/usr/bin/convert", "/usr/bin/convert", "file"), "exec")
    _, _, unit = understood(notes)
    assert unit.sandbox is not None
    assert "exec" in (unit.sandbox.promises or ())
    assert unit.sandbox.exec == ("@self", "/usr/bin/convert")


def test_a_port_that_the_kernel_chooses_is_any_and_makes_others_needless() -> None:
    notes = server()
    notes.address(Address("tcp", "::", 0), "bind")
    notes.address(Address("udp", "::", 53), "bind")
    assert result(notes, SUBJECT).listen == ("tcp:*", "udp:53")


def test_connections_are_ports_and_those_that_only_sort_addresses_are_none() -> None:
    notes = server()
    for address in (
        Address("tcp", "10.0.0.1", 5432), Address("udp", "10.0.0.1", 5432),
        Address("udp", "10.0.0.2", 53), Address("udp", "::", 8080),
        Address("tcp", "10.0.0.9", 5432), Address("udp", "10.0.0.7", 0),
    ):  # fmt: skip
        notes.address(address, "connect")
    found, text, _ = understood(notes)
    assert found.connect == ("tcp:5432", "udp:53")
    assert "10.0.0.9 port 5432" in text


def test_unix_sockets_are_paths_and_abstract_ones_a_remark() -> None:
    notes = server()
    call(notes, "socket", UNIX, STREAM)
    notes.address(Address("unix", "/run/db.sock"), "connect")
    notes.address(Address("abstract", "x11"), "connect")
    found, text, unit = understood(notes)
    assert unit.network is not None
    assert unit.network.unix == ("/run/db.sock",)
    assert "which no list can name: @x11" in text
    assert found.unix == ("/run/db.sock",)


def test_what_text_cannot_say_is_a_comment_and_harms_nothing() -> None:
    notes = server()
    for name in ('/srv/a\nlevel = "off"', "/srv/b\x1b[2J", "/srv/c\udcff", '/srv/"d'):
        notes.path(Found(name, name, "file"), "write")
    _, text, unit = understood(notes)
    assert unit.sandbox is not None
    assert unit.sandbox.write == ('/srv/"d',)
    assert text.count("# write cannot list") == 3
    assert "\x1b" not in text


def test_what_no_promise_allows_and_what_is_not_granted_is_said() -> None:
    notes = server()
    call(notes, "reboot", 1)
    notes.path(Found("/etc", "/etc", "directory"), "read")
    _, text, _ = understood(notes, SUBJECT._replace(hooks=True))
    assert "refused whatever is promised: reboot" in text
    assert "# not granted as a whole, since others' files are there: /etc;" in text
    assert "were not seen" in text


def test_a_dynamic_user_is_not_promised_to_become_another() -> None:
    notes = server()
    call(notes, "setgid", 33)
    call(notes, "setuid", 33)
    assert "id" in result(notes, SUBJECT).promises
    found, text, _ = understood(notes, SUBJECT._replace(dynamic=True))
    assert "id" not in found.promises
    assert "# refused, since a dynamic user can become nobody: setgid, setuid" in text


def test_what_owners_refuse_is_told_unless_it_was_used_after_all() -> None:
    notes = server()
    notes.refused |= {"/srv/www/index.html", "/srv/www/new"}
    assert "# 1 paths belong to others, who do not let it, and are left out: /srv/www/new\n" in (
        understood(notes)[1])


def test_long_lists_have_a_line_for_each() -> None:
    notes = server()
    for name in range(3):
        path = f"/srv/a-directory-with-a-long-name/{name}/file-with-a-long-name"
        notes.path(Found(path, path, "file"), "read")
    _, text, unit = understood(notes)
    assert unit.sandbox is not None
    assert len(unit.sandbox.read or ()) == 4
    assert "read = [\n    " in text

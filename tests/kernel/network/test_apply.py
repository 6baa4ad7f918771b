"""network.toml applied to a real kernel, in a network namespace of its own."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from supervisor.boot import network as step
from supervisor.boot import online
from supervisor.boot.net.netlink import LINKS, Netlink, NoLibrary, Refusal
from supervisor.boot.net.places import Places
from tests.kernel.network.kit import Place, needs
from tests.stack import ROOT

STATIC = """
[interface.a0]
addresses = ["192.0.2.10/24", "2001:db8::10/64"]
gateway = ["192.0.2.1", "2001:db8::1"]
mtu = 1400
mac = "52:54:00:12:34:56"
accept_ra = false
[[interface.a0.routes]]
to = "10.0.0.0/8"
via = "192.0.2.254"
metric = 7
[dns]
servers = ["192.0.2.53"]
search = ["example.org"]
"""


def test_a_static_interface_is_made_once_and_taken_away_again(
    cables: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    before = cables.link("a0")
    cables.ip.addr("add", index=cables.index("a0"), address="10.99.0.1", prefixlen=16)  # a stranger
    assert cables.apply(STATIC) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert said.out.splitlines()[0] == "set lo up"
    assert cables.addresses("a0") == {"192.0.2.10/24", "2001:db8::10/64", "10.99.0.1/16"}
    routes = {"all via 192.0.2.1", "all via 2001:db8::1", "10.0.0.0/8 via 192.0.2.254"}
    assert cables.routes("a0") == routes
    link = cables.link("a0")
    assert link["state"] == "up"
    assert (link.get_attr("IFLA_MTU"), link.get_attr("IFLA_ADDRESS")) == (1400, "52:54:00:12:34:56")
    assert Path("/proc/sys/net/ipv6/conf/a0/accept_ra").read_text() == "0\n"
    assert Path(cables.where.resolv).read_text().splitlines()[1:] == [
        "nameserver 192.0.2.53", "search example.org",
    ]

    with Netlink(0x10 | 0x100 | LINKS) as events:  # again: nothing at all
        assert cables.apply(STATIC) == 0
        assert capfd.readouterr().out == ""
        events.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            events.socket.recv(1)

    assert step.main(["--show"], Places("/nonexistent", cables.where.folder, "/none")) == 0
    assert "remove 192.0.2.10/24 from a0" in capfd.readouterr().out
    assert cables.apply("") == 0
    assert cables.addresses("a0") == {"10.99.0.1/16"}  # the stranger's
    assert cables.routes("a0") == set()
    link = cables.link("a0")
    assert link["state"] == "down"
    for name in ("IFLA_MTU", "IFLA_ADDRESS"):
        assert link.get_attr(name) == before.get_attr(name)
    assert Path("/proc/sys/net/ipv6/conf/a0/accept_ra").read_text() == "1\n"
    assert not Path(cables.where.resolv).exists()


def test_an_address_that_goes_takes_no_strangers_along(cables: Place) -> None:
    assert cables.apply(STATIC) == 0
    cables.ip.addr("add", index=cables.index("a0"), address="192.0.2.99", prefixlen=24)
    assert cables.apply("[interface.a0]\n") == 0
    assert cables.addresses("a0") == {"192.0.2.99/24"}


def test_what_was_there_before_the_file_named_it_stays(cables: Place) -> None:
    a0 = cables.index("a0")
    cables.ip.link("set", index=a0, state="up")
    cables.ip.addr("add", index=a0, address="192.0.2.10", prefixlen=24)
    cables.ip.route("add", dst="default", gateway="192.0.2.1", oif=a0)
    assert cables.apply(STATIC) == 0
    assert "2001:db8::10/64" in cables.addresses("a0")
    assert cables.apply("[interface.a0]\n") == 0
    assert cables.addresses("a0") == {"192.0.2.10/24"}
    assert cables.routes("a0") == {"all via 192.0.2.1"}
    assert cables.apply("") == 0
    assert cables.addresses("a0") == {"192.0.2.10/24"}
    assert cables.link("a0")["state"] == "up"


def test_what_changed_in_the_file_changes_and_nothing_else(
    cables: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cables.apply(STATIC) == 0
    capfd.readouterr()
    assert cables.apply(STATIC.replace("192.0.2.10/24", "192.0.2.11/24")) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[:2] == ["remove 192.0.2.10/24 from a0", "add 192.0.2.11/24 to a0"]
    assert cables.addresses("a0") == {"192.0.2.11/24", "2001:db8::10/64"}
    # The kernel takes routes along with the last address of their network; they come back.
    assert "all via 192.0.2.1" in cables.routes("a0")


@pytest.mark.parametrize("text", [
    "[interface.a0]\naddresses = '192.0.2.10'\n", "[interface.a0", "[interface.a0]\nmtuu = 5\n",
])  # fmt: skip
def test_a_broken_file_changes_nothing(
    text: str, cables: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cables.apply(STATIC) == 0
    capfd.readouterr()
    assert cables.apply(text) == 1
    said = capfd.readouterr()
    assert "network.toml:" in said.err
    assert "the network is left as it is" in said.err
    assert said.out == ""
    assert "192.0.2.10/24" in cables.addresses("a0")


TYPO = "[interface.a0]\ndhpc = true\n"


def test_at_boot_the_last_good_file_takes_the_place_of_a_broken_one(
    cables: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    last, console = tmp_path / "state" / "last.toml", tmp_path / "console"
    console.touch()
    cables.where = replace(cables.where, last=str(last), console=str(console))
    assert cables.apply(STATIC) == 0
    assert (last.read_text(), last.stat().st_mode & 0o7777) == (STATIC, 0o600)
    assert cables.apply("") == 0
    assert last.read_text() == ""  # that, too, is what was wanted
    assert cables.apply(STATIC) == 0
    assert cables.apply(STATIC.replace("mtu = 1400", "mtu = 65536")) == 1  # refused by the kernel
    assert last.read_text() == STATIC
    shutil.rmtree(cables.where.folder)  # another boot
    for address, bits in (("192.0.2.10", 24), ("2001:db8::10", 64)):
        cables.ip.addr("del", index=cables.index("a0"), address=address, prefixlen=bits)
    capfd.readouterr()

    assert cables.apply(TYPO) == 1  # by hand
    assert cables.addresses("a0") == set()
    assert console.read_text() == capfd.readouterr().out == ""
    assert step.main(["--boot"], cables.where) == 1
    assert cables.addresses("a0") == {"192.0.2.10/24", "2001:db8::10/64"}
    said = capfd.readouterr().err.splitlines()
    where = f"{cables.where.file}:2: interface.a0.dhpc: "
    assert said[0].startswith(where)
    assert said[1].startswith(f"cannot use {cables.where.file}: see above; the last one that was")
    assert console.read_text().startswith(f"network: {where}")
    assert console.read_text().endswith("; the last good file is used instead\n")
    assert last.read_text() == STATIC
    assert online.main([], cables.where) == 0
    assert "cannot use" in capfd.readouterr().err


@pytest.mark.parametrize("kept", ["", "[interface"])
def test_with_nothing_good_to_boot_with_the_console_says_so(
    kept: str, cables: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    last, console = tmp_path / "last.toml", tmp_path / "console"
    console.touch()
    if kept:
        last.write_text(kept)
    Path(cables.where.file).write_text(TYPO)
    where = replace(cables.where, last=str(last), console=str(console))
    assert step.main(["--boot"], where) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert "interface.a0.dhpc" in said.err
    assert (f"{last}:1" in said.err) == bool(kept)
    assert console.read_text().endswith("; no network is set up\n")


def test_a_copy_that_cannot_be_kept_is_told_and_the_network_is_up(
    cables: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    cables.where = replace(cables.where, last="/dev/null/last.toml")
    assert cables.apply("[interface.a0]\naddresses = '192.0.2.10/24'\n") == 0
    assert "cannot keep a copy of" in capfd.readouterr().err
    assert cables.addresses("a0") == {"192.0.2.10/24"}


def test_what_the_kernel_refuses_is_told_and_the_rest_is_done(
    cables: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    text = STATIC.replace("mtu = 1400", "mtu = 65536")
    assert cables.apply(text) == 1
    error = capfd.readouterr().err
    assert error.startswith("cannot set the MTU of a0 to 65536: invalid argument (")  # its words
    assert error.count("\n") == 1
    assert "192.0.2.10/24" in cables.addresses("a0")


def test_a_bridge_joins_its_ports_and_lets_them_go(cables: Place) -> None:
    needs(cables, "bridge")
    text = '[interface.br0]\nbridge = {ports = ["a0", "a1"]}\naddresses = "10.0.0.1/24"\n'
    assert cables.apply(text) == 0
    bridge = cables.index("br0")
    assert cables.link("a0").get_attr("IFLA_MASTER") == bridge
    assert cables.link("a1").get_attr("IFLA_MASTER") == bridge
    assert cables.apply(text.replace('"a0", ', "")) == 0
    assert cables.index("br0") == bridge  # the same one
    assert cables.link("a0").get_attr("IFLA_MASTER") is None
    assert cables.apply("") == 0
    assert not cables.ip.link_lookup(ifname="br0")
    assert cables.link("a1")["state"] == "down"


def test_a_stack_of_bond_vlan_and_bridge(
    cables: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    for kind in ("bond", "vlan", "bridge"):
        needs(cables, kind)
    cables.ip.link("set", index=cables.index("a0"), state="up")
    text = """
[interface.bond0]
bond = {members = ["a0", "a1"], mode = "active-backup", primary = "a1", updelay = "200ms"}
mtu = 1450
[interface.guests]
vlan = {link = "bond0", id = 20}
[interface.br0]
bridge = {ports = ["guests"], stp = true, forward_delay = "4s"}
addresses = "10.20.0.1/24"
[interface."bond0.10"]
vlan = {link = "bond0", id = 10}
addresses = "10.10.0.2/24"
gateway = "10.10.0.1"
"""
    assert cables.apply(text) == 0, capfd.readouterr()
    bond = cables.link("bond0")
    data = bond.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    assert data.get_attr("IFLA_BOND_MODE") == 1
    assert data.get_attr("IFLA_BOND_MIIMON") == 100
    assert data.get_attr("IFLA_BOND_UPDELAY") == 200
    assert data.get_attr("IFLA_BOND_PRIMARY") == cables.index("a1")
    for member in ("a0", "a1"):
        assert cables.link(member).get_attr("IFLA_MASTER") == bond["index"]
        assert cables.link(member).get_attr("IFLA_MTU") == 1450
        assert cables.link(member)["state"] == "up"
    vlan = cables.link("bond0.10")
    assert vlan.get_attr("IFLA_LINK") == bond["index"]
    assert cables.routes("bond0.10") == {"all via 10.10.0.1"}
    assert cables.link("guests").get_attr("IFLA_MASTER") == cables.index("br0")
    capfd.readouterr()
    assert cables.apply(text) == 0
    assert capfd.readouterr().out == ""

    # Another mode: the bond is made anew, and all that stands on it with it.
    assert cables.apply(text.replace("active-backup", "balance-tlb")) == 0, capfd.readouterr()
    assert cables.link("bond0")["index"] != bond["index"]
    assert cables.routes("bond0.10") == {"all via 10.10.0.1"}
    assert cables.link("a0").get_attr("IFLA_MASTER") == cables.index("bond0")
    assert cables.link("guests").get_attr("IFLA_MASTER") == cables.index("br0")
    assert cables.apply("") == 0, capfd.readouterr()
    links = {link.get_attr("IFLA_IFNAME") for link in cables.ip.get_links()}
    assert {"a0", "a1", "b0", "b1", "lo"} <= links
    assert not links & {"bond0", "guests", "br0", "bond0.10"}


def test_a_dummy(place: Place) -> None:
    needs(place, "dummy")
    assert place.apply('[interface.d0]\ndummy = true\naddresses = "10.5.0.1/32"\n') == 0
    assert place.addresses("d0") == {"10.5.0.1/32"}
    assert place.apply("") == 0
    assert not place.ip.link_lookup(ifname="d0")


def test_a_link_that_cannot_be_made_is_said_once(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    needs(place, "bridge")
    place.ip.link("add", ifname="br0", kind="bridge")
    text = "[interface.br0]\ndummy = true\naddresses = '10.5.0.1/24'\ngateway = '10.5.0.2'\n"
    assert place.apply(text) == 1
    why = "there is another of that name (bridge), and not from here"
    error = capfd.readouterr().err
    assert error == f"cannot make br0: {why}; remove or rename one of the two\n"


def test_an_interface_that_comes_late_is_waited_for(
    cables: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    text = STATIC + '[interface.late]\naddresses = "10.1.1.1/24"\n[wait]\ndevices = "20s"\n'
    own = threading.Timer(0.3, lambda: rename(cables, "a1", "late"))
    own.start()
    assert cables.apply(text) == 0
    own.join()
    assert cables.addresses("late") == {"10.1.1.1/24"}
    said = capfd.readouterr().out.splitlines()
    assert said.index("add 192.0.2.10/24 to a0") < said.index("add 10.1.1.1/24 to late")


def rename(place: Place, old: str, new: str) -> None:
    place.ip.link("set", index=place.index(old), ifname=new)


def mark(folder: Path, *names: str) -> Path:
    """What udev, or its queue, leaves there."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_it_waits_until_udev_has_named_what_is_there(cables: Place) -> None:
    folder = mark(cables.home / "udev", "control", "queue")
    where = replace(cables.where, udev=str(folder))
    Path(where.file).write_text('[interface.x]\nmatch = {name = "a*"}\naddresses = "10.1.1.1/24"\n')

    def named() -> None:
        rename(cables, "a0", "z0")
        mark(folder, *(f"data/n{cables.index(name)}" for name in ("z0", "a1", "b0", "b1")))

    own = threading.Timer(0.3, named)
    own.start()
    assert step.main([], where) == 0
    own.join()
    assert cables.addresses("z0") == set()  # it had this name for a moment only
    assert cables.addresses("a1") == {"10.1.1.1/24"}


def test_an_optional_one_is_waited_for_while_udev_is_busy(cables: Place) -> None:
    names = (f"data/n{cables.index(name)}" for name in ("a0", "a1", "b0", "b1"))
    folder = mark(cables.home / "udev", "control", "queue", *names)
    where = replace(cables.where, udev=str(folder))
    text = '[interface.{}]\noptional = true\naddresses = "10.1.1.1/24"\n'
    Path(where.file).write_text(text.format("late"))
    own = threading.Timer(0.3, lambda: rename(cables, "a1", "late"))
    own.start()
    assert step.main([], where) == 0
    own.join()
    assert cables.addresses("late") == {"10.1.1.1/24"}
    Path(where.file).write_text(text.format("never"))
    own = threading.Timer(0.3, (folder / "queue").unlink)
    own.start()
    assert step.main([], where) == 0  # long before wait.devices
    own.join()


def test_the_watch_sets_up_what_comes_and_says_an_error_once(cables: Place) -> None:
    Path(cables.where.file).write_text(
        '[interface.late]\naddresses = "10.1.1.1/24"\n[interface.never]\n[wait]\ndevices = 0\n'
    )
    code = (
        "import sys; from supervisor.boot.network import main; "
        "from supervisor.boot.net.places import Places; main(['--watch'], Places(*sys.argv[1:]))"
    )
    words = [sys.executable, "-c", code, cables.where.file, cables.where.folder, "/nonexistent"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env) as step:
        assert step.stdout is not None
        try:
            first = [step.stdout.readline() for _ in range(3)]
            rename(cables, "a1", "late")
            rest = [step.stdout.readline() for _ in range(3)]
        finally:
            step.kill()
    assert first[0] == b"set lo up\n"
    assert first[1].startswith(b"cannot find interface late")
    assert first[2].startswith(b"cannot find interface never")
    assert rest[:2] == [b"add 10.1.1.1/24 to late\n", b"set late up\n"]
    assert rest[2].startswith(b"cannot find interface never")


def test_one_that_does_not_come_is_named_and_an_optional_one_is_not(
    cables: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    more = "[interface.x]\noptional = true\n[interface.y]\n[wait]\ndevices = '100ms'\n"
    assert cables.apply(STATIC + more) == 1
    assert capfd.readouterr().err == (
        "cannot find interface y: it is not there after 0.1 s; the others are set up\n"
    )
    assert "192.0.2.10/24" in cables.addresses("a0")


def test_without_a_file_the_loopback_is_up_and_nothing_else(
    cables: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    assert step.main([], cables.where) == 0
    said = capfd.readouterr().out
    assert said == f"there is no {cables.where.file}: only the loopback is set up here\nset lo up\n"
    assert cables.link("a0")["state"] == "down"


def test_check_and_show_change_nothing(cables: Place, capfd: pytest.CaptureFixture[str]) -> None:
    Path(cables.where.file).write_text(STATIC)
    assert step.main(["--check"], cables.where) == 0
    assert capfd.readouterr().out == ""
    assert step.main(["--show"], cables.where) == 0
    assert "add 192.0.2.10/24 to a0\n" in capfd.readouterr().out
    assert cables.link("a0")["state"] == "down"
    assert not Path(cables.where.folder).exists()
    assert cables.apply(STATIC) == 0
    capfd.readouterr()
    assert step.main(["--show"], cables.where) == 0
    assert capfd.readouterr().out == "nothing to do\n"
    assert step.main(["--check", "/nonexistent.toml"]) == 1
    assert "there is no such file" in capfd.readouterr().err
    assert step.main(["--no-such"]) == 2


def test_another_resolvers_link_is_left_alone_and_ours_is_followed(
    cables: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    resolv = Path(cables.where.resolv)
    resolv.symlink_to("../systemd/resolve/stub-resolv.conf")
    assert cables.apply(STATIC) == 0
    said = capfd.readouterr().out
    assert "is left alone: it is a link to ../systemd/resolve/stub-resolv.conf" in said
    assert "which is not there: remove the link" in said
    assert resolv.is_symlink()
    resolv.unlink()
    resolv.symlink_to(f"{cables.where.folder}/resolv.conf")
    assert cables.apply(STATIC) == 0
    assert resolv.is_symlink()
    assert "nameserver 192.0.2.53" in resolv.read_text()


def test_the_kernels_reason_is_in_the_refusal(place: Place) -> None:
    with Netlink() as netlink, pytest.raises(Refusal) as caught:
        netlink.do(16, 0x600, {}, [("IFLA_IFNAME", "x"), ("IFLA_LINKINFO", {"attrs": [
            ("IFLA_INFO_KIND", "no-such-kind")]})])  # fmt: skip
    assert caught.value.errno == 95
    assert "Unknown device type" in str(caught.value)


def test_without_the_library_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import importlib.util
    import sys

    monkeypatch.delitem(sys.modules, "pyroute2", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(NoLibrary, match="pip install pyroute2"):
        Netlink()
    where = Places(f"{tmp_path}/none", f"{tmp_path}/run")
    assert step.main([], where) == 1
    assert "cannot set up the network: it needs the library pyroute2" in capfd.readouterr().err

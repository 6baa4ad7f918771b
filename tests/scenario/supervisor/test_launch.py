"""What a service is born with: identity, directory, environment, descriptors, sockets, hooks."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.scenario.supervisor.conftest import Speaker
from tests.stack import Stack

SLEEP = 'command = ["/bin/sleep", "1000"]\n'
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")


def test_a_service_has_a_clean_environment_and_its_own_session(
    tmp_path: Path, speaker: Speaker
) -> None:
    (tmp_path / "more").write_text("# comment\nFROM_FILE='two words'\nexport BOTH=file\n")
    unit = (
        f'{speaker.unit}directory = "{tmp_path}"\numask = "027"\nenv_files = ["{tmp_path}/more"]\n'
        '[env]\nGREETING = "unit {unit} instance {instance}"\nBOTH = "unit"\n'
    )
    with Stack(tmp_path, {"one": unit}, env={"SECRET_OF_THE_PARENT": "x"}) as stack:
        row = speaker.facts(stack, "start")
        assert row["cwd"] == str(tmp_path)
        assert row["umask"] == 0o27
        assert row["sid"] == row["pid"]
        assert row["nnp"] is True
        env = row["env"]
        assert env["GREETING"] == "unit one instance 0"
        assert env["FROM_FILE"] == "two words"
        assert env["BOTH"] == "unit"
        assert "SECRET_OF_THE_PARENT" not in env
        assert env["PATH"].startswith("/usr/local/sbin:")


@needs_root
def test_user_and_groups_are_taken_on(tmp_path: Path, speaker: Speaker) -> None:
    tmp_path.chmod(0o755)
    for path in (tmp_path.parent, tmp_path.parent.parent):
        path.chmod(path.stat().st_mode | 0o011)
    os.chown(speaker.fifo, 65534, -1)
    speaker.out.touch()
    os.chown(speaker.out, 65534, -1)
    unit = f'{speaker.unit}user = "nobody"\ngroups = ["daemon"]\n'
    with Stack(tmp_path, {"one": unit}) as stack:
        row = speaker.facts(stack, "start")
        assert row["uid"] == 65534
        assert 1 in row["groups"]
        assert 0 not in row["groups"]
        assert row["env"]["USER"] == row["env"]["LOGNAME"] == "nobody"


@pytest.mark.parametrize(
    "line,words",
    [
        ('directory = "/no/such/place"\n', "No such file or directory: /no/such/place (step"),
        ('directory = "/etc/passwd"\n', "cannot enter its directory: Not a directory"),
        ('user = "no-such-user"\n', "no user no-such-user in /etc/passwd"),
        ('group = "no-such-group"\n', "no group no-such-group in /etc/group"),
        ('env_files = ["/no/such/file"]\n', "cannot read /no/such/file"),
    ],
)
def test_what_cannot_be_had_is_named(tmp_path: Path, line: str, words: str) -> None:
    with Stack(tmp_path, {"one": f'{SLEEP}{line}[restart]\nwhen = "never"\n'}) as stack:
        assert words in stack.wait("one", "failed")["reason"]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU only")
def test_pinned_instances_have_a_cpu_each(tmp_path: Path) -> None:
    script = f"taskset -pc $$ > {tmp_path}/cpu{{instance}}; exec sleep 1000"
    unit = f"command = ['/bin/sh', '-c', '{script}']\ninstances = 2\npin = true\n"
    with Stack(tmp_path, {"one": unit}) as stack:
        stack.wait("one/0", "running")
        stack.wait("one/1", "running")
        files = [tmp_path / f"cpu{i}" for i in range(2)]
        stack.until(lambda: all(f.exists() and f.read_text() for f in files), "both")
        assert len({f.read_text().rpartition(" ")[2] for f in files}) == 2


def test_every_kind_of_socket_is_passed_by_name(tmp_path: Path, speaker: Speaker) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    addresses = {
        "web": f"tcp:127.0.0.1:{port}", "six": f"tcp6:[::1]:{port}",
        "dns": f"udp:127.0.0.1:{port}",
        "file": f"unix:{tmp_path}/sock", "hidden": f"abstract:unboxed-test-{os.getpid()}",
        "pipe": f"fifo:{tmp_path}/pipe", "link": "netlink:route",
    }  # fmt: skip
    unit = speaker.unit + "".join(
        f'[[listen]]\nname = "{name}"\naddress = "{address}"\n'
        for name, address in addresses.items()
    )
    with Stack(tmp_path, {"one": unit}) as stack:
        row = speaker.facts(stack, "start")
        assert row["env"]["LISTEN_FDNAMES"].split(":") == list(addresses)
        assert row["env"]["LISTEN_PID"] == str(row["pid"])
        kinds = row["fds"]
        assert kinds["web"] == kinds["dns"] == "AF_INET"
        assert kinds["six"] == "AF_INET6"
        assert kinds["file"] == kinds["hidden"] == "AF_UNIX"
        assert kinds["link"] == "AF_NETLINK"
        with socket.create_connection(("127.0.0.1", port), 5):
            pass
        listed = {x["name"]: x["address"] for x in stack.call("Describe", unit="one")["listeners"]}
        assert listed["web"] == addresses["web"]


def test_an_address_in_use_is_named_and_tried_again(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        unit = f'{SLEEP}[[listen]]\nname = "web"\naddress = "tcp:127.0.0.1:{port}"\n'
        with Stack(tmp_path, {"one": unit}) as stack:
            words = stack.wait("one", "backoff")["reason"]
            assert f"cannot bind tcp:127.0.0.1:{port} (listener web): Address already" in words
            taken.close()
            stack.wait("one", "running")


def test_hooks_run_in_order_and_a_failing_one_names_itself(tmp_path: Path) -> None:
    out = tmp_path / "out"
    say = "['/bin/sh', '-c', 'echo %s >> " + str(out) + "']"
    unit = (
        f"command = ['/bin/sh', '-c', 'echo main >> {out}; exec sleep 1000']\n[start]\n"
        f"before = [{say % 'one'}, {say % 'two'}]\nafter = [{say % 'three'}]\n"
    )
    bad = f"{SLEEP}[start]\nbefore = [['/bin/sh', '-c', 'exit 7']]\n[restart]\nwhen = 'never'\n"
    with Stack(tmp_path, {"good": unit, "bad": bad}) as stack:
        stack.wait("good", "running")
        stack.until(lambda: len(out.read_text().split()) == 4, "the command and all its hooks")
        assert out.read_text().split()[:2] == ["one", "two"]
        assert set(out.read_text().split()[2:]) == {"main", "three"}
        assert stack.wait("bad", "failed")["reason"] == "hook start.before[0]: exit 7"


def test_a_condition_that_does_not_hold_skips_the_start(tmp_path: Path) -> None:
    there = tmp_path / "there"
    units = {
        "one": f'{SLEEP}[conditions]\npath_exists = "{there}"\n',
        "two": f'{SLEEP}[conditions]\npath_exists = "!{there}"\n',
        "three": f'{SLEEP}[needs]\nrequires = ["one"]\n',
    }
    with Stack(tmp_path, units) as stack:
        assert "path_exists" in stack.wait("one", "skipped")["reason"]
        stack.wait("two", "running")
        stack.wait("three", "running")
        there.touch()
        stack.call("Start", units=["one"])
        assert stack.row("one")["state"] == "running"


def test_a_service_may_open_its_own_standard_error(tmp_path: Path) -> None:
    unit = "command = ['/bin/sh', '-c', 'echo hello > /dev/stderr; echo $?; sleep 1000']\n"
    user = 'user = "nobody"\n' if os.geteuid() == 0 else ""
    with Stack(tmp_path, {"one": unit + user}) as stack:
        stack.wait("one", "running")

        def said() -> bytes:
            return b"".join(p.read_bytes() for p in (tmp_path / "log" / "one").glob("*.log"))

        stack.until(lambda: said().count(b"\n") == 2, "two lines")
        assert said() == b"hello\n0\n"


def test_a_port_that_the_kernel_chose_is_told(tmp_path: Path, speaker: Speaker) -> None:
    unit = (
        f'{speaker.unit}[env]\nPORT = "{{port:web}}"\n[[listen]]\nname = "web"\n'
        'address = "tcp:127.0.0.1:0"\n'
    )
    with Stack(tmp_path, {"one": unit}) as stack:
        port = int(speaker.facts(stack, "start")["env"]["PORT"])
        with socket.create_connection(("127.0.0.1", port), 5):
            pass
        stack.call("Restart", units=["one"])
        assert int(speaker.facts(stack, "start", 2)["env"]["PORT"]) == port

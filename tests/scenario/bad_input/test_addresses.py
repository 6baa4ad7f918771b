"""Sockets whose address is taken: one unit waits and says so, the others run."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.scenario.bad_input.kit import SLEEP, said
from tests.stack import Refused, Stack


def taken(family: str, home: Path) -> tuple[socket.socket, str]:
    """A socket of somebody else's, and its address."""
    kind = socket.SOCK_DGRAM if family == "udp" else socket.SOCK_STREAM
    if family == "unix":
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.bind(str(home / "sock"))
        address = f"unix:{home}/sock"
    else:
        sock = socket.socket(socket.AF_INET, kind)
        sock.bind(("127.0.0.1", 0))
        address = f"{family}:127.0.0.1:{sock.getsockname()[1]}"
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock, address


@pytest.mark.parametrize("family", ["tcp", "udp", "unix"])
def test_an_address_of_somebody_else_is_waited_for(tmp_path: Path, family: str) -> None:
    other, address = taken(family, tmp_path)
    with other:
        bad = f'{SLEEP}[restart]\ndelay = "100ms"\n[[listen]]\naddress = "{address}"\n'
        with Stack(tmp_path, {"bad": bad, "good": SLEEP}) as stack:
            row = stack.wait("bad", "backoff")
            by_whom = "" if family == "unix" else "; `unboxed ports` shows by whom"
            assert row["reason"] == (
                f"cannot bind {address} (listener {family}): Address already in use{by_whom}"
            )
            assert row["pid"] == 0
            assert row["next_try_ns"]
            stack.until(lambda: said(stack, "bad: backoff"), "it to be said")
            good = stack.wait("good", "running")["pid"]
            other.close()
            stack.wait("bad", "running")
            assert stack.row("good")["pid"] == good


@pytest.mark.parametrize("family", ["tcp", "udp"])
def test_of_two_units_that_claim_one_port_none_is_started(tmp_path: Path, family: str) -> None:
    other, address = taken(family, tmp_path)
    other.close()
    port = address.rpartition(":")[2]
    one = f'{SLEEP}[[listen]]\naddress = "{address}"\n'
    two = f'{SLEEP}[network]\nlisten = "{family}:{port}"\n'
    with Stack(tmp_path, {"good": SLEEP, "one": one, "two": two}) as stack:
        stack.wait("good", "running")
        assert stack.wait("one", "failed")["reason"] == (
            f"its port {address} is claimed by two too as {family}:{port} ([network] listen)")
        assert "is claimed by one too" in stack.wait("two", "failed")["reason"]
        assert not stack.row("one")["pid"]
        stack.write("one", SLEEP)
        stack.call("ReloadUnits")
        stack.call("Start", units=["one"], wait=True)
        assert stack.row("one")["state"] == "running"
        stack.write("one", one)
        with pytest.raises(Refused) as refused:
            stack.call("ReloadUnits")
        problems = [(p["file"], p["key"]) for p in refused.value.parameters["problems"]]
        assert problems == [
            (f"{stack.units}/one.toml", "listen"), (f"{stack.units}/two.toml", "network")]
        assert stack.row("one")["state"] == "running"


def test_two_units_at_one_path_do_not_steal_it(tmp_path: Path) -> None:
    other, address = taken("unix", tmp_path)
    other.close()
    unit = f'{SLEEP}[restart]\nwhen = "never"\n[[listen]]\naddress = "{address}"\n'
    with Stack(tmp_path, {"one": unit, "two": unit}) as stack:
        stack.wait("one", "running")
        assert "Address already in use" in stack.wait("two", "failed")["reason"]
        assert stack.row("one")["state"] == "running"


@pytest.mark.parametrize("family", ["unix", "fifo"])
def test_a_file_in_its_place_is_named_and_kept(tmp_path: Path, family: str) -> None:
    path = tmp_path / "it"
    path.write_text("precious")
    bad = f'{SLEEP}[restart]\nwhen = "never"\n[[listen]]\naddress = "{family}:{path}"\n'
    with Stack(tmp_path, {"bad": bad, "good": SLEEP}) as stack:
        words = stack.wait("bad", "failed")["reason"]
        kind = "socket" if family == "unix" else "fifo"
        assert words == (
            f"cannot bind {family}:{path} (listener {family}):"
            f" something is in its place that is no {kind}"
        )
        stack.wait("good", "running")
    assert path.read_text() == "precious"


def test_an_owner_that_nobody_knows_leaves_no_socket(tmp_path: Path) -> None:
    bad = (
        f'{SLEEP}[restart]\nwhen = "never"\n'
        f'[[listen]]\naddress = "unix:{tmp_path}/it"\nuser = "no-such-user"\n'
    )
    with Stack(tmp_path, {"bad": bad}) as stack:
        assert "no user no-such-user in /etc/passwd" in stack.wait("bad", "failed")["reason"]
        assert not (tmp_path / "it").exists()

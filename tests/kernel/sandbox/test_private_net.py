"""A real cable between a service and this host."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.kernel.sandbox import private_net
from supervisor.kernel.sandbox.facts import facts
from supervisor.kernel.sandbox.part import CannotConfine, Context
from supervisor.model.sandbox import Network
from tests.kernel.sandbox.stage import Stage, stage, until
from tests.unit.kernel.sandbox.given import policy

pytestmark = [
    pytest.mark.skipif(not facts().root, reason="needs root in the first user namespace"),
    pytest.mark.skipif(not private_net._library(), reason="needs pyroute2"),
]
PRIVATE = policy(network=Network("private"))
TALK = """import json, os, socket, sys
names = sorted(name for _, name in socket.if_nameindex())
routes = open("/proc/net/route").read().split("\\n")[1:]
with socket.create_server(("0.0.0.0", 8080)) as server:
    rows = [line.split() for line in routes if line]
    gateway = next(r[2] for r in rows if r[1] == "00000000")
    print(json.dumps([names, gateway, os.readlink("/proc/self/ns/net")]), flush=True)
    client, peer = server.accept()
    client.sendall(peer[0].encode())
    client.close()
sys.stdin.readline()
"""


def _veth() -> bool:
    """Whether this kernel has veth: user-mode Linux, in a package without modules, has not."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as here:
        try:
            here.link("add", ifname="ub-probe0", kind="veth", peer={"ifname": "ub-probe1"})
        except NetlinkError:
            return False
        here.link("del", ifname="ub-probe0")
    return True


@pytest.fixture
def ready(tmp_path: Path) -> Iterator[tuple[Stage, Context]]:
    if not _veth():
        pytest.skip("this kernel has no veth")
    with stage() as made:
        ctx = made.context(str(tmp_path))
        yield made, ctx
        private_net.remove(ctx.key, ctx.runtime)
    until(lambda: not links(ctx), "the cable to go")


def links(ctx: Context) -> list[str]:
    name = private_net.name_of(ctx.key, ctx.runtime)
    return [one for _, one in socket.if_nameindex() if one == name]


def address(number: str) -> str:
    return ".".join(str(byte) for byte in bytes.fromhex(number)[::-1])


def test_it_reaches_this_host_and_is_reached(ready: tuple[Stage, Context]) -> None:
    made, ctx = ready
    home = os.readlink("/proc/self/ns/net")
    forward = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    private_net.prepare(PRIVATE, ctx)
    assert os.readlink("/proc/self/ns/net") == home  # we came back
    running = made.start(TALK, PRIVATE, ctx, private_net.part)
    names, gateway, namespace = running.line()
    assert names == ["eth0", "lo"]
    assert namespace != home
    assert links(ctx)
    host = address(gateway)
    assert host.startswith("10.213.")
    own = host[: host.rindex(".") + 1] + str(int(host.rpartition(".")[2]) + 1)
    with socket.create_connection((own, 8080), 10) as sock:
        assert sock.recv(64).decode() == host  # as whom it sees us: no NAT
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == forward
    running.say("end")
    assert running.end() == 0


def test_it_goes_with_the_unit(ready: tuple[Stage, Context]) -> None:
    made, ctx = ready
    private_net.prepare(PRIVATE, ctx)
    running = made.start("import sys; sys.stdin.readline()", PRIVATE, ctx, private_net.part)
    running.say("")
    running.end()
    assert links(ctx)  # another launch of the same run would find it
    private_net.remove(ctx.key, ctx.runtime)
    until(lambda: not links(ctx), "the cable to go")
    assert not os.path.exists(f"{ctx.runtime}/netns")
    private_net.remove(ctx.key, ctx.runtime)  # once more is no error


def test_the_next_manager_and_the_next_launch_find_it_again(
    ready: tuple[Stage, Context], tmp_path: Path
) -> None:
    made, ctx = ready
    private_net.prepare(PRIVATE, ctx)
    code = "seen['net'] = os.readlink('/proc/self/ns/net')"
    first = made.look(code, PRIVATE, ctx, private_net.part)
    private_net.prepare(PRIVATE, ctx)
    assert made.look(code, PRIVATE, ctx, private_net.part) == first
    private_net.sweep(str(tmp_path))  # as the next supervisor would
    until(lambda: not links(ctx), "the cable to go")


def test_what_a_manager_left_half_made_is_made_anew(ready: tuple[Stage, Context]) -> None:
    from pyroute2 import IPRoute

    _, ctx = ready
    private_net.prepare(PRIVATE, ctx)
    name = private_net.name_of(ctx.key, ctx.runtime)
    with IPRoute() as here:
        here.link("set", index=here.link_lookup(ifname=name)[0], state="down")
        before = here.link_lookup(ifname=name)
        private_net.prepare(PRIVATE, ctx)
        after = here.link_lookup(ifname=name)
        assert len(after) == 1
        assert after != before
        assert here.link("get", index=after[0])[0]["flags"] & 1


def test_a_given_address(ready: tuple[Stage, Context]) -> None:
    made, ctx = ready
    limited = policy(network=Network("private", address="10.212.77.9/24"))
    private_net.prepare(limited, ctx)
    code = """import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect(("10.212.77.1", 9))
    seen["own"] = sock.getsockname()[0]"""
    assert made.look(code, limited, ctx, private_net.part) == {"own": "10.212.77.9"}


def test_two_instances_have_networks_of_their_own(ready: tuple[Stage, Context]) -> None:
    made, ctx = ready
    other = ctx._replace(key="web/1")
    code = "seen['route'] = open('/proc/net/route').read()"
    try:
        for one in (ctx, other):
            private_net.prepare(PRIVATE, one)
        found = [made.look(code, PRIVATE, one, private_net.part) for one in (ctx, other)]
        assert found[0] != found[1]
    finally:
        private_net.remove(other.key, other.runtime)
    until(lambda: not links(other), "the second cable to go")


def test_what_this_host_has_already_is_refused_and_leaves_nothing(
    ready: tuple[Stage, Context],
) -> None:
    _, ctx = ready
    limited = policy(network=Network("private", address="127.0.0.9/8"))
    with pytest.raises(CannotConfine, match=r"network\.address: .* this host has another network"):
        private_net.prepare(limited, ctx)
    assert not links(ctx)
    assert not os.path.exists(f"{ctx.runtime}/netns")

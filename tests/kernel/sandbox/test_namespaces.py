"""Namespaces as the kernel makes them, and what a process in one sees."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from supervisor.kernel.sandbox import dynamic, namespaces, usermap
from supervisor.kernel.sandbox.dynamic import Ids
from supervisor.kernel.sandbox.facts import facts
from supervisor.kernel.sandbox.part import Part
from supervisor.model.sandbox import MappedRange, Network, Users
from tests.kernel.sandbox.stage import STAY, Stage, stage
from tests.unit.kernel.sandbox.given import policy

pytestmark = pytest.mark.skipif(not facts().root, reason="needs root in the first user namespace")
needs_users = pytest.mark.skipif(not facts().user_namespaces, reason="no user namespaces here")
LINKS = "seen = {n: os.readlink(f'/proc/self/ns/{n}') for n in os.listdir('/proc/self/ns')}"


@pytest.fixture
def keeper() -> Iterator[Stage]:
    with stage() as made:
        yield made


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ids:
    made = Ids(
        str(tmp_path), dynamic.FIRST_BLOCK, dynamic.LAST_BLOCK, dynamic.BLOCK,
        directory=str(tmp_path / "ids"),
    )  # fmt: skip
    monkeypatch.setattr(dynamic, "blocks", lambda _: made)
    return made


def own(found: dict[str, str]) -> set[str]:
    """Names of those namespaces that are not the host's."""
    return {name for name, link in found.items() if link != os.readlink(f"/proc/self/ns/{name}")}


def test_without_keys_all_is_the_hosts(keeper: Stage) -> None:
    assert own(keeper.look(LINKS, policy(), keeper.context(), namespaces.part)) == set()


@pytest.mark.parametrize(
    "keys, expected",
    [
        ({"ipc": "own"}, {"ipc"}),
        ({"hostname": "jail"}, {"uts"}),
        ({"cgroup": "own"}, {"cgroup"}),
        ({"ipc": "own", "hostname": "own", "cgroup": "own"}, {"ipc", "uts", "cgroup"}),
        ({"processes": "own"}, {"pid", "pid_for_children"}),
        ({"network": Network("none")}, {"net"}),
        ({"time": "own"}, {"time", "time_for_children"}),
    ],
)
def test_each_key_is_that_namespace_and_no_other(
    keys: dict[str, object], expected: set[str], keeper: Stage
) -> None:
    if "time" in keys and not facts().time_namespaces:
        pytest.skip("this kernel has no time namespaces")
    found = keeper.look(LINKS, policy(**keys), keeper.context(), namespaces.part)  # type: ignore[arg-type] # by name
    assert own(found) == expected


def test_its_host_name_is_its_own(keeper: Stage) -> None:
    before = os.uname().nodename
    code = "seen['name'] = os.uname().nodename"
    found = keeper.look(code, policy(hostname="own"), keeper.context(), namespaces.part)
    assert found == {"name": "web"}
    assert os.uname().nodename == before


@pytest.mark.skipif(not facts().time_namespaces, reason="this kernel has no time namespaces")
def test_its_clocks_begin_at_zero_and_its_date_does_not(keeper: Stage) -> None:
    code = """import time
seen["monotonic"] = time.monotonic()
seen["boot"] = time.clock_gettime(time.CLOCK_BOOTTIME)
seen["date"] = time.time()
seen["again"] = time.monotonic()"""
    limited = policy(time="own", processes="own")
    found = keeper.look(code, limited, keeper.context(), namespaces.part)
    assert 0 <= found["monotonic"] <= found["again"] < min(30, time.monotonic())
    assert 0 <= found["boot"] < 30
    assert abs(found["date"] - time.time()) < 30


def test_no_network_is_a_loopback_that_works(keeper: Stage) -> None:
    code = """import socket
seen["names"] = [name for _, name in socket.if_nameindex()]
with socket.create_server(("127.0.0.1", 0)) as server:
    client = socket.create_connection(server.getsockname())
    client.close()
try:
    socket.create_connection(("192.0.2.1", 9), 2)
except OSError as exc:
    seen["out"] = exc.errno"""
    found = keeper.look(code, policy(network=Network("none")), keeper.context(), namespaces.part)
    assert found["names"] == ["lo"]
    assert found["out"] == 101  # ENETUNREACH


STATUS = """rows = dict(line.split(":\\t", 1) for line in open("/proc/self/status"))
seen["uid"], seen["gid"] = os.getresuid(), os.getresgid()
seen["groups"] = os.getgroups()
seen["map"] = [[int(n) for n in line.split()] for line in open("/proc/self/uid_map")]
seen["setgroups"] = open("/proc/self/setgroups").read().strip()"""


@needs_users
def test_auto_is_a_root_of_its_own_ids(keeper: Stage, ids: Ids) -> None:
    limited, ctx = policy(users=Users()), keeper.context()
    namespaces.prepare(limited, ctx)
    first = ids.take("web")
    with TemporaryDirectory() as shared:
        os.chmod(shared, 0o777)
        code = f"{STATUS}\nos.mkdir({shared!r} + '/made')"
        found = keeper.look(code, limited, ctx, namespaces.part)
        info = os.stat(f"{shared}/made")
    assert found["uid"] == found["gid"] == [0, 0, 0]
    assert found["map"] == [[0, first, 65536]]
    assert found["setgroups"] == "allow"
    assert (info.st_uid, info.st_gid) == usermap.outside(limited, ctx, STAY) == (first, first)


@needs_users
def test_two_units_have_no_id_in_common(keeper: Stage, ids: Ids) -> None:
    code = "seen['map'] = open('/proc/self/uid_map').read().split()"
    limited = policy(users=Users())
    firsts = []
    for name in ("one", "two"):
        ctx = keeper.context(key=name)
        namespaces.prepare(limited, ctx)
        firsts.append(int(keeper.look(code, limited, ctx, namespaces.part)["map"][1]))
    assert abs(firsts[0] - firsts[1]) >= 65536


@needs_users
def test_a_given_map_and_a_named_user(keeper: Stage, tmp_path: Path) -> None:
    users = Users((MappedRange(0, 700000, 1000), MappedRange(2000, 800000, 5)))
    who = STAY._replace(name="www", uid=33, gid=2001, groups=(33, 2004))
    code = "seen['ids'] = [os.getuid(), os.getgid(), sorted(os.getgroups())]"
    ctx = keeper.context(identity=who)
    found = keeper.look(code, policy(users=users), ctx, namespaces.part)
    assert found["ids"] == [33, 2001, [33, 2004]]
    assert usermap.outside(policy(users=users), ctx, who) == (700033, 800001)


@needs_users
def test_root_inside_is_nobody_to_the_host(keeper: Stage, ids: Ids, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    code = f"""def fails(call, *args):
    try:
        call(*args)
    except OSError as exc:
        return exc.errno
seen["read"] = fails(os.open, {str(secret)!r}, os.O_RDONLY)
seen["chroot"] = fails(os.chroot, "/")
seen["nice"] = fails(os.setpriority, os.PRIO_PROCESS, {os.getpid()}, 5)
seen["kill"] = fails(os.kill, {os.getpid()}, 0)
"""
    limited, ctx = policy(users=Users()), keeper.context()
    namespaces.prepare(limited, ctx)
    found = keeper.look(code, limited, ctx, namespaces.part)
    assert found["read"] == 13
    assert found["chroot"] is None  # root inside may do what it may do inside
    assert found["nice"] in (1, 13)
    assert found["kill"] == 1


@needs_users
def test_rootless_has_what_a_user_namespace_gives(keeper: Stage) -> None:
    """As for a supervisor without rights: the implied namespace maps the one own id."""
    ctx = keeper.context()
    ctx = ctx._replace(facts=ctx.facts._replace(root=False, capabilities=0))
    keys = {"processes": "own", "ipc": "own", "hostname": "own", "cgroup": "own"}
    limited = policy(**keys, network=Network("none"))
    code = LINKS + """
seen["setgroups"] = open("/proc/self/setgroups").read().strip()
seen["map"] = open("/proc/self/uid_map").read().split()"""
    found = keeper.look(code, limited, ctx, namespaces.part)
    assert found.pop("setgroups") == "deny"
    me = str(os.geteuid())
    assert found.pop("map") == [me, me, "1"]
    assert own(found) == {"user", "pid", "pid_for_children", "ipc", "uts", "cgroup", "net"}


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"processes": "own", "ipc": "own", "hostname": "jail", "cgroup": "own"},
        {"time": "own"},
        {"time": "own", "processes": "own"},
        {"users": Users((MappedRange(0, 700000, 10),)), "network": Network("none")},
    ],
)
def test_another_process_joins_all_of_them(keys: dict[str, object], keeper: Stage) -> None:
    if "time" in keys and not facts().time_namespaces:
        pytest.skip("this kernel has no time namespaces")
    limited = policy(**keys)  # type: ignore[arg-type] # by name
    wait = "import sys; print(1, flush=True); sys.stdin.readline()"
    running = keeper.start(wait, limited, keeper.context(), namespaces.part)
    assert running.line() == 1
    own_links = os.listdir(f"/proc/{running.pid}/ns")
    links = {name: os.readlink(f"/proc/{running.pid}/ns/{name}") for name in own_links}
    steps = namespaces.join(running.pid, namespaces.different(running.pid))
    assert bool(steps) == bool(keys)
    code = LINKS + "\nimport time\nseen['clock'] = time.monotonic()"
    visitor = keeper.context(key="visitor")
    found = keeper.look(code, policy(), visitor, lambda _, __: Part(setup=steps))
    assert found.pop("clock") < 30 or "time" not in keys
    assert found == links
    running.say("")
    assert running.end() == 0

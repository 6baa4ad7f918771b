"""Ids and networks that the supervisor gives to units, through the lives of its manager."""
from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from supervisor.kernel.sandbox import dynamic, private_net
from supervisor.kernel.sandbox.facts import facts
from tests.kernel.kit import until
from tests.scenario.sandbox.kit import written
from tests.stack import Stack

pytestmark = pytest.mark.skipif(not facts().root, reason="needs root in the first user namespace")
SLEEP = 'command = ["/bin/sleep", "1000"]\n'
DYNAMIC = SLEEP + 'user = "dynamic"\n'


def uid(stack: Stack, key: str) -> int:
    return os.stat(f"/proc/{stack.row(key)['pid']}").st_uid


def records(stack: Stack) -> dict[str, int]:
    """What the host's directory says of this supervisor's units."""
    found = {}
    for path in Path(dynamic.DIRECTORY, "1").glob("[0-9]*"):
        unit, runtime = path.read_text().splitlines()
        if runtime == str(stack.runtime):
            found[unit] = int(path.name)
    return found


def new_manager(stack: Stack) -> None:
    before = stack.manager
    os.kill(before, signal.SIGKILL)
    stack.until(lambda: stack.manager not in (0, before) and stack.answers(), "the next manager")


def test_each_unit_has_an_id_of_its_own_and_its_instances_share_it(tmp_path: Path) -> None:
    with Stack(tmp_path, {"a": DYNAMIC, "b": "instances = 2\n" + DYNAMIC}) as stack:
        for key in ("a", "b/0", "b/1"):
            stack.wait(key, "running")
        assert uid(stack, "b/0") == uid(stack, "b/1") != uid(stack, "a")
        assert records(stack) == {"a": uid(stack, "a"), "b": uid(stack, "b/0")}
        assert all(dynamic.FIRST <= n <= dynamic.LAST for n in records(stack).values())
    assert records(stack) == {}


def test_the_next_manager_gives_the_same_id_and_no_other_unit_gets_it(tmp_path: Path) -> None:
    with Stack(tmp_path, {"a": DYNAMIC, "b": DYNAMIC}, start=["a"]) as stack:
        stack.wait("a", "running")
        mine = uid(stack, "a")
        new_manager(stack)
        os.kill(stack.row("a")["pid"], signal.SIGKILL)  # the next manager starts it anew
        stack.until(lambda: stack.row("a")["restarts"] and stack.row("a")["pid"], "a restart")
        stack.wait("a", "running")
        assert uid(stack, "a") == mine
        stack.call("Start", units=["b"])
        stack.wait("b", "running")
        assert uid(stack, "b") != mine


def test_an_id_is_not_given_again_at_once(tmp_path: Path) -> None:
    with Stack(tmp_path, {"a": DYNAMIC, "b": DYNAMIC}, start=["a"]) as stack:
        stack.wait("a", "running")
        first = uid(stack, "a")
        stack.call("Stop", units=["a"])
        stack.wait("a", "stopped")
        stack.call("Start", units=["b"])
        stack.wait("b", "running")
        assert uid(stack, "b") != first


def test_a_user_namespace_of_ids_of_its_own(tmp_path: Path) -> None:
    if not facts().user_namespaces:
        pytest.skip("no user namespaces here")
    text = SLEEP + '[sandbox]\nusers = {map = "auto"}\n'
    with Stack(tmp_path, {"a": text, "b": text}) as stack:
        owners = []
        for key in ("a", "b"):
            stack.wait(key, "running")
            pid = stack.row(key)["pid"]
            inside, outside, count = Path(f"/proc/{pid}/uid_map").read_text().split()
            assert (inside, count) == ("0", "65536")
            assert os.stat(f"/proc/{pid}").st_uid == int(outside)
            owners.append(int(outside))
        assert abs(owners[0] - owners[1]) >= 65536


def test_a_private_network_survives_the_manager_and_goes_with_the_unit(tmp_path: Path) -> None:
    if not private_net._library():
        pytest.skip("needs pyroute2")
    text = SLEEP + '[network]\nmode = "private"\naddress = "10.212.78.2/30"\n'
    with Stack(tmp_path, {"a": text}) as stack:
        stack.wait("a", "running")
        name = private_net.name_of("a", str(stack.runtime))

        def there() -> bool:
            return name in [one for _, one in socket.if_nameindex()]

        assert there()
        namespace = os.readlink(f"/proc/{stack.row('a')['pid']}/ns/net")
        assert namespace != os.readlink("/proc/self/ns/net")
        new_manager(stack)
        assert there()
        stack.call("Stop", units=["a"])
        stack.wait("a", "stopped")
        stack.until(lambda: not there(), "the cable to go")
        stack.call("Start", units=["a"])
        stack.wait("a", "running")
        assert there()
    until(lambda: not there(), "the cable to go with the supervisor")


def maps(stack: Stack) -> int:
    """How many user namespaces the keeper holds."""
    folder = f"/proc/{stack.keeper}/fd"
    return sum(os.readlink(f"{folder}/{fd}").startswith("user:") for fd in os.listdir(folder))


def test_the_map_of_an_id_is_let_go_with_the_id(tmp_path: Path) -> None:
    if facts().kernel < (6, 3) or not facts().user_namespaces:
        pytest.skip("no idmapped mounts of the usual file systems here")
    text = DYNAMIC + '[sandbox]\nruntime = ["unboxed-test-map-{instance}"]\n'
    with Stack(tmp_path, {"a": text}, start=["a"]) as stack:
        stack.wait("a", "running")
        assert maps(stack) == 1
        new_manager(stack)
        stack.call("Stop", units=["a"])
        stack.wait("a", "stopped")
        stack.until(lambda: not maps(stack), "the keeper to let go")


RUNTIME = 'runtime = ["gone-one", "gone-{instance}"]\n'
FILL = "IFS=:; for one in $RUNTIME_DIRECTORY; do mkdir -p $one/deep/er; done"


@pytest.mark.parametrize("user", ["dynamic", "nobody", "root"])
def test_runtime_directories_are_gone_with_the_last_that_has_them(
    tmp_path: Path, user: str
) -> None:
    names = {"gone-one", "gone-0", "gone-1"}
    command = f'command = ["/bin/sh", "-c", "{FILL}; echo made; exec sleep 1000"]\n'
    text = f'instances = 2\nuser = "{user}"\n{command}[sandbox]\n{RUNTIME}'

    def there() -> set[str]:
        found = [*Path("/run").glob("*gone-*"), *Path("/run/private").glob("*gone-*")]
        return {path.name for path in found}

    with Stack(tmp_path, {"a": text}) as stack:
        for key in ("a/0", "a/1"):
            stack.wait(key, "running")
            written(stack, key, "made")
        assert there() == names
        stack.call("Stop", units=["a/1"])
        stack.wait("a/1", "stopped")
        stack.until(lambda: there() == names - {"gone-1"}, "that of one instance to go")
        stack.call("Stop", units=["a"])
        stack.wait("a/0", "stopped")
        stack.until(lambda: not there(), "all of them to go")


def test_the_directory_that_a_word_asks_for_goes_too(tmp_path: Path) -> None:
    text = SLEEP + 'user = "nobody"\n[sandbox]\nwrite = ["@runtime"]\n'
    with Stack(tmp_path, {"gone-word": text}) as stack:
        stack.wait("gone-word", "running")
        assert Path("/run/gone-word").is_dir()
        stack.call("Stop", units=["gone-word"])
        stack.wait("gone-word", "stopped")
        stack.until(lambda: not Path("/run/gone-word").exists(), "it to go")


def test_a_runtime_directory_of_somebody_else_stays(tmp_path: Path) -> None:
    other = Path("/run/unboxed-test-other")
    other.mkdir(mode=0o755)
    try:
        text = SLEEP + 'user = "root"\n[sandbox]\nruntime = ["unboxed-test-other"]\n'
        with Stack(tmp_path, {"a": text}) as stack:
            stack.wait("a", "running")
            stack.call("Stop", units=["a"])
            stack.wait("a", "stopped")
        assert other.is_dir()
    finally:
        other.rmdir()


def test_secrets_leave_nothing_in_the_runtime_directory(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    text = SLEEP + f'[secrets]\nkey = "{tmp_path}/key"\n'
    with Stack(tmp_path, {"a": text}) as stack:
        stack.wait("a", "running")
        assert (stack.runtime / "secrets").is_dir()
    assert not stack.runtime.exists()


def test_a_launch_that_fails_gives_back_all_that_was_made_for_it(tmp_path: Path) -> None:
    box = '[sandbox]\nlevel = "app"\nread = ["/no/such/path"]\nruntime = ["gone-early"]\n'
    text = DYNAMIC + '[restart]\nwhen = "never"\n' + box
    if private_net._library():
        text += '[network]\nmode = "private"\n'
    with Stack(tmp_path, {"a": text}) as stack:
        assert "/no/such/path" in stack.wait("a", "failed")["reason"]
        stack.until(lambda: not records(stack), "its id to be free")
        assert not (stack.runtime / "netns").exists()
        left = [*Path("/run").glob("gone-early"), *Path("/run/private").glob("gone-early")]
        assert not left

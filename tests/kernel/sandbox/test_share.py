"""An agent that shares its main's pid namespace or its /tmp: what it sees, and what is refused."""
from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from supervisor.kernel import plan
from supervisor.kernel.plan import Launch
from supervisor.kernel.sandbox import compile as sandbox
from supervisor.kernel.sandbox import share
from supervisor.kernel.sandbox.facts import facts
from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.model.policy import Policy, resolve
from supervisor.model.sandbox import Sandbox, Users
from supervisor.model.unit import Agent, Unit
from tests.keeper.keeperclient import Peer
from tests.kernel.sandbox import boxed
from tests.kernel.sandbox.boxed import PYTHON, SOMEBODY, context, policy, python, run

pytestmark = pytest.mark.skipif(not facts().root, reason="needs root in the first user namespace")


def sharing(*what: str, level: str = "app", **more: object) -> Policy:
    box = Sandbox(level=level, **more)  # type: ignore[arg-type] # by name
    agent = Agent(share=what)  # type: ignore[arg-type] # checked by config
    return resolve(Unit("agent", user="nobody", sandbox=box, attach=("web",), agent=agent))


@contextmanager
def main(manager: Peer, box: Sandbox, code: str, tmp_path: Path) -> Iterator[int]:
    """A process that lives in such a sandbox, by its pid here."""
    found = policy(box)
    ctx = context(SOMEBODY)
    said = tmp_path / "said"
    os.mkfifo(said)
    said.chmod(0o666)
    whole = f"import os, signal\n{code}\nos.write(1, b'!')\nsignal.pause()"
    command = (PYTHON, "-I", "-S", "-c", whole)
    reader = os.open(said, os.O_RDONLY | os.O_NONBLOCK)
    launch = Launch(
        command, PYTHON, (), SOMEBODY, confinement=sandbox.confine(found, ctx).confinement,
        opens=((1, os.O_WRONLY, str(said)),),
    )  # fmt: skip
    number = next(boxed._numbers)
    manager.spawn(number, f"main{number}", plan.encode(plan.compile(launch)))
    started = manager.started(number)
    assert started.op == "EXECED", started
    pid = started.ints("iIQ")[0]
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b"!"
    os.close(reader)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        manager.exited(number)


def test_it_sees_the_processes_of_its_main_and_no_others(manager: Peer, tmp_path: Path) -> None:
    with main(manager, Sandbox(processes="own"), "", tmp_path) as pid:
        code = (
            "pids = [one for one in os.listdir('/proc') if one.isdigit()]\n"
            "names = {open(f'/proc/{one}/comm').read().strip() for one in pids}\n"
            "say([os.readlink('/proc/self/ns/pid'), len(pids), sorted(names)])"
        )
        found = python(manager, sharing("pid"), code, context(SOMEBODY, main=pid))
        assert found[0] == os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
        assert found[1] == 3  # the namespace's init, the main process, itself
        assert "python3" in found[2]


def test_what_its_main_writes_into_tmp_is_in_its_own(manager: Peer, tmp_path: Path) -> None:
    made = "os.close(os.open('/tmp/made', os.O_CREAT | os.O_WRONLY, 0o644))"
    with main(manager, Sandbox(tmp="private"), made, tmp_path) as pid:
        code = (
            "open('/var/tmp/back', 'w').close()\n"
            "say([os.listdir('/tmp'), tried(open, '/tmp/other', 'w')])"
        )
        found = python(manager, sharing("tmp"), code, context(SOMEBODY, main=pid))
        assert found == [["made"], "ok"]
        assert sorted(os.listdir(f"/proc/{pid}/root/tmp")) == ["made", "other"]
        assert os.listdir(f"/proc/{pid}/root/var/tmp") == ["back"]
        assert not Path("/tmp/other").exists()


def test_without_a_view_of_its_own_it_has_the_mains_tmp_all_the_same(
    manager: Peer, tmp_path: Path
) -> None:
    made = "os.close(os.open('/tmp/made', os.O_CREAT | os.O_WRONLY, 0o644))"
    with main(manager, Sandbox(tmp="private"), made, tmp_path) as pid:
        code = "say(os.listdir('/tmp'))"
        ctx = context(SOMEBODY, main=pid)
        assert python(manager, sharing("tmp", level="base"), code, ctx) == ["made"]


def test_both_at_once(manager: Peer, tmp_path: Path) -> None:
    box = Sandbox(processes="own", tmp="private")
    with main(manager, box, "open('/tmp/made', 'w').close()", tmp_path) as pid:
        code = "say([os.listdir('/tmp'), os.readlink('/proc/self/ns/pid')])"
        found = python(manager, sharing("pid", "tmp"), code, context(SOMEBODY, main=pid))
        assert found == [["made"], os.readlink(f"/proc/{pid}/ns/pid")]


def test_it_ends_with_the_namespace_that_it_shares(manager: Peer, tmp_path: Path) -> None:
    with main(manager, Sandbox(processes="own"), "", tmp_path) as pid:
        code = "import os, signal\nos.write(1, b'up')\nos.kill(2, 9)\nsignal.pause()"
        ctx = context(SOMEBODY, main=pid)
        ended = run(manager, sharing("pid", level="base"), ctx, (PYTHON, "-I", "-S", "-c", code))
        assert (ended.text, ended.signal) == ("up", signal.SIGKILL)


@pytest.mark.parametrize("what", ["pid", "tmp"])
def test_a_main_that_has_nothing_of_its_own_is_refused_by_name(what: str) -> None:
    with pytest.raises(CannotConfine, match=r"its main has no .* of its own; write"):
        share.part(sharing(what), context(SOMEBODY, main=os.getpid()))


def test_a_main_that_is_gone_is_refused(manager: Peer, tmp_path: Path) -> None:
    with main(manager, Sandbox(processes="own"), "", tmp_path) as pid:
        pass
    with pytest.raises(CannotConfine, match="has just ended"):
        share.part(sharing("pid"), context(SOMEBODY, main=pid))


@pytest.mark.parametrize("what", ["pid", "tmp"])
def test_a_supervisor_that_may_enter_no_namespace_says_so(what: str) -> None:
    poor = context(SOMEBODY)
    poor = poor._replace(facts=poor.facts._replace(root=False, capabilities=0))
    found = share.part(sharing(what), poor)
    assert [key for key, _ in found.missing] == ["agent.share"]
    left = share.possible(sharing(what), poor)
    assert (left.share_pid, left.share_tmp, left.processes) == (False, False, "hidden")


def test_a_pid_namespace_cannot_be_shared_and_users_be_mapped_anew(
    manager: Peer, tmp_path: Path
) -> None:
    refused = pytest.raises(CannotConfine, match="cannot share a pid namespace and have")
    with main(manager, Sandbox(processes="own"), "", tmp_path) as pid, refused:
        sandbox.confine(sharing("pid", users=Users()), context(SOMEBODY, main=pid))

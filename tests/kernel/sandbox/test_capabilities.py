"""Capabilities, key rings and memory, as the kernel shows them to the process that was started."""
from __future__ import annotations

import pytest

from supervisor.kernel.plan import Identity
from supervisor.kernel.sandbox.facts import held
from supervisor.model.policy import Policy
from supervisor.model.sandbox import Sandbox
from tests.keeper.keeperclient import Peer
from tests.kernel.sandbox.boxed import HERE, ROOT, SOMEBODY, context, policy, probed, python
from tests.native import probe
from tests.native.probe import NOBODY, World

pytestmark = pytest.mark.skipif(not HERE.root, reason="needs root, which has capabilities to lose")
STATUS = """
rows = dict(line.split(":\\t") for line in open("/proc/self/status") if ":\\t" in line)
say([int(rows["Cap" + name], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
    + [rows["NoNewPrivs"].strip()])"""
BIND = 1 << 10


def sets(manager: Peer, confined: Policy, who: Identity) -> list[int | str]:
    """Inheritable, permitted, effective, bounding, ambient; and no_new_privs."""
    found = python(manager, confined, STATUS, context(who))
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("who", [ROOT, SOMEBODY])
def test_by_default_nobody_has_any(manager: Peer, who: Identity) -> None:
    assert sets(manager, policy(Sandbox(), user=""), who) == [0, 0, 0, 0, 0, "1"]


def test_root_in_words_keeps_what_the_supervisor_has(manager: Peer) -> None:
    own, _ = held()
    assert sets(manager, policy(Sandbox(), user="root"), ROOT) == [0, own, own, own, 0, "1"]


def test_a_list_is_kept_by_a_user_and_by_what_it_executes(manager: Peer) -> None:
    confined = policy(Sandbox(capabilities=("CAP_NET_BIND_SERVICE",)))
    assert sets(manager, confined, SOMEBODY) == [BIND, BIND, BIND, BIND, BIND, "1"]


def test_a_list_is_all_that_root_has(manager: Peer) -> None:
    confined = policy(Sandbox(capabilities=("CAP_NET_BIND_SERVICE",)), user="root")
    assert sets(manager, confined, ROOT) == [0, BIND, BIND, BIND, 0, "1"]


def test_the_key_ring_of_the_supervisor_is_not_handed_down(manager: Peer) -> None:
    code = "say([ctypes.CDLL(None).syscall(%d, 0, -3, 0) for _ in (1, 2)])"
    number = {"x86_64": 250, "aarch64": 219}[HERE.arch]
    found = [python(manager, policy(), code % number) for _ in (1, 2)]
    assert found[0][0] == found[0][1] > 0
    assert found[0] != found[1]


@pytest.mark.parametrize("kernel", [HERE.kernel, (6, 1)])
def test_memory_is_not_both_written_and_executed(manager: Peer, kernel: tuple[int, int]) -> None:
    """By the kernel's own means, or by a filter if it is older."""
    with World(NOBODY) as world:
        free = probe.run(world)
    with World(NOBODY) as world:
        ctx = context(SOMEBODY, facts=HERE._replace(kernel=kernel))
        got = probed(manager, world, policy(Sandbox(jit=False)), ctx)
    names = ("map-writable-code", "make-executable")
    assert {free[name] for name in names} == {"ok"}
    assert {got[name] for name in names} == {"EACCES" if kernel >= (6, 3) else "EPERM"}
    assert got["exec"] == got["thread"] == "ok"


def test_a_filter_that_kills_says_so(manager: Peer) -> None:
    from tests.kernel.sandbox.boxed import PYTHON, run

    confined = policy(Sandbox(promises=("rpath",), on_violation="kill"))
    command = (PYTHON, "-I", "-S", "-c", "import os; os.mkdir('/tmp/never')")
    assert run(manager, confined, context(SOMEBODY), command).signal == 31  # SIGSYS

"""Promises through a whole sandbox, and FAULTS 49 and 51: what stays shut whatever was promised."""
from __future__ import annotations

import pytest

from supervisor.model.sandbox import Sandbox
from tests.keeper.keeperclient import Peer
from tests.kernel.sandbox.boxed import HERE, SOMEBODY, context, policy, probed
from tests.native import probe
from tests.native.actions import ACTIONS
from tests.native.probe import NOBODY, World

pytestmark = pytest.mark.skipif(not HERE.root, reason="needs root, to have a user who has nothing")
# What more a launch takes away than its filter does: Landlock, if programs are limited.
BESIDE = {"exec-other", "exec-write", "exec-written", "exec-loader", "peer-environ", "exec-memory"}
EVERY = ("rpath", "wpath", "cpath", "fattr", "chown", "unix", "inet", "dns", "proc", "exec", "id",
         "tty", "ipc")  # fmt: skip
# FAULTS 49 and 51, and what the answer is.
SHUT = {
    "io-uring": "ENOSYS", "clone3": "ENOSYS", "openat2": "ENOSYS", "x32": "killed SIGSYS",
    "int80": "killed SIGSYS", "trace-peer": "EPERM", "be-traced": "EPERM", "unshare-user": "EPERM",
    "clone-user": "EPERM", "chmod-set-user-id": "EPERM", "chmod-set-group-id": "EPERM",
    "create-set-user-id": "EPERM", "device-node": "EPERM",
}  # fmt: skip


@pytest.mark.parametrize("words", [("app",), EVERY, ("rpath", "wpath", "proc", "unix")])
def test_a_sandbox_lets_through_what_was_promised(manager: Peer, words: tuple[str, ...]) -> None:
    with World(NOBODY) as world:
        free = probe.run(world)
    with World(NOBODY) as world:
        got = probed(manager, world, policy(Sandbox(promises=words)), context(SOMEBODY))
    assert free.keys() == got.keys()
    wrong = {}
    for name, action in ACTIONS.items():
        expected = action.outcome(words)
        if name in BESIDE or free[name].startswith("absent"):
            continue
        if got[name] != (free[name] if expected == "ok" else expected):
            wrong[name] = f"{expected}, was {free[name]}, became {got[name]}"
    assert not wrong
    native = {"int80", "x32"} if HERE.arch != "x86_64" else set()
    assert {name: got[name] for name in SHUT.keys() - native} == {
        name: answer for name, answer in SHUT.items() if name not in native
    }


def test_no_file_of_its_own_is_given_capabilities(manager: Peer) -> None:
    """FAULTS 51: only who has CAP_SETFCAP could, whether the call is promised or not."""
    with World(0) as world:
        assert probe.run(world)["setcap"] == "ok"
    with World(0) as world:
        box = policy(Sandbox(promises=("app",)), user="")
        assert probed(manager, world, box, context())["setcap"] == "EPERM"

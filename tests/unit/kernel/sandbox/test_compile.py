"""The order of a sandbox's steps, and what becomes of what is missing."""
from __future__ import annotations

from typing import Any, cast

import pytest

from supervisor.kernel import plan
from supervisor.kernel.plan import Identity, Launch, Step
from supervisor.kernel.sandbox.compile import confine, enter
from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.model.sandbox import Network, PortRule
from tests.unit.kernel.sandbox.given import FACTS, context, policy

NEW = FACTS._replace(
    landlock=10, kernel=(7, 2), capabilities=(1 << 41) - 1, devices_v1="", cgroup_bpf=False
)
WEB = Identity("web", 900, 900, (), "/", "")


def names(steps: tuple[Step, ...] | list[Step]) -> list[str]:
    """Of steps; of a call, its name, and of prctl what it sets."""
    found = []
    for step in steps:
        args = cast("tuple[Any, ...]", step.args)
        name = str(args[0]) if step.name == "CALL" else step.name
        found.append(f"prctl {args[1][0]}" if name == "prctl" else name)
    return found


def test_every_right_is_taken_after_its_last_use() -> None:
    box = policy(
        "base", user="web", ipc="own", promises=("rpath", "inet"), jit=False,
        capabilities=("CAP_NET_BIND_SERVICE",), network=Network(listen=(PortRule("tcp", 80),)),
    )  # fmt: skip
    ctx = context(NEW, identity=WEB)
    made = confine(box, ctx).confinement
    launch = Launch(("/bin/true",), "/bin/true", (), WEB, confinement=made)
    order = names(plan.compile(launch))
    steps = [
        "FORK", "unshare", "keyctl", "BOUND", "prctl 8", "GROUPS", "GID", "UID", "capset",
        "prctl 47", "CLOSE_FROM", "NO_NEW_PRIVS", "landlock_create_ruleset",
        "landlock_restrict_self", "prctl 65", "seccomp", "EXEC",
    ]  # fmt: skip
    assert [name for name in order if name in steps] == steps
    plan.encode(plan.compile(launch))  # and it is a plan


def test_what_is_missing_refuses_the_launch_and_names_the_key() -> None:
    box = policy("base", promises=("rpath",), capabilities=("CAP_BPF",))
    with pytest.raises(CannotConfine) as refused:
        confine(box, context(NEW._replace(landlock=0, seccomp=False, capabilities=0)))
    words = str(refused.value)
    assert all(key in words for key in ("sandbox.exec", "sandbox.promises", "sandbox.capabilities"))
    assert 'require = "best"' in words


def test_with_require_best_it_is_told_instead() -> None:
    box = policy("base", promises=("rpath",), require="best")
    made = confine(box, context(NEW._replace(landlock=0)))
    assert [key for key, _ in made.missing] == ["sandbox.exec"]
    assert names(made.confinement.last) == ["seccomp"]
    assert ("sandbox.promises", "a system call filter; on violation: errno") in made.mechanisms


def test_what_joins_a_service_may_signal_it() -> None:
    """Landlock's scopes are a domain's, and what joins has one of its own."""
    box = policy("app", require="best", devices=None)
    assert "landlock_restrict_self" in names(confine(box, context(NEW)).confinement.last)
    assert names(enter(box, context(NEW), 1, 0).confinement.last) == ["seccomp"]


def test_what_joins_a_service_does_without_what_that_was_given() -> None:
    """A stop command is not kept from its work by a file or a device that is gone by then."""
    box = policy(
        "base", read=("/no/such",), devices=("/dev/no-such",), state=("unboxed-test",),
        promises=("stdio",),
    )  # fmt: skip
    with pytest.raises(CannotConfine, match="/dev/no-such"):
        confine(box, context(NEW))
    made = enter(box, context(NEW), 1, 0)
    assert made.env == (("STATE_DIRECTORY", "/var/lib/unboxed-test"),)
    assert names(made.confinement.last)[-1] == "seccomp"


def test_level_off_is_nothing() -> None:
    made = confine(policy("off"), context(NEW))
    assert made.confinement == plan.Confinement()
    assert (made.env, made.mechanisms, made.missing) == ((), (), ())


def test_a_host_without_key_rings_is_not_asked_for_one() -> None:
    assert "keyctl" in names(confine(policy("base"), context(NEW)).confinement.setup)
    made = confine(policy("base"), context(NEW._replace(keyrings=False)))
    assert "keyctl" not in names(made.confinement.setup)

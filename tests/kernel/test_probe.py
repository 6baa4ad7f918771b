"""What each action of the probe comes to on the kernel that runs the tests, bare and under filters.

FAULTS 47 for seccomp alone: every word of a promise, those that belong together, and level app's
list, against the table in tests/native/actions.py.
"""
from __future__ import annotations

import os
import platform
import subprocess

import pytest

from supervisor.kernel.seccomp import filter as seccomp
from supervisor.kernel.seccomp.words import WORDS
from tests.native import probe
from tests.native.actions import ACTIONS

ROOT = os.geteuid() == 0
# Words that only together let anything more through.
TOGETHER = (
    ("rpath", "wpath"), ("wpath", "cpath"), ("rpath", "cpath"), ("rpath", "wpath", "cpath"),
    ("rpath", "namespace"), ("proc", "debug"), ("inet", "mcast"), ("dns", "mcast"),
    ("dns", "unix"), ("app", "mount", "namespace"), ("app", "debug"),
    tuple(word for word in WORDS if word != "app"), tuple(WORDS),
)
# No kernel without these, and no host on which its root, or anyone, may not do them.
CERTAIN = (
    "read", "list", "write", "read-write", "truncate", "create", "unlink", "rename", "symlink",
    "mkdir", "rmdir", "fifo", "stat", "access", "readlink", "chdir", "chmod", "chown", "utime",
    "exec", "exec-other", "exec-written", "fork", "vfork", "thread", "signal-group",
    "signal-thread", "signal-peer", "tcp-connect", "tcp-connect-other", "tcp-bind",
    "tcp-listen-unbound", "udp-send", "udp-bind", "unix-pair", "unix-connect", "unix-abstract",
    "unix-bind", "dev-null", "wait", "getrandom", "memory-file", "tty-input", "personality",
)

filters = pytest.mark.skipif(
    platform.machine() not in seccomp.ARCHES
    or not os.path.exists("/proc/sys/kernel/seccomp/actions_avail"),
    reason=f"seccomp filters on {platform.machine()}: no table, or no CONFIG_SECCOMP_FILTER")


@pytest.fixture(scope="module")
def bare() -> dict[str, str]:
    """Every action without a policy, as whoever runs the tests."""
    with probe.World() as world:
        return probe.run(world)


def differences(
    seen: dict[str, str], bare: dict[str, str], words: tuple[str, ...], on_violation: str = "errno",
) -> list[str]:
    found = []
    for name, action in ACTIONS.items():
        expected = action.outcome(words, on_violation)
        accepted = {bare[name] if expected == "ok" else expected}
        if bare[name] != "ok":  # before or after the step that the policy refuses
            accepted.add(bare[name])
        if seen.get(name) not in accepted:
            found.append(f"{name}: expected {expected}, seen {seen.get(name)}, bare {bare[name]}")
    return found


def test_the_table_names_every_action_of_the_probe() -> None:
    assert [about.name for about in probe.actions()] == list(ACTIONS)
    assert all(about.what for about in probe.actions())
    words = {word for action in ACTIONS.values() for step in action.steps
             for each in step.promises.split() for word in each.split("+")}
    assert words <= set(WORDS)


def test_an_action_is_known_by_its_number_too() -> None:
    number = list(ACTIONS).index("getrandom")
    with probe.World() as world:
        said = subprocess.check_output(world.command(str(number)), text=True)
        unknown = subprocess.run(world.command(str(len(ACTIONS))), capture_output=True, check=False)
    assert said == "getrandom ok\n"
    assert unknown.returncode == 2
    assert not unknown.stdout


def test_without_a_policy_what_is_certain_on_any_kernel_works(bare: dict[str, str]) -> None:
    assert {name: bare[name] for name in CERTAIN} == dict.fromkeys(CERTAIN, "ok")
    assert bare["no-such-call"] == "ENOSYS"
    assert bare.keys() == ACTIONS.keys()


def test_nothing_hangs_and_nothing_dies_without_a_policy(bare: dict[str, str]) -> None:
    ends = {name: end for name, end in bare.items() if end.split()[0] in {"timeout", "killed"}}
    # Kernels without 32-bit calls have nothing behind that interrupt.
    assert ends in ({}, {"int80": "killed SIGSEGV"})


def test_actions_one_by_one_end_as_the_children_of_one_probe_do(bare: dict[str, str]) -> None:
    with probe.World() as world:
        alone = probe.run(world, each=True)
    # Its parent is then the test, and not the probe.
    alone["trace-parent"] = bare["trace-parent"]
    assert alone == bare


@pytest.mark.skipif(not ROOT, reason="becoming another user needs root")
def test_an_ordinary_user_is_refused_what_takes_a_capability(bare: dict[str, str]) -> None:
    with probe.World(probe.NOBODY) as world:
        seen = probe.run(world)
    granted = [name for name, end in seen.items() if end == "ok" and ACTIONS[name].tagged("cap")]
    assert not granted
    changed = [
        f"{name}: {end} for root, {seen[name]} for a user" for name, end in bare.items()
        if end != seen[name] and not ACTIONS[name].tagged("cap")
        and not ACTIONS[name].tagged("host")]
    assert not changed


@filters
@pytest.mark.parametrize("words", [*((word,) for word in WORDS), *TOGETHER], ids="+".join)
def test_a_filter_lets_through_what_its_words_mean_and_nothing_else(
    words: tuple[str, ...], bare: dict[str, str],
) -> None:
    program = seccomp.compile(platform.machine(), words)
    with probe.World() as world:
        seen = probe.run(world, filter=program)
    assert not differences(seen, bare, words)


@filters
@pytest.mark.parametrize("words", [("stdio",), ("rpath", "inet"), ("app",)], ids="+".join)
def test_a_violation_kills_where_that_is_asked_for_and_kinder_answers_stay(
    words: tuple[str, ...], bare: dict[str, str],
) -> None:
    program = seccomp.compile(platform.machine(), words, "kill")
    with probe.World() as world:
        seen = probe.run(world, filter=program)
    assert not differences(seen, bare, words, "kill")

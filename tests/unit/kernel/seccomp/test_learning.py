"""The learner's filter: asks for what stdio does not allow; the rest is as it will be later."""
from __future__ import annotations

import pytest

from supervisor.kernel.seccomp import learning
from supervisor.kernel.seccomp.filter import ARCHES
from supervisor.kernel.seccomp.rule import ALLOW, ENOSYS, EOPNOTSUPP, EPERM, KILL_PROCESS
from supervisor.kernel.seccomp.words import WORDS
from supervisor.kernel.wire import EXEC_MARK
from tests.unit.kernel.seccomp.machine import Machine

ASKED = learning.USER_NOTIF


@pytest.fixture(params=sorted(ARCHES))
def arch(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def answer(arch: str, call: str, *args: int) -> int:
    machine = Machine(learning.compile(arch))
    padded = (*args, *(0 for _ in range(6 - len(args))))
    return machine.run(ARCHES[arch].audit, ARCHES[arch].calls[call], padded).action


def test_hot_calls_are_not_asked_for(arch: str) -> None:
    for call in (WORDS["stdio"].calls - {"execve"}) & set(ARCHES[arch].calls):
        assert answer(arch, call) == ALLOW, call


def test_what_some_promise_is_needed_for_is_asked_for(arch: str) -> None:
    assert answer(arch, "openat", 0, 1, 0o102, 0o644) == ASKED
    assert answer(arch, "socket", 1, 1, 0) == ASKED  # whatever is answered kindly later
    assert answer(arch, "statx", 0, 1) == ASKED
    assert answer(arch, "clone", 0x1200011) == ASKED
    assert answer(arch, "reboot") == ASKED


def test_of_all_executions_only_the_keepers_own_is_not_asked_for(arch: str) -> None:
    assert answer(arch, "execve", 1, 2, 3, EXEC_MARK) == ALLOW
    assert answer(arch, "execve", 1, 2, 3, EXEC_MARK & 0xFFFFFFFF) == ASKED
    assert answer(arch, "execve", 1, 2, 3) == ASKED
    assert answer(arch, "execveat", 3, 1, 2, 3, 0x1000) == ASKED


def test_what_no_promise_changes_is_answered_as_it_will_be(arch: str) -> None:
    assert answer(arch, "clone3") == ENOSYS
    assert answer(arch, "io_uring_setup") == ENOSYS
    assert answer(arch, "ioctl", 0, 0x5412) == EPERM
    assert answer(arch, "sendto", 3, 1, 2, 0x20000000, 4, 5) == EOPNOTSUPP
    assert Machine(learning.compile(arch)).run(0x40000003, 1).action == KILL_PROCESS

"""What is read off the kernel's own words, and that a try leaves nothing behind."""
from __future__ import annotations

import os
import sys

import pytest

from supervisor.kernel.sandbox.facts import Facts, devices_v1, facts, held, release

V1 = (
    "30 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    "36 24 0:33 / /sys/fs/cgroup/devices rw,nosuid shared:9 - cgroup cgroup rw,devices\n"
)


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("6.18.44-rc1+", (6, 18)), ("5.10.0-21-amd64", (5, 10)), ("7.2-rc3", (7, 2)),
        ("6.1", (6, 1)), ("10.0.0", (10, 0)),
    ],
)  # fmt: skip
def test_a_release_is_two_numbers(text: str, numbers: tuple[int, int]) -> None:
    assert release(text) == numbers


def test_the_devices_controller_is_found_where_it_is_mounted() -> None:
    assert devices_v1(V1) == "/sys/fs/cgroup/devices"
    assert devices_v1(V1.replace("rw,devices", "rw,devices_other")) == ""
    assert devices_v1("") == ""


def test_this_host_s_are_found_once_and_change_nothing_here() -> None:
    before = os.readlink("/proc/self/ns/user"), os.listdir("/proc/self/fd")
    found = facts()
    assert found is facts()
    assert before == (os.readlink("/proc/self/ns/user"), os.listdir("/proc/self/fd"))
    assert found.arch == os.uname().machine
    assert found.capabilities == held()[0]
    assert found.seccomp is os.path.exists("/proc/sys/kernel/seccomp/actions_avail")
    assert found.kernel == release(os.uname().release)
    assert isinstance(found, Facts)


def test_looking_loads_nothing_that_stays() -> None:
    code = (
        "import sys; from supervisor.kernel.sandbox.facts import facts; facts();"
        "sys.exit('ctypes' in sys.modules)"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0

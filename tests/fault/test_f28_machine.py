"""Fault 28 on machines: cgroups that are read-only or not there, and a kernel without a controller.
What cannot be kept is refused by name, and nothing runs unlimited in silence."""
from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.booted import Booted
from tests.vm.machine import needs_machine

SLEEP = 'command = ["/bin/sleep", "1000"]\n'
UNITS = {
    "strict": SLEEP + 'limits.memory = "64MiB"\nrestart.when = "never"\n',
    "lax": SLEEP + 'limits = {memory = "64MiB", require = "best"}\n',
    "free": SLEEP,
}
READ_ONLY = "mount -t sysfs sysfs /sys; mount -t cgroup2 -o ro cgroup2 /sys/fs/cgroup"
NONE = "mount -t sysfs -o ro sysfs /sys; mount -t tmpfs -o ro tmpfs /sys/fs/cgroup"


@needs_machine
@pytest.mark.slow
@pytest.mark.parametrize(
    "words, before, tracking",
    [
        (["cgroup_disable=memory"], "", "cgroup"),
        ([], READ_ONLY, "session"),
        ([], NONE, "session"),
    ],
    ids=["no controller", "read-only", "none"],
)
def test_f28_a_limit_that_cannot_be_kept_is_refused_by_name(
    words: list[str], before: str, tracking: str, tmp_path: Path
) -> None:
    with Booted(tmp_path, UNITS, words=words, before=before) as machine:
        assert machine.wait("free", "running")["tracking"] == tracking
        reason = machine.wait("strict", "failed")["reason"]
        assert "limits.memory cannot be enforced here: " in reason
        missing = machine.wait("lax", "running")["missing_limits"]
        assert [one for one in missing if one.startswith("limits.memory ")]
        console = machine.power("off")
    assert "strict: failed" in console

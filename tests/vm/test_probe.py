"""The probe and the promises' filters on another kernel: user-mode Linux 6.1, which has no Landlock
and none of the newer calls. What the table says of the promises holds there all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.machine import POWER_OFF, Machine, failures, inside, needs_machine

# SIOCSIFFLAGS: nothing else brings its loopback up.
LOOPBACK_UP = (
    "import fcntl, socket, struct; "
    'fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14x", b"lo", 1))'
)
# A machine in a process is slow: the words that most services will have, not each alone.
SOME = ("-k", "'certain or nothing_hangs or ordinary or kills or app'")


@needs_machine
@pytest.mark.slow
def test_filters_let_through_the_same_on_another_kernel(tmp_path: Path) -> None:
    script = f"\"$PYTHON\" -I -S -c '{LOOPBACK_UP}'\n{inside('tests/kernel/test_probe.py', *SOME)}"
    with Machine(tmp_path, f"{script}\n{POWER_OFF}") as machine:
        machine.ended()
    found = failures(tmp_path)
    assert not any(found.values()), "\n".join(words for words in found.values() if words)
    assert len(found) >= 10, list(found)

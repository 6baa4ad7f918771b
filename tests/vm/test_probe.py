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
FAULT_47 = "tests/fault/test_f47_promises_and_levels.py"
LEFT_OUT = "not app: and " + " and ".join(
    f"not {word}" for word in (
        "namespaces", "hidden", "none", "listen", "connect", "unix", "kill", "log", "capabilities",
        "write", "user", "alone",
    ))  # fmt: skip
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


@needs_machine
@pytest.mark.slow
def test_units_may_do_there_what_their_files_say_or_are_refused(tmp_path: Path) -> None:
    """FAULTS 47: what needs Landlock is refused by name, and all else holds as with it."""
    script = f"\"$PYTHON\" -I -S -c '{LOOPBACK_UP}'\n"
    script += inside("--timeout=200", "-k", f"'{LEFT_OUT}'", FAULT_47)
    with Machine(tmp_path, f"{script}\n{POWER_OFF}", mebibytes=1024) as machine:
        machine.ended()
    found = failures(tmp_path)
    assert not any(found.values()), "\n".join(words for words in found.values() if words)
    assert len(found) > 15

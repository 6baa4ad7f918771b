"""PID 1 of a container boots as that of a machine does, and leaves what is the host's alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.keeper.keeperclient import keeper_binary

PATIENCE = 30
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes a container: needs root")
LOGGER = ["/bin/sh", "-c", "while read -r _ <&3; do :; done"]
BEGIN = """
mount -t tmpfs tmpfs /etc || exit 99
mkdir /etc/unboxed
cp "$1" /etc/unboxed/boot.args || exit 98
cp "$2" /etc/hostname
exec "$3"
"""
_FRAME = r"\024\0\0\0\001" + r"\0" * 11 + r"\001\0\0\0"
HELLO = f"printf '{_FRAME}' >&3; head -c 1 <&3 >/dev/null"  # and the keeper's answer
HOSTS = ("/proc/swaps", "/proc/mounts")


def boot(directory: Path, lines: list[str], typed: str = "") -> subprocess.CompletedProcess[str]:
    args = directory / "args"
    args.write_text("\n".join([*lines, ""]))
    name = directory / "hostname"
    name.write_text("somebody-else\n")
    return subprocess.run(
        ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child",
         "/bin/sh", "-c", BEGIN, "sh", args, name, keeper_binary()],
        input=typed, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


@needs_root
@pytest.mark.parametrize(
    "number, words, end",
    [
        (37, "halting", signal.SIGINT),  # what reboot(2) is to a container: pid_namespaces(7)
        (38, "powering off", signal.SIGINT),
        (39, "rebooting", signal.SIGHUP),
    ],
)
def test_a_container_is_booted_and_ends_as_it_was_asked(
    tmp_path: Path, number: int, words: str, end: signal.Signals
) -> None:
    before = [Path(path).read_text() for path in HOSTS], socket.gethostname()
    manager = f'echo "machine=$UNBOXED_MACHINE path=$PATH" >&2; kill -{number} 1; sleep 20'
    done = boot(tmp_path, ["--", "/bin/sh", "-c", manager, "--", *LOGGER])
    assert done.returncode in {-end, 128 + end}, done.stderr
    assert "machine=1 path=/usr/local/sbin:/usr/local/bin:/usr/sbin" in done.stderr
    assert f"unboxed-init: {words}\n" in done.stderr
    assert ([Path(path).read_text() for path in HOSTS], socket.gethostname()) == before


@needs_root
@pytest.mark.parametrize(
    "lines",
    [[], ["--"], ["--", "--", "logger"], ["--", "manager"], ["--", "manager", "--"],
     ["manager", "--", "logger"], ["--", "manager", "--", *["x"] * 200]],
)  # fmt: skip
def test_arguments_without_manager_or_logger_are_a_rescue_shell_and_not_the_end_of_pid_1(
    tmp_path: Path, lines: list[str]
) -> None:
    """A keeper without them would exit: a panic of the kernel. What asks for the end is obeyed
    while the shell runs, which has neither the host's console nor the mark of a machine."""
    shell = 'echo "machine=$UNBOXED_MACHINE, $(readlink /proc/self/fd/2)"\nkill -38 1\nsleep 20\n'
    done = boot(tmp_path, lines, shell)
    assert done.returncode in {-signal.SIGINT, 128 + signal.SIGINT}, done.stderr
    assert "rescue shell: cannot read /etc/unboxed/boot.args: it " in done.stderr
    assert "machine=, pipe:" in done.stdout
    assert done.stderr.endswith("unboxed-init: powering off\n")


@needs_root
def test_a_manager_that_is_asked_to_begin_anew_is_not_asked_to_stop(tmp_path: Path) -> None:
    """SIGTERM is no stop to a machine's manager, and SIGRTMIN+6 (kexec) it may refuse, so that
    their third ones are no end; SIGRTMIN+4's is."""
    each = "for n in 1 2 3 4; do kill -{} 1; sleep 0.1; done;"
    no_end = each.format(15) + each.format(40)
    manager = f"{HELLO}; {no_end} echo still here >&2; {each.format(38)} sleep 20"
    done = boot(tmp_path, ["--", "/bin/sh", "-c", manager, "--", *LOGGER])
    assert done.returncode in {-signal.SIGINT, 128 + signal.SIGINT}, done.stderr
    still, _, rest = done.stderr.partition("still here\n")
    assert "asked to stop" not in still
    assert "asked to stop, and no manager does it" in rest

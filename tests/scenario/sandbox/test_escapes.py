"""Ways out of a sandbox that were open once, in this supervisor or in others."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.scenario.sandbox.kit import written
from tests.scenario.sandbox.test_exec import run
from tests.stack import Stack

PYTHON = "/usr/bin/python3"  # one that is there whatever is hidden
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_python = pytest.mark.skipif(not os.path.exists(PYTHON), reason=f"needs {PYTHON}")

# Seizes whatever is born next to it and tells what program that was.
_TRACER = """
import ctypes, os
seize = ctypes.CDLL(None).ptrace
seize.argtypes = [ctypes.c_long] * 4
def newest():
    return int(open("/proc/loadavg").read().split()[-1])
last = newest()
print("armed", flush=True)
while True:
    for pid in range(last + 1, last + 6):
        if pid != os.getpid() and not seize(0x4206, pid, 0, 0):
            print("seized", os.readlink(f"/proc/{pid}/exe"), flush=True)
            os.kill(pid, 9)
            os.waitpid(pid, 0x40000000)
    last = max(last, newest() - 1)
"""


@needs_root
@needs_python
def test_what_joins_a_service_cannot_be_traced_by_the_root_in_there(tmp_path: Path) -> None:
    """CVE-2016-9962: it has the keeper's memory until it executes."""
    text = f"command = ['{PYTHON}', '-c', '''{_TRACER}''']\nuser = 'root'\n[sandbox.users]\n"
    with Stack(tmp_path, {"root": text}) as stack:
        stack.wait("root", "running")
        written(stack, "root", "armed")
        for _ in range(12):
            run(stack, "root", "--", "/bin/true")
        assert "unboxed-init" not in written(stack, "root", "armed")


@needs_root
@pytest.mark.parametrize("key", ["open", "subdirectory", "hard link", "secret"])
def test_a_service_cannot_lead_what_is_opened_for_it_elsewhere(tmp_path: Path, key: str) -> None:
    """CVE-2018-6954 and its kin: it may write to the directory in which that is."""
    tmp_path.chmod(0o755)
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir()
    other.mkdir()
    (other / "file").write_text("of somebody else\n")
    (other / "file").chmod(0o600)
    if key == "hard link":
        (mine / "file").hardlink_to(other / "file")
    elif key == "subdirectory":
        (mine / "file").symlink_to(other)
    else:
        (mine / "file").symlink_to(other / "file")
    os.chown(mine, 65534, 65534)
    os.chown(mine / "file", 65534 * (key != "hard link"), 65534, follow_symlinks=False)
    path = f"{mine}/file" + "/file" * (key == "subdirectory")
    more = f'[secrets]\nsecret = "{path}"\n'
    if key != "secret":
        more = f'[sandbox]\nopen = [{{path = "{path}", fd = 5, mode = "read-write"}}]\n'
    text = "command = ['/bin/sh', '-c', 'cat $CREDENTIALS_DIRECTORY/secret <&5; sleep 100']\n"
    with Stack(tmp_path, {"web": f'{text}user = "nobody"\n{more}'}) as stack:
        stack.wait("web", "backoff")
        stack.until(lambda: path in stack.errors.read_text(), "the reason to be told")
        why = "hard link" if key == "hard link" else "uid 65534 made"
        assert why in stack.errors.read_text()


@needs_root
@pytest.mark.parametrize("level", ["app", "strict"])
def test_a_listed_path_shows_nothing_of_the_supervisor(tmp_path: Path, level: str) -> None:
    """By the control socket root, or the user of a supervisor without rights, could start anything
    outside. The socket by which it reports is there."""
    script = f"ls -R {tmp_path}/rt; echo over; sleep 100"
    more = ""
    if level == "strict":
        more = 'promises = ["stdio", "rpath", "exec", "proc", "unix"]\nexec = ["/usr", "/bin"]\n'
    text = (
        f"command = ['/bin/sh', '-c', '{script}']\nuser = 'root'\nstart.ready = 'notify'\n"
        f"[sandbox]\nlevel = '{level}'\nread = ['{tmp_path}', '/usr', '/bin']\n{more}"
    )
    with Stack(tmp_path, {"web": text}) as stack:
        lines = written(stack, "web", "over").split()
        assert "web" in lines
        assert not {"control", "status", "nudge", "lock"} & set(lines)


@needs_root
@pytest.mark.parametrize("capabilities", ["", 'capabilities = ["SYS_RAWIO", "SYSLOG"]\n'])
def test_root_reads_nothing_that_is_the_kernels(tmp_path: Path, capabilities: str) -> None:
    """What runc masks: memory, keys, timers, firmware."""
    paths = [
        path for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")
        if os.path.exists(path)
    ]  # fmt: skip
    assert "/proc/keys" in paths
    script = f"for p in {' '.join(paths)}; do head -c 9 $p | wc -c; ls -A $p; done; echo over"
    text = f"command = ['/bin/sh', '-c', '{script}; sleep 100']\nuser = 'root'\n[sandbox]\n"
    with Stack(tmp_path, {"web": f'{text}level = "app"\n{capabilities}'}) as stack:
        lines = written(stack, "web", "over").split("\n")
        assert {line for line in lines if line and "firmware" not in line} == {"0", "over", *(
            path for path in paths if not os.path.isdir(path)
        )}  # fmt: skip

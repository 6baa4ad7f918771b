"""Facts of this host that conditions and status ask for. Every file read here is the kernel's own
or small and local, so nothing blocks."""
from __future__ import annotations

import os

from supervisor.kernel.spare import use


def read_bytes(path: str, limit: int = 65536) -> bytes:
    """The content of a small file, b"" if it cannot be read."""
    try:
        fd = use(os.open, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(fd, limit)
    except OSError:
        return b""
    finally:
        os.close(fd)


def read(path: str, limit: int = 65536) -> str:
    """The text of a small file, "" if it cannot be read."""
    return read_bytes(path, limit).decode(errors="replace")


def read_long(path: str, limit: int = 1 << 26) -> str:
    """The whole text of one of the kernel's lists, "" if it cannot be read. One read(2) of such a
    file gives a page at most (seq_file), which is some 700 pids or 30 mounts."""
    parts, size = [], 0
    try:
        fd = use(os.open, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        while size < limit and (part := os.read(fd, 65536)):
            parts.append(part)
            size += len(part)
    except OSError:
        pass  # it went away; what was read so far was true
    finally:
        os.close(fd)
    return b"".join(parts).decode(errors="replace")


def more_files() -> None:
    """Let this process have as many descriptors as its hard limit says: a thousand services that
    report are more than the usual 1024."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def virtualization() -> str:
    """"container", "vm", or "none"; a container inside a machine counts as a container."""
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        return "container"
    if "\ncontainer=" in "\n" + read("/proc/1/environ").replace("\0", "\n"):
        return "container"
    flags = next((x for x in read("/proc/cpuinfo", 8192).splitlines() if x.startswith("flags")), "")
    if "hypervisor" in flags.split() or os.path.exists("/proc/xen") or "User Mode Linux" in read(
        "/proc/cpuinfo", 256
    ):
        return "vm"
    return "none"


def host_name() -> str:
    return os.uname().nodename


def kernel_cmdline() -> list[str]:
    return read("/proc/cmdline").split()


def first_boot() -> bool:
    """As systemd tells it: no machine id yet, or it says "uninitialized"; or so it was when this
    machine's boot began, which has made one since (boot step identity)."""
    return os.path.exists("/run/unboxed/first-boot") or read("/etc/machine-id").strip() in (
        "", "uninitialized")


def cores() -> int:
    """CPUs that we may use."""
    return len(os.sched_getaffinity(0))


def survives(pid: int, number: int) -> bool:
    """Whether a process handles or ignores a signal, so that it is not ended by it. True if that
    cannot be known, and for signals that end nothing by default (CHLD, CONT, URG, WINCH)."""
    if number in (17, 18, 23, 28):
        return True
    masks = [
        int(line.split()[1], 16)
        for line in read(f"/proc/{pid}/status", 4096).splitlines()
        if line.startswith(("SigIgn:", "SigCgt:"))
    ]
    return not masks or any(mask >> (number - 1) & 1 for mask in masks)


def owner(pid: int) -> int:
    """The uid of a process; -1 if there is none of that number."""
    try:
        return os.stat(f"/proc/{pid}").st_uid if pid else -1
    except OSError:
        return -1


def installed_program(pid: int) -> str:
    """Where the program of a process is to be found now: at the absolute path that it was started
    by, since its exe link follows the old file to wherever an installer moved that."""
    word = read(f"/proc/{pid}/cmdline", 4097).partition("\0")[0]
    if word.startswith("/"):
        return word
    return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")

"""Filters in the kernel that runs the tests: what it answers is what the program says it will.

Each child tries the same calls once without and once under a filter. Where the filter says an
errno the kernel has to give that errno; where it allows, the answer is the one without a filter.
"""
from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.kernel.seccomp import filter as seccomp
from supervisor.kernel.seccomp.words import WORDS
from tests.unit.kernel.seccomp.machine import Machine
from tests.unit.kernel.seccomp.oracle import AUDIT, CALLS

ARCH = platform.machine()
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
AT_FDCWD = -100
USUAL = ("stdio", "rpath", "wpath", "cpath", "flock", "unix", "inet", "dns", "proc", "fattr")

pytestmark = pytest.mark.skipif(
    ARCH not in AUDIT or not os.path.exists("/proc/sys/kernel/seccomp/actions_avail"),
    reason=f"seccomp filters on {ARCH}: no table, or a kernel without CONFIG_SECCOMP_FILTER")

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class SockFprog(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def install(program: bytes) -> None:
    memory = ctypes.create_string_buffer(program, len(program))
    described = SockFprog(len(program) // 8, ctypes.addressof(memory))
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(described), 0, 0) == 0, (
        os.strerror(ctypes.get_errno()))


def call(number: int, arguments: tuple[int, ...]) -> int:
    """0 or more, or the negative errno. What a call returns is not compared, only its error."""
    ctypes.set_errno(0)
    words = [ctypes.c_ulong(argument & 0xFFFFFFFFFFFFFFFF) for argument in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *words))
    return -ctypes.get_errno() if result == -1 else 0


def in_child(work: Callable[[], object]) -> tuple[object, int]:
    """What it returns, and its wait status: of a process of its own, which may be killed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as answer:
        text = answer.read()
    _, status = os.waitpid(pid, 0)
    return json.loads(text) if text else None, status


class Probes:
    """Calls that are harmless whether they are let through or not; most fail for another reason."""

    def __init__(self, folder: Path) -> None:
        self.file = ctypes.create_string_buffer(os.fsencode(folder / "file"))
        self.missing = ctypes.create_string_buffer(os.fsencode(folder / "missing" / "x"))
        self.empty = ctypes.create_string_buffer(1)
        self.room = ctypes.create_string_buffer(4096)
        (folder / "file").write_text("text")
        self.fd = os.open(folder / "file", os.O_RDONLY | os.O_CLOEXEC)

    def __iter__(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        file, missing, empty, room = (
            ctypes.addressof(each) for each in (self.file, self.missing, self.empty, self.room))
        high = 1 << 32
        for flags in (0, 1, 2, 0o1001, 0o101, 0o102, 0o100, 0o20200002):
            yield "openat", (AT_FDCWD, missing, flags, 0o644)
        yield "openat", (AT_FDCWD, missing, 0o101, 0o4755)
        yield "openat", (AT_FDCWD, missing, 0o101, high | 0o2755)
        yield "openat2", (AT_FDCWD, file, room, 24)
        yield "newfstatat", (AT_FDCWD, file, room, 0)
        yield "newfstatat", (self.fd, empty, room, 0x1000)
        yield "statx", (AT_FDCWD, file, 0, 0, room)
        yield "faccessat2", (AT_FDCWD, file, 4, 0x200)
        yield "mkdirat", (AT_FDCWD, missing, 0o755)
        yield "mknodat", (AT_FDCWD, missing, 0o010644, 0)
        yield "mknodat", (AT_FDCWD, missing, 0o020644, 0x103)
        yield "fchmodat", (AT_FDCWD, file, 0o644)
        yield "fchmodat", (AT_FDCWD, missing, 0o4755)
        yield "fchownat", (AT_FDCWD, file, os.getuid(), os.getgid(), 0)
        yield "utimensat", (AT_FDCWD, file, 0, 0)
        yield "flock", (self.fd, 1 | 4)
        yield "fcntl", (self.fd, 3, 0)
        yield "fcntl", (self.fd, 8, 0)
        for family, kind, protocol in (
            (1, 1, 0), (2, 1, 0), (2, 0o2000001, 6), (high | 10, 2, 17), (2, 1, 262),
            (2, 1, high | 262), (2, 5, 132), (2, 1, 33), (16, 3, 0), (16, 3, 12), (38, 5, 0),
        ):
            yield "socket", (family, kind, protocol)
        yield "bind", (self.fd, room, 16)
        yield "listen", (self.fd, 1)
        yield "connect", (self.fd, room, 16)
        yield "sendto", (self.fd, room, 1, 0, 0, 0)
        yield "sendto", (self.fd, room, 1, 0, room, 16)
        yield "sendto", (self.fd, room, 1, high | 0x20000000, room, 16)
        yield "sendmsg", (self.fd, room, 0)
        yield "sendmsg", (self.fd, room, 0x20000000)
        yield "sendmmsg", (self.fd, room, 1, 0x20000000)
        for level, option in ((1, 2), (1, 26), (6, 1), (6, 31), (0, 35), (41, 20), (132, 110)):
            yield "setsockopt", (self.fd, level, option, room, 4)
        for request in (0x5401, 0x5402, 0x5412, high | 0x5412, 0x541C, 0x5423, 0x8915, 0x4601):
            yield "ioctl", (self.fd, request, room)
        yield "clone", (0x10000000 | 0x800,)  # CLONE_SIGHAND without CLONE_VM: EINVAL
        yield "clone", (0x800,)
        yield "clone3", (0, 0)
        yield "unshare", (0x80000000,)
        yield "setns", (-1 & 0xFFFFFFFF, 0)
        yield "execveat", (-1 & 0xFFFFFFFF, empty, 0, 0, 0x1000)
        yield "kill", (0, 0)
        yield "kill", (1 << 29, 0)
        yield "tgkill", (1 << 29, 1 << 29, 0)
        yield "prlimit64", (0, 7, 0, room)
        yield "prlimit64", (1 << 29, 7, room, 0)
        yield "personality", (0xFFFFFFFF,)
        yield "prctl", (16, room)
        yield "prctl", (37, 0)
        yield "prctl", (47, 9, 0, 0, 0)
        yield "memfd_create", (0, 0)
        yield "memfd_create", (0, 8)
        yield "io_uring_setup", (0, 0)
        yield "io_setup", (0, 0)
        yield "ptrace", (3, 0, 0, 0)
        yield "process_vm_readv", (1 << 29, room, 1, room, 1, 0)
        yield "pidfd_open", (1 << 29, 0)
        yield "pidfd_getfd", (-1 & 0xFFFFFFFF, 0, 0)
        yield "bpf", (0xFFFF, 0, 0)
        yield "perf_event_open", (0, 0, 0, 0, 0)
        yield "keyctl", (0xFFFF, 0)
        yield "open_tree", (-1 & 0xFFFFFFFF, empty, 0)
        yield "clock_settime", (0xFFFF, 0)
        yield "mbind", (1, 0, 0xFF, 0, 0, 0)
        yield "shmget", (0, 0, 0)
        yield "mq_open", (0, 0, 0, 0)
        yield "landlock_create_ruleset", (0, 0, 1)
        yield "getpid", ()
        yield "quotactl", (0xFFFF, 0, 0, 0)


@pytest.mark.parametrize("word", [*WORDS, "usual"])
@pytest.mark.parametrize("on_violation", ["errno", "log"])
def test_the_kernel_answers_as_the_program_says(
    word: str, on_violation: str, tmp_path: Path,
) -> None:
    program = seccomp.compile(ARCH, USUAL if word == "usual" else (word,), on_violation)
    machine = Machine(program)
    probes = Probes(tmp_path)
    tries = [(CALLS[ARCH][name], arguments) for name, arguments in probes]

    def filtered() -> list[int]:
        install(program)
        return [call(*each) for each in tries]

    free, _ = in_child(lambda: [call(*each) for each in tries])
    seen, status = in_child(filtered)
    os.close(probes.fd)
    assert isinstance(free, list)
    assert isinstance(seen, list), f"killed: wait status {status:#x}"
    expected = []
    for (number, arguments), answer in zip(tries, free, strict=True):
        action = machine.run(AUDIT[ARCH], number, [a & (1 << 64) - 1 for a in arguments]).action
        refused = action & 0x7FFF0000 == SECCOMP_RET_ERRNO
        expected.append(-(action & 0xFFFF) if refused else answer)
    named = [(name, arguments) for name, arguments in probes]
    wrong = [(*what, f"expected {e}, seen {s}")
             for what, e, s in zip(named, expected, seen, strict=True) if e != s]
    assert not wrong


@pytest.mark.parametrize("word", ["app", "stdio", "usual"])
def test_a_violation_kills_where_it_is_asked_to(word: str) -> None:
    program = seccomp.compile(ARCH, USUAL if word == "usual" else (word,), "kill")

    def violate() -> None:
        install(program)
        call(CALLS[ARCH]["keyctl"], (0xFFFF, 0))

    answer, status = in_child(violate)
    assert answer is None
    assert os.WTERMSIG(status) == signal.SIGSYS


def test_a_call_newer_than_the_table_is_missing_and_never_kills() -> None:
    program = seccomp.compile(ARCH, ["stdio"], "kill")

    def newer() -> int:
        install(program)
        return call(4000, ())

    assert in_child(newer)[0] == -38


@pytest.mark.skipif(ARCH != "x86_64", reason="only x86-64 has other ABIs in the same process")
@pytest.mark.parametrize("on_violation", ["errno", "log"])
def test_other_abis_of_the_processor_are_killed(on_violation: str) -> None:
    program = seccomp.compile(ARCH, ["app"], on_violation)

    def int80() -> int:
        install(program)
        # mov eax, 20 (getpid of i386); int 0x80; ret
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        function = ctypes.CFUNCTYPE(ctypes.c_long)(
            ctypes.addressof(ctypes.c_char.from_buffer(code)))
        return int(function())

    def x32() -> int:
        install(program)
        return call(0x40000000 | 39, ())

    for work in (int80, x32):
        answer, status = in_child(work)
        assert answer is None
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) in {signal.SIGSYS, signal.SIGSEGV}, "SEGV: no 32-bit kernel"
        assert os.WTERMSIG(status) == signal.SIGSYS or work is int80


def start(command: list[str], promises: tuple[str, ...], on_violation: str) -> tuple[int, str]:
    """Exit status (negative: signal) and output of a program started under a filter."""
    program = seccomp.compile(ARCH, promises, on_violation)
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            install(program)
            os.execv(command[0], command)
        finally:
            os._exit(125)
    os.close(writer)
    with open(reader, "rb") as answer:
        text = answer.read().decode()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), text


def test_a_dynamic_program_starts_and_runs_on_stdio_and_rpath_with_nothing_to_violate() -> None:
    status, output = start(["/bin/cat", "/proc/self/status"], ("stdio", "rpath"), "kill")
    assert status == 0
    assert "Seccomp:\t2" in output


def test_without_rpath_a_dynamic_program_does_not_find_its_libraries() -> None:
    status, output = start(["/bin/cat", "/proc/self/status"], ("stdio",), "errno")
    assert status == 127
    assert "Operation not permitted" in output


def test_a_static_program_runs_on_stdio_alone(tmp_path: Path) -> None:
    source, program = tmp_path / "main.c", tmp_path / "main"
    source.write_text(
        "#include <stdio.h>\n#include <stdlib.h>\n#include <time.h>\n"
        'int main(void) { free(malloc(1 << 20)); return printf("%d\\n", time(0) > 0) != 2; }\n')
    subprocess.run(["cc", "-static", "-o", str(program), str(source)], check=True)
    assert start([str(program)], ("stdio",), "kill") == (0, "1\n")


SERVER = """
import os, socket, subprocess, tempfile, threading
listener = socket.create_server(("127.0.0.1", 0))
def answer():
    peer, _ = listener.accept()
    with peer: peer.sendall(peer.recv(100))
thread = threading.Thread(target=answer); thread.start()
with socket.create_connection(listener.getsockname()) as client:
    client.sendall(b"hello"); assert client.recv(100) == b"hello"
thread.join()
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "file")
    with open(path, "w") as file: file.write("text")
    os.chmod(path, 0o600); os.rename(path, path + "2"); os.unlink(path + "2")
assert subprocess.run(["/bin/echo", "child"], capture_output=True).stdout == b"child\\n"
socket.getaddrinfo("localhost", 80)
print("done")
"""


@pytest.mark.parametrize("promises", [
    ("app",), ("rpath", "wpath", "cpath", "fattr", "inet", "dns", "proc", "exec")])
def test_a_server_with_threads_files_and_children_runs_without_a_violation(
    promises: tuple[str, ...],
) -> None:
    """Killed at the first violation, so none happens; the interpreter is the one of the tests."""
    assert start([sys.executable, "-I", "-S", "-c", SERVER], promises, "kill") == (0, "done\n")

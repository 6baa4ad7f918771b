"""The tables of numbers against the kernel headers that are installed, whatever their release."""
from __future__ import annotations

import re
import runpy
import subprocess
from pathlib import Path

import pytest

from supervisor.kernel.seccomp import tables

ROOT = Path(__file__).resolve().parents[4]
GENERATOR = runpy.run_path(str(ROOT / "packaging" / "system_calls.py"))
HEADER = Path("/usr/include/asm-generic/unistd.h")
X86 = ("x86_64-linux-gnu/asm", "asm")
# What arch/arm64/include/uapi/asm/unistd.h wants of the generic header.
ARM64_WANTS = ("RENAMEAT", "NEW_STAT", "SET_GET_RLIMIT", "TIME32_SYSCALLS", "SYS_CLONE3",
               "MEMFD_SECRET")


def x86_header() -> dict[str, int]:
    paths = [Path("/usr/include", folder, "unistd_64.h") for folder in X86]
    paths = [path for path in paths if path.exists()]
    if not paths:
        pytest.skip("asm/unistd_64.h is not installed (linux-libc-dev)")
    found = re.findall(r"^#define __NR_(\w+) (\d+)$", paths[0].read_text(), re.MULTILINE)
    return {name: int(number) for name, number in found}


def arm64_header() -> dict[str, int]:
    if not HEADER.exists():
        pytest.skip(f"{HEADER} is not installed (linux-libc-dev)")
    wants = [f"-D__ARCH_WANT_{want}" for want in ARM64_WANTS]
    text = subprocess.run(
        ["cc", "-E", "-dM", "-D__BITS_PER_LONG=64", *wants, str(HEADER)],
        check=True, capture_output=True, text=True).stdout
    defined = dict(re.findall(r"^#define (__NR\w+) (\w+)$", text, re.MULTILINE))
    found = {}
    for name, value in defined.items():
        target = value
        while target in defined:  # __NR_mmap is __NR3264_mmap is 222
            target = defined[target]
        if name.startswith("__NR_") and target.isdigit():
            found[name.removeprefix("__NR_")] = int(target)
    for count in ("syscalls", "arch_specific_syscall"):
        found.pop(count, None)
    return found


def test_every_call_of_the_installed_x86_header_has_its_number() -> None:
    header = x86_header()
    assert len(header) > 300
    assert {name: tables.X86_64.get(name) for name in header} == header


def test_every_call_of_the_installed_generic_header_has_its_number() -> None:
    header = arm64_header()
    assert len(header) > 250
    assert {name: tables.ARM64.get(name) for name in header} == header


def test_the_tables_have_nothing_that_the_headers_should_have() -> None:
    """What is only ours is newer than the header, or arrived below its end (uretprobe, uprobe)."""
    for ours, header in ((tables.X86_64, x86_header()), (tables.ARM64, arm64_header())):
        newest = max(header.values())
        older = {name for name, number in ours.items() if name not in header and number <= newest}
        assert older <= {"uretprobe", "uprobe"}


@pytest.mark.parametrize("table", [tables.X86_64, tables.ARM64])
def test_no_number_has_two_names(table: dict[str, int]) -> None:
    assert len(set(table.values())) == len(table)


def test_newer_calls_have_the_same_number_on_both() -> None:
    """Since Linux 5.1 numbers are given out once for all architectures."""
    newer = {name for name, number in tables.X86_64.items() if number >= 424}
    assert len(newer) >= 48
    assert all(tables.ARM64[name] == tables.X86_64[name] for name in newer)


def test_the_module_is_what_its_generator_writes() -> None:
    written = GENERATOR["module"](
        tables.LINUX, {"X86_64": tables.X86_64, "ARM64": tables.ARM64})
    assert tables.__file__ is not None
    assert Path(tables.__file__).read_text() == written


def test_the_generator_reads_the_kernel_form() -> None:
    text = (
        "# comment\n0\tcommon\tread\t\tsys_read\n80\t64\tnewfstat\tsys_newfstat\n"
        "163\trlimit\tgetrlimit\tsys_getrlimit\n512\tx32\tioctl\tcompat_sys_ioctl\n134\t64\tuselib\n")
    assert GENERATOR["read"](text, GENERATOR["ABIS"]["X86_64"]) == {
        "read": 0, "fstat": 80, "uselib": 134}
    assert GENERATOR["read"](text, GENERATOR["ABIS"]["ARM64"])["getrlimit"] == 163

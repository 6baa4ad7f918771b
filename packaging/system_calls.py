"""Write supervisor/kernel/seccomp/tables.py: system call numbers, from the kernel's own tables.

    packaging/system_calls.py VERSION SYSCALL_64_TBL SYSCALL_TBL > .../seccomp/tables.py

The two are arch/x86/entry/syscalls/syscall_64.tbl and scripts/syscall.tbl of that Linux release.
Law: a number never changes its meaning, so a newer table only adds; the tests compare ours with
whatever headers are installed.
"""
from __future__ import annotations

import sys
from pathlib import Path

# Which of a table's rows an architecture has (arch/*/kernel/Makefile.syscalls). "32", "time32" and
# "x32" are other ABIs, which the filter kills before any number counts.
ABIS = {
    "X86_64": {"common", "64"},
    "ARM64": {"common", "64", "renameat", "rlimit", "memfd_secret"},
}
WIDTH = 100

HEAD = '''"""System call numbers of Linux {version}, name by name.

Made by packaging/system_calls.py from the kernel's tables; not edited by hand. What is not here
is newer than this table, and answered as a kernel answers that does not have it (ENOSYS).
"""
from __future__ import annotations

LINUX = "{version}"  # the release whose tables these are
'''


def read(text: str, abis: set[str]) -> dict[str, int]:
    """Rows of `<number> <abi> <name> [<entry point> ...]`; # starts a comment.

    The generic table once called fstat by its entry point's name (newfstat).
    """
    found: dict[str, int] = {}
    for line in text.splitlines():
        row = line.partition("#")[0].split()
        if len(row) >= 3 and row[1] in abis:
            name = {"newfstat": "fstat"}.get(row[2], row[2])
            if name in found:
                raise ValueError(f"cannot read the table: {name} has two numbers")
            found[name] = int(row[0])
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def render(name: str, table: dict[str, int]) -> str:
    lines, line = [f"{name}: dict[str, int] = {{"], "   "
    for call, number in table.items():
        entry = f' "{call}": {number},'
        if len(line) + len(entry) > WIDTH:
            lines.append(line)
            line = "   "
        line += entry
    return "\n".join([*lines, line, "}"])


def module(version: str, tables: dict[str, dict[str, int]]) -> str:
    parts = [HEAD.format(version=version), *(render(*pair) for pair in tables.items())]
    return "\n".join(parts) + "\n"


def main() -> None:
    version, *paths = sys.argv[1:]
    tables = {
        arch: read(Path(path).read_text(encoding="ascii"), abis)
        for (arch, abis), path in zip(ABIS.items(), paths, strict=True)
    }
    sys.stdout.write(module(version, tables))


if __name__ == "__main__":
    main()

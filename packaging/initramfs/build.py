#!/usr/bin/env python3
"""Build an initramfs that is a whole small machine: a kernel unpacks it into memory and runs it.

    packaging/initramfs/build.py --units DIR... --add FILE[:/PLACE]... --output FILE
                                 [--busybox FILE] [--init FILE] [--log-budget SIZE]
                                 [--compress zstd|gzip|none]

Needs no root and fetches nothing: everything is taken from this host. In it are unboxed-init as
/init (--init, else UNBOXED_INIT, else the one beside this Python); the Python that runs this, with
those modules of the standard library that ours import; the command `unboxed`; the unit files; what
is added, and every program that a unit names by an absolute path, with the libraries it is linked
with (ldd) and the interpreter of a script; a busybox, if one is given, under all its names, and
then root logs in on the console without a password.

Modules are compiled files in folders: from a zip file the manager's imports take a quarter longer
(60 ms instead of 48), and the archive is compressed anyway. Logs are in memory, so all together get
16 MiB. Boot it with

    qemu-system-x86_64 -kernel LINUX -initrd FILE -append 'console=ttyS0 panic=-1' ...
    linux.uml mem=256M initrd=FILE con=null con0=fd:0,fd:1
"""
from __future__ import annotations

import argparse
import ast
import os
import py_compile
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE = "usr/lib/unboxed/python"
STDLIB = f"usr/lib/python{sysconfig.get_python_version()}"
LIBRARIES = ("msgspec", "tomli", "zstandard")  # the last: closed log segments
# Of our package: what an appliance has no use for, and what would bring the most with it.
WITHOUT = ("agents", "cli/top", "keeper")
# Imported by the interpreter or by C code, where no source names it.
ALWAYS = ("encodings.utf_8", "encodings.ascii", "encodings.latin_1", "encodings.idna", "abc", "io",
          "os", "codecs", "stat", "warnings", "traceback")
# OpenSSL for checksums, which the interpreter has of its own as well.
NEEDLESS = "_hashlib."
# Ours are meant by these, or (sulogin) there is no password that it could ask for.
NOT_BUSYBOX = ("init", "linuxrc", "poweroff", "reboot", "halt", "sulogin")
FOLDERS = ("dev", "proc", "sys", "run", "tmp", "root", "var/log", "var/lib", "mnt")
FILES = {
    "etc/passwd": "root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
COMMAND = f"""\
#!/usr/bin/python3 -IS
import sys

sys.path.insert(0, "/{PACKAGE}")
from supervisor.cli.main import main

sys.exit(main())
"""
AS_INSTALLED = """\
import sys
sys.executable = "/usr/bin/python3"
sys.path.insert(0, sys.argv.pop(1))
from supervisor.cli.main import main
sys.exit(main())
"""


class CannotBuild(Exception):
    """Why there is no archive, in words for people."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Build an initramfs that is a whole machine.")
    parser.add_argument("--units", type=Path, action="append", required=True, metavar="DIR",
                        help="unit files, and with them the programs that they name; repeatable")
    parser.add_argument("--add", action="append", default=[], metavar="FILE[:/PLACE]",
                        help="a file that it has as well; repeatable")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE",
                        help="write the archive there")
    parser.add_argument("--busybox", type=Path, metavar="FILE",
                        help="a busybox, under all its names; then root logs in on the console"
                        " without a password")
    beside = Path(sys.executable).parent / "unboxed-init"
    parser.add_argument("--init", type=Path, metavar="FILE",
                        default=Path(os.environ.get("UNBOXED_INIT") or beside),
                        help="its first process (default: %(default)s)")
    parser.add_argument("--log-budget", default="16MiB", metavar="SIZE",
                        help="what all logs may take of the memory (default: %(default)s)")
    parser.add_argument("--compress", choices=("zstd", "gzip", "none"), default="zstd",
                        help="default: %(default)s")
    given = parser.parse_args()
    os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix="unboxed-initramfs-") as scratch:
            tree = Path(scratch)
            fill(tree, given)
            size = sum(path.stat().st_size for path in tree.rglob("*")
                       if path.is_file() and not path.is_symlink())
            subprocess.run(
                [sys.executable, HERE / "cpio.py", given.output, f"--compress={given.compress}",
                 f"--add={tree}:/"], check=True)
    except (CannotBuild, OSError, subprocess.CalledProcessError, tomllib.TOMLDecodeError) as error:
        print(f"cannot build {given.output}: {error}", file=sys.stderr)
        return 1
    print(f"{given.output}: {given.output.stat().st_size / 1e6:.1f} MB,"
          f" {size / 1e6:.1f} MB in memory")
    return 0


def fill(tree: Path, given: argparse.Namespace) -> None:
    for name in FOLDERS:
        (tree / name).mkdir(parents=True)
    for name, text in FILES.items():
        write(tree / name, text)
    if not os.access(given.init, os.X_OK):
        raise CannotBuild(f"there is no {given.init}; --init names another unboxed-init")
    copy(given.init, tree / "usr/bin/unboxed-init")
    (tree / "init").symlink_to("usr/bin/unboxed-init")
    python(tree)
    for words in given.add:
        source, _, place = words.partition(":")
        program(tree, Path(source), place or os.path.abspath(source))
    for directory in given.units:
        for file in sorted(directory.rglob("*.toml")):
            copy(file, tree / "usr/lib/unboxed/units" / file.relative_to(directory))
            for path in named(tomllib.loads(file.read_text())):
                program(tree, Path(path), path)
    if given.busybox:
        busybox(tree, given.busybox)
    said = subprocess.run(
        [sys.executable, "-IS", "-c", AS_INSTALLED, str(tree / PACKAGE), "boot", "args",
         "--log-budget", given.log_budget], capture_output=True, check=True, text=True,
        env={**os.environ, "UNBOXED_INIT": str(tree / "usr/bin/unboxed-init")}).stdout
    write(tree / "usr/lib/unboxed/boot.args", said.replace(f"{tree}/", "/"))


# --- Python --------------------------------------------------------------------------------------


def python(tree: Path) -> None:
    """The interpreter, our package, its libraries, and what these import of the standard one."""
    interpreter = Path(sys._base_executable)  # type: ignore[attr-defined]  # noqa: SLF001 - venv's
    program(tree, interpreter.resolve(), "/usr/bin/python3")
    write(tree / "usr/bin/unboxed", COMMAND, 0o755)
    package = ROOT / "supervisor"
    names = set(ALWAYS)
    for path in sorted(package.rglob("*")):
        relative = path.relative_to(package)
        if not path.is_file() or relative.as_posix().startswith(WITHOUT):
            continue
        if path.suffix == ".py":
            names |= imported(path)
            module(path, tree / PACKAGE / "supervisor" / relative, source=True)
        elif path.suffix in {".varlink", ".json"}:
            copy(path, tree / PACKAGE / "supervisor" / relative)
    for name in LIBRARIES:
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:
            raise CannotBuild(
                f"the Python library {name} is not installed for {sys.executable}") from None
        for file in files:
            path = Path(str(file.locate()))
            if path.suffix == ".py":
                names |= imported(path)
                module(path, tree / PACKAGE / file, source=False)
            elif path.suffix == ".so" and not path.name.startswith("_cffi."):
                program(tree, path, f"/{PACKAGE}/{file}")
                subprocess.run(["strip", "--strip-unneeded", tree / PACKAGE / file], check=True)
    stdlib = Path(sysconfig.get_path("stdlib"))
    for origin in standard(names):
        if origin.suffix == ".py":
            module(origin, tree / STDLIB / origin.relative_to(stdlib), source=False)
        elif not origin.name.startswith(NEEDLESS):
            program(tree, origin, f"/{STDLIB}/lib-dynload/{origin.name}")


def imported(path: Path) -> set[str]:
    """Names of modules that this file imports, at its start or later."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def standard(names: set[str]) -> list[Path]:
    """Files of those in the standard library and, as an interpreter tells that imports them, of
    what they import themselves."""
    mine = sorted(name for name in names
                  if name.partition(".")[0] in sys.stdlib_module_names and name != "__main__")
    ask = (
        "import sys\n"
        "from importlib import import_module\n"
        "for name in sys.argv[1:]:\n"
        "    try: import_module(name)\n"
        "    except ImportError: pass\n"
        "for module in list(sys.modules.values()):\n"
        "    if getattr(module, '__file__', None): print(module.__file__)\n"
    )
    base = sys._base_executable  # type: ignore[attr-defined]  # noqa: SLF001 - outside of a venv
    said = subprocess.run([base, "-IS", "-c", ask, *mine], capture_output=True, check=True,
                          text=True).stdout
    return sorted(map(Path, set(said.splitlines())))


def module(path: Path, to: Path, *, source: bool) -> None:
    """Compiled, and never compared with its source; which is there too if asked for."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compiled = to.with_suffix(".pyc")
    if source:
        copy(path, to)
        compiled = to.parent / "__pycache__" / f"{to.stem}.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(path), str(compiled), f"/{to.name}", doraise=True, optimize=0,
                       invalidation_mode=mode)


# --- Programs ------------------------------------------------------------------------------------


def named(value: object) -> Iterator[str]:
    """Programs of this host that a unit file names: first words that are absolute paths."""
    if isinstance(value, dict):
        for one in value.values():
            yield from named(one)
    elif isinstance(value, list):
        for one in value:
            yield from named(one)
    elif isinstance(value, str) and value.startswith("/"):
        try:
            path = shlex.split(value)[0]
        except ValueError:
            return
        if os.path.isfile(path) and os.access(path, os.X_OK):
            yield path


def program(tree: Path, source: Path, place: str) -> None:
    """A file or folder of this host, and what its programs need to run."""
    if source.is_dir():
        for path in sorted(source.iterdir()):
            program(tree, path, f"{place}/{path.name}")
        return
    to = tree / place.lstrip("/")
    if to.exists():
        return
    copy(source, to)
    if not os.access(source, os.X_OK) and not source.name.endswith(tuple(EXTENSION_SUFFIXES)):
        return
    with source.open("rb") as file:
        start = file.read(256)
    if start.startswith(b"#!"):
        interpreter = start[2:].split()[0].decode()
        if os.path.isfile(interpreter):
            program(tree, Path(interpreter), interpreter)
    elif start.startswith(b"\x7fELF"):
        linked = subprocess.run(["ldd", source], capture_output=True, check=False, text=True).stdout
        for library in re.findall(r"(?:=> |^\s)(/\S+)", linked, re.MULTILINE):
            if not (tree / library.lstrip("/")).exists():
                copy(Path(library), tree / library.lstrip("/"))


def busybox(tree: Path, source: Path) -> None:
    """For people at its console, so that root gets an empty password as well."""
    accounts = tree / "etc/passwd"
    accounts.write_text(accounts.read_text().replace("root:*:", "root::"))
    program(tree, source, "/bin/busybox")
    names = subprocess.run([source, "--list-full"], capture_output=True, check=True,
                           text=True).stdout.split()
    for name in names:
        link = tree / name
        if link.name not in NOT_BUSYBOX and not link.exists() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to("/bin/busybox")


def copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)
    to.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def write(to: Path, text: str, mode: int = 0o644) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(text)
    to.chmod(mode)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Build the Debian packages `unboxed` and `unboxed-sysv`, without root and without debhelper.

    packaging/deb/build.py [--output DIR] [--programs DIR] [--version VERSION]

Writes two .deb files and prints their names. The programs in C are taken from --programs, else from
where UNBOXED_INIT is, else from beside this Python (packaging/prepare puts them there); what is not
there is compiled.

unboxed        /usr/bin/unboxed, /usr/bin/unboxed-init and other programs in C
               /usr/lib/unboxed/python: our package, and the libraries it needs, as pip gets them:
               Debian 12 has them too old or not at all, and nobody else is to see these
               /usr/lib/unboxed/units, boot.args: what a machine boots with
               /lib/systemd/system/unboxed.service, off until it is enabled
               /usr/share/unboxed/units: agents, presets, the demo, to be copied from
               man pages, completions, docs
unboxed-sysv   /sbin/init and the other classic names
Files of packaging/deb/PACKAGE/tree are in it as they are.
Law: what is in a package is decided here and by the sources alone, not by the machine it is built
on; the same sources give the same bytes (SOURCE_DATE_EPOCH, else the time of the last change).
"""
from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build"
LIBRARIES = "usr/lib/unboxed/python"
# Whose Python the packages are for; `control` depends on that.
PYTHON = "3.11"
EXTRAS = ("private-network", "machine", "metrics", "dashboard", "top")
# Of wheels: nothing runs these.
NEEDLESS = ("bin", "tests", "test", "__pycache__", "include", "share")

COMMAND = f"""\
#!/usr/bin/python3 -IS
import sys

sys.path.insert(0, "/{LIBRARIES}")
from supervisor.cli.main import main

sys.exit(main())
"""
AS_INSTALLED = """import sys
sys.executable = "/usr/bin/python3"
sys.path.insert(0, sys.argv.pop(1))
from supervisor.cli.main import main
sys.exit(main())
"""
CLASSIC = ("poweroff", "reboot", "halt", "shutdown")  # names of `unboxed`
OLD = ("telinit", "runlevel")  # scripts
UNITS = "usr/share/unboxed/units"
MAINTAINER = "The Unboxed project <maintainers@unboxed.invalid>"
NEWS = f"""\
{{package}} ({{release}}) unstable; urgency=medium

  * What is new: /usr/share/doc/unboxed/CHANGELOG.md

 -- {MAINTAINER}  {{day}}
"""
# Licences that each Debian has the text of.
COMMON = {"Apache License": "Apache-2.0", "GNU GENERAL PUBLIC LICENSE": "GPL-2"}
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/unboxed",
    "zsh": "usr/share/zsh/vendor-completions/_unboxed",
    "fish": "usr/share/fish/vendor_completions.d/unboxed.fish",
}


class CannotBuild(Exception):
    """Why there is no package, in words for people."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the Debian packages.")
    parser.add_argument("--output", type=Path, default=BUILD / "deb", metavar="DIR",
                        help="where the packages go (default: %(default)s)")
    parser.add_argument("--programs", type=Path, default=programs(), metavar="DIR",
                        help="where compiled programs in C are; what is not there is compiled"
                        " (default: %(default)s)")
    parser.add_argument("--version", default=version(),
                        help="of the packages (default: %(default)s)")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix="unboxed-deb-") as scratch:
            for name, stage in (("unboxed", unboxed), ("unboxed-sysv", sysv)):
                tree = Path(scratch, name)
                tree.mkdir()
                tree.chmod(0o755)
                stage(tree, given)
                copy(HERE / name / "tree", tree)
                print(pack(name, tree, given.output, given.version))
    except (CannotBuild, OSError, subprocess.CalledProcessError) as error:
        print(f"cannot build the packages: {error}; see above for more", file=sys.stderr)
        return 1
    return 0


def programs() -> Path:
    return Path(os.environ.get("UNBOXED_INIT") or sys.executable).parent


def version() -> str:
    found = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())
    return found[1] if found else "0"


# --- What is in them -----------------------------------------------------------------------------


def unboxed(tree: Path, given: argparse.Namespace) -> None:
    write(tree / "usr/bin/unboxed", COMMAND, 0o755)
    others = sorted((ROOT / "supervisor/programs").glob("*.c"))
    for name in ("init", *(path.stem for path in others)):
        binary(f"unboxed-{name}", given.programs, tree / "usr/bin")
    listed = subprocess.run(
        [sys.executable, ROOT / "packaging/package_files.py"], capture_output=True, check=True,
        text=True).stdout.split()
    for file in listed:
        put(ROOT / file, tree / LIBRARIES / file)
    copy(libraries(), tree / LIBRARIES)
    copy(ROOT / "units/system", tree / "usr/lib/unboxed/units")
    for kind in sorted(path.name for path in (ROOT / "units").iterdir() if path.is_dir()):
        if kind != "system":
            copy(ROOT / "units" / kind, tree / UNITS / kind)
    for example in (tree / UNITS).rglob("*.toml"):
        moved = example.read_text().replace("/opt/unboxed/share/unboxed/units", f"/{UNITS}")
        example.write_text(moved)
    (tree / "etc/unboxed/units").mkdir(parents=True)

    def say(*words: str) -> str:
        """What the command says, as if it were installed."""
        return subprocess.run(
            [sys.executable, "-IS", "-B", "-c", AS_INSTALLED, str(tree / LIBRARIES), *words],
            capture_output=True, check=True, text=True,
            env={**os.environ, "UNBOXED_INIT": str(tree / "usr/bin/unboxed-init")},
        ).stdout.replace(f"{tree}/", "/")

    write(tree / "usr/lib/unboxed/boot.args", say("boot", "args"))
    for shell, path in COMPLETIONS.items():
        write(tree / path, say("completion", shell))
    service = (ROOT / "packaging/unboxed.service").read_text()
    write(tree / "lib/systemd/system/unboxed.service",
          service.replace("/opt/unboxed/bin/unboxed", "/usr/bin/unboxed"))
    manual(tree, lambda name: name not in OLD)
    documents(tree, "unboxed", given.version)


def binary(name: str, place: Path, to: Path) -> None:
    """A program in C: from there, else compiled as its meson.build says."""
    built = place / name
    if not built.is_file():
        built = to / name
        words: list[str | Path] = ["cc", "-std=c17", "-D_GNU_SOURCE", "-O2", "-o", built]
        if name == "unboxed-init":
            sources = ROOT / "supervisor/keeper"
            subprocess.run(
                [sys.executable, sources / "gen_wire.py", ROOT / "supervisor/kernel/wire.py",
                 to / "wire.h"], check=True)
            words += ["-static", "-I", to, *sorted(sources.glob("*.c"))]
        else:
            words += ["-static"] * (name == "unboxed-early")
            words.append(ROOT / "supervisor/programs" / f"{name.removeprefix('unboxed-')}.c")
        subprocess.run(words, check=True)
        (to / "wire.h").unlink(missing_ok=True)
    else:
        put(built, to / name, 0o755)
    subprocess.run(["strip", to / name], check=True)


def sysv(tree: Path, given: argparse.Namespace) -> None:
    links = tree / "sbin"
    links.mkdir()
    (links / "init").symlink_to("/usr/bin/unboxed-init")
    for name in CLASSIC:
        (links / name).symlink_to("/usr/bin/unboxed")
    pages = tree / "usr/share/man/man8"
    pages.mkdir(parents=True)
    (pages / "init.8.gz").symlink_to("unboxed-init.8.gz")
    for name in CLASSIC:
        (pages / f"{name}.8.gz").symlink_to("../man1/unboxed.1.gz")
    manual(tree, lambda name: name in OLD)
    documents(tree, "unboxed-sysv", given.version)


def manual(tree: Path, wanted: Callable[[str], bool]) -> None:
    with tempfile.TemporaryDirectory(dir=tree.parent) as pages:
        subprocess.run([sys.executable, ROOT / "docs/generate_man.py", pages], check=True,
                       env={**os.environ, "SOURCE_DATE_EPOCH": epoch()})
        for page in sorted(Path(pages).iterdir()):
            if wanted(page.stem):
                write(tree / f"usr/share/man/man{page.suffix[1:]}/{page.name}.gz",
                      gzip.compress(page.read_bytes(), mtime=0))


def libraries() -> Path:
    """The libraries of pyproject.toml, and theirs, for Debian's Python: fetched once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = sorted({*project["dependencies"], *(one for name in EXTRAS for one in extras[name])})
    architecture = os.uname().machine
    platforms = [f"--platform={kind}_{architecture}" for kind in (
        "manylinux_2_36", "manylinux_2_28", "manylinux_2_17", "manylinux2014", "linux")]
    made_of = "\n".join([*wanted, *platforms, *NEEDLESS, "stripped, 2"])
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    place = BUILD / "libraries" / digest
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-compile",
             "--disable-pip-version-check", "--no-warn-conflicts", "--only-binary=:all:",
             f"--python-version={PYTHON}", "--implementation=cp", *platforms,
             f"--target={scratch}/all", *wanted], check=True, stdin=subprocess.DEVNULL)
        for path in Path(scratch, "all").glob("*"):
            if path.name in NEEDLESS:
                shutil.rmtree(path)
        for path in Path(scratch, "all").rglob("*.py"):
            text = path.read_bytes()
            if text.startswith(b"#!"):  # nobody runs these, least of all with `python`
                path.write_bytes(b"#" + text[text.index(b"\n"):])
        for path in Path(scratch, "all").rglob("*.so"):
            if path.name.startswith("_cffi."):  # zstandard's, where there is no CPython
                path.unlink()
            else:
                subprocess.run(["strip", "--strip-unneeded", path], check=True)
        try:
            Path(scratch, "all").rename(place)
        except OSError:
            if not place.is_dir():  # else another build was faster
                raise
    return place


def documents(tree: Path, package: str, release: str) -> None:
    place = tree / "usr/share/doc" / package
    text = (HERE / "copyright").read_text()
    if package == "unboxed":
        text += licences(tree / LIBRARIES)
        copy(ROOT / "docs", place, but=".py")
        for page in sorted(place.rglob("*.md")):
            write(page, linked(page.read_text(), page, tree))
        put(ROOT / "CHANGELOG.md", place / "CHANGELOG.md")
        write(tree / "usr/share/lintian/overrides/unboxed",
              "# It must run where there is no C library yet, or a broken one.\n"
              "unboxed: statically-linked-binary [usr/bin/unboxed-init]\n")
    write(place / "copyright", text)
    day = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(int(epoch())))
    news = NEWS.format(package=package, release=release, day=day)
    write(place / "changelog.gz", gzip.compress(news.encode(), mtime=0))


def linked(text: str, page: Path, tree: Path) -> str:
    """Its links lead to where things are in the package; what is not in it is words."""
    docs = tree / "usr/share/doc/unboxed"
    source = ROOT / "docs" / page.relative_to(docs)
    places = {ROOT / "docs": docs, ROOT / "units/system": tree / "usr/lib/unboxed/units",
              ROOT / "units": tree / UNITS, ROOT / "supervisor": tree / LIBRARIES / "supervisor"}

    def one(found: re.Match[str]) -> str:
        words, link, anchor = found.groups()
        meant = Path(os.path.normpath(source.parent / link))
        for here, there in places.items():
            if meant.is_relative_to(here) and (moved := there / meant.relative_to(here)).exists():
                return f"{words}({os.path.relpath(moved, page.parent)}{anchor})"
        return words.lstrip("!")[1:-1]

    return re.sub(r"(!?\[[^]]*\])\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*|)\)", one, text)


def licences(place: Path) -> str:
    """One paragraph for each library, from what it says about itself."""
    parts = []
    for info in sorted(place.glob("*.dist-info")):
        said = (info / "METADATA").read_text(errors="replace").partition("\n\n")[0]
        one = {key: value for line in reversed(said.splitlines())
               for key, mark, value in [line.partition(": ")] if mark}
        licence = one.get("License-Expression") or one.get("License") or next(
            (line.rpartition(" :: ")[2] for line in said.splitlines()
             if line.startswith("Classifier: License ::")), "see its files")
        texts = sorted(path for path in info.rglob("*") if path.is_file()
                       and re.match(r"(?i)(licen[cs]e|copying|notice)", path.name))
        parts.append(f"\nFiles: {one['Name']} {one['Version']}\nLicense: {licence}\n")
        for path in texts:
            words = path.read_text(errors="replace")
            known = next((name for title, name in COMMON.items() if title in words[:600]), "")
            if known:
                words = f"Its text is in /usr/share/common-licenses/{known}."
            parts += [" " + line + "\n" for line in words.splitlines()]
    return "".join(parts)


# --- How they are made ---------------------------------------------------------------------------


def put(file: Path, to: Path, mode: int = 0o644) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
    to.chmod(mode)


def write(to: Path, data: str | bytes, mode: int = 0o644) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(data.encode() if isinstance(data, str) else data)
    to.chmod(mode)


def copy(place: Path, to: Path, but: str | None = None) -> None:
    for path in sorted(place.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != but:
            put(path, to / path.relative_to(place), 0o755 if os.access(path, os.X_OK) else 0o644)


def pack(name: str, tree: Path, output: Path, release: str) -> Path:
    architecture = "all"
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    if name == "unboxed":
        architecture = subprocess.run(
            ["dpkg", "--print-architecture"], capture_output=True, check=True, text=True
        ).stdout.strip()
    words = {
        "VERSION": release, "MAINTAINER": MAINTAINER, "ARCHITECTURE": architecture,
        "LIBC": libc(files),
        "SIZE": str(sum(-(-path.stat().st_size // 1024) for path in files)),
    }
    control = (HERE / name / "control").read_text()
    control = re.sub(r"@(\w+)@", lambda found: words[found[1]], control)
    sums = "".join(
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  "
        f"{path.relative_to(tree)}\n" for path in files)
    write(tree / "DEBIAN/control", control)
    write(tree / "DEBIAN/md5sums", sums)
    if kept := [f"/{path.relative_to(tree)}\n" for path in files if (tree / "etc") in path.parents]:
        write(tree / "DEBIAN/conffiles", "".join(kept))  # as the administrator changed them
    for script in ("preinst", "postinst", "prerm", "postrm"):
        if (HERE / name / script).exists():
            put(HERE / name / script, tree / "DEBIAN" / script, 0o755)
    result = output / f"{name}_{release}_{architecture}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, result], check=True,
        stdout=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": epoch()})
    return result


def libc(files: list[Path]) -> str:
    """The newest version of a symbol of the C library that a compiled library asks for."""
    versions = {(2, 17)}
    for path in files:
        if ".so" in path.suffixes or path.match("usr/bin/unboxed-*"):
            versions |= {(2, int(minor))
                         for minor in re.findall(rb"GLIBC_2\.(\d+)\0", path.read_bytes())}
    return ".".join(map(str, max(versions)))


def epoch() -> str:
    said = os.environ.get("SOURCE_DATE_EPOCH")
    if not said:
        said = subprocess.run(
            ["git", "-C", ROOT, "log", "-1", "--format=%ct", "--", "supervisor",
             "units", "docs", "packaging/deb"], capture_output=True, check=False, text=True,
        ).stdout.strip()
    return said or str(int((ROOT / "CHANGELOG.md").stat().st_mtime))


if __name__ == "__main__":
    sys.exit(main())

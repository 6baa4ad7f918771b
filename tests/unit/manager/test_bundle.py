"""The bundle of what the manager imports: used while it is true, and never else."""
from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.manager.bundle import HEAD
from tests.stack import ROOT, library_paths

PACKAGE = "supervisor"
CODE = """
import sys
package, site = sys.argv[1:3]
sys.path[:1] = [package.rpartition("/")[0], *site.split(":")]
from supervisor.manager.bundle import use
use(package)
import supervisor.manager.main as main
import tomli, msgspec
from supervisor.manager import learning  # not at a start, so not in it
loader = type(main.__spec__.loader).__name__
print(loader, main.__file__, bool(main.__doc__), type(learning.__spec__.loader).__name__)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed package, with its bundle."""
    there = tmp_path_factory.mktemp("bundle") / PACKAGE
    unused = ("__pycache__", "keeper", "static", "agents", "cli", "boot")
    shutil.copytree(ROOT / PACKAGE, there, ignore=shutil.ignore_patterns(*unused))
    python(there / "manager" / "make_bundle.py", "--site", library_paths())
    assert (there / "__pycache__" / "manager.bundle").stat().st_size > 100_000
    return there


def python(*words: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(package: Path) -> list[str]:
    return python("-c", CODE, package, library_paths()).split()


def test_modules_come_from_it_and_know_their_files(package: Path) -> None:
    file = str(package / "manager" / "main.py")
    assert start(package) == ["Bundle", file, "False", "SourceFileLoader"]


def test_another_package_of_this_python_makes_no_bundle_useless(package: Path) -> None:
    data = (package / "__pycache__" / "manager.bundle").read_bytes()
    head = data[HEAD : HEAD + int(data[:HEAD])]
    _, directories, table, _ = marshal.loads(head)  # noqa: S302 - made by the test
    ours = (str(package), *library_paths().split(":"))
    assert all(path.startswith(ours) for path, _ in directories)
    assert f"{package}/manager" in dict(directories)
    assert any(not entry[2].startswith(ours) for entry in table.values()), "of the interpreter"


@pytest.mark.parametrize(
    "harm", ["replaced", "added", "edited", "lost", "cut", "short", "empty", "gone"])
def test_a_bundle_that_is_not_true_any_more_is_not_used(package: Path, harm: str) -> None:
    bundle, folder = package / "__pycache__" / "manager.bundle", package / "manager"
    good, then = bundle.read_bytes(), folder.stat().st_mtime
    text, written = (folder / "main.py").read_bytes(), (folder / "main.py").stat().st_mtime
    assert start(package)[0] == "Bundle"
    if harm in ("replaced", "added"):
        new = folder / ".new"
        new.write_bytes((folder / "main.py").read_bytes())
        new.replace(folder / ("main.py" if harm == "replaced" else "more.py"))
        os.utime(folder, (then + 5, then + 5))  # or all of this was in one second
    elif harm == "lost":
        gone = f"{folder}"[:-1] + "x"  # a directory of which there is no trace
        bundle.write_bytes(good.replace(os.fsencode(folder), gone.encode()))
    elif harm == "cut":
        os.truncate(bundle, 1000)
    elif harm == "short":
        os.truncate(bundle, len(good) - 1)
    elif harm == "edited":  # in place, which its directory does not tell
        with (folder / "main.py").open("a") as file:
            file.write("# more\n")
        assert folder.stat().st_mtime == then
    elif harm == "empty":
        os.truncate(bundle, 0)
    else:
        bundle.unlink()
    loader, _, documented, _ = start(package)
    assert (loader, documented) == ("SourceFileLoader", "True")
    bundle.write_bytes(good)
    (folder / "main.py").write_bytes(text)
    os.utime(folder / "main.py", (written, written))
    os.utime(folder, (then, then))

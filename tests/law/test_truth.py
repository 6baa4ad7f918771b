"""What is said twice agrees: documents and the tree, version numbers, exceptions and reasons."""
from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

from supervisor import __version__
from supervisor.cli.table import BY_NAME
from tests.law.source import PACKAGE, ROOT

DOCUMENTS = sorted([
    *ROOT.glob("*.md"),
    *(path for folder in ("docs", "units", "tests") for path in (ROOT / folder).rglob("*.md")),
])
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?<![\w./-])unboxed +(?:--runtime-dir[ =]\S+ +)?([a-z][a-z-]*)")
MAKE = re.compile(r"(?<![\w-])make +([a-z]+)")
NOQA = re.compile(r"#\s*noqa(?!: [A-Z]+\d+(, [A-Z]+\d+)* - \S)")

ids = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def code(path: Path) -> str:
    return "\n".join(CODE.findall(path.read_text()))


def anchors(path: Path) -> set[str]:
    """The anchors that a renderer makes from a document's headings."""
    prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ +(.+)$", prose, flags=re.MULTILINE):
        kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(kept.replace(" ", "-"))
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_links_in_documents_resolve(path: Path) -> None:
    broken = []
    for link in LINK.findall(CODE.sub("", path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue  # the network is not ours to check
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_commands_named_in_documents_exist(path: Path) -> None:
    named = set(COMMAND.findall(code(path)))
    assert named <= set(BY_NAME), "the command line has no such verb"
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(MAKE.findall(code(path))) <= targets


def test_the_readme_names_the_two_commands() -> None:
    assert {"run", "test"} <= set(MAKE.findall(code(ROOT / "README.md")))


def test_the_version_is_one() -> None:
    built = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())
    assert built is not None
    assert built.group(1) == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_each_lint_rule_that_is_off_has_its_reason_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    settings = tomllib.loads(text)["tool"]["ruff"]["lint"]
    lines = text.splitlines()
    for rule in {*settings["ignore"], *chain(*settings["per-file-ignores"].values())}:
        places = [line for line in lines if f'"{rule}"' in line]
        assert places
        assert all("# " in line for line in places), rule


def test_each_exception_in_the_code_has_its_reason_beside_it() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in (PACKAGE, ROOT / "tests", ROOT / "units", ROOT / "packaging")
        for path in sorted(folder.rglob("*.py")) if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1) if NOQA.search(line)
    ]
    assert not bare, "\n".join(bare)


def test_every_folder_of_tests_is_run_by_make_test_or_said_not_to_be() -> None:
    runner = (ROOT / "packaging" / "run_tests.py").read_text()
    folders = {path.name for path in (ROOT / "tests").iterdir()
               if path.is_dir() and not path.name.startswith(("_", "."))}
    assert folders <= set(re.findall(r'"([a-z]+)"', runner))


def test_no_file_of_tests_is_without_tests() -> None:
    empty = [str(path) for path in (ROOT / "tests").rglob("test_*.py")
             if not re.search(r"^ *def test_|\.TestCase$", path.read_text(), re.MULTILINE)]
    assert not empty

"""Man pages: whole, and such that every reader of man pages takes them."""
from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from supervisor.cli.table import COMMANDS
from supervisor.config.machine_network import walk as network_keys
from supervisor.config.schema import walk as unit_keys

ROOT = Path(__file__).resolve().parents[3]
MADE = runpy.run_path(str(ROOT / "docs" / "generate_man.py"))
PAGES: dict[str, str] = MADE["pages"]()
PROGRAMS = {"unboxed-early", "unboxed-session", "unboxed-watchdog", "telinit", "runlevel"}


def plain(text: str) -> str:
    """Without what man(7) writes differently."""
    text = text.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\&", "")
    return text.replace("\\(dq", '"').replace("\\(ti", "~").replace("\\(ha", "^")


def terms(page: str) -> str:
    """What the page has an entry for."""
    lines = plain(PAGES[page]).splitlines()
    return "\n".join(lines[i + 1] for i, line in enumerate(lines[:-1]) if line == ".TP")


def test_each_command_has_its_section_and_each_option_its_entry() -> None:
    headings = re.findall(r'^\.S[HS] "(.*)"', plain(PAGES["unboxed.1"]), re.MULTILINE)
    found = terms("unboxed.1")
    for command in COMMANDS:
        assert command.name in headings
        for option in command.options:
            assert re.search(rf"^.*{re.escape(option.names[0])}\b", found, re.MULTILINE)


def test_the_command_has_its_files_and_examples_and_names_man_pages_as_such() -> None:
    text = plain(PAGES["unboxed.1"])
    files, examples = (text.partition(f'.SH "{name}"')[2].partition(".SH")[0]
                       for name in ("FILES", "EXAMPLES"))
    assert "/etc/unboxed/units" in files
    assert "unboxed.network(5)" in files
    known = {command.name for command in COMMANDS}
    assert set(re.findall("^unboxed ([a-z-]+)", examples, re.MULTILINE)) <= known
    assert len(re.findall("^unboxed ", examples, re.MULTILINE)) > 3
    for page in PAGES.values():  # files of the package have their whole name
        assert not re.search(r"(?<!/doc/unboxed/)\b(units|network|commands|machine)\.md", page)
    assert "unboxed.unit(5)" in text.partition(".SH SEE ALSO")[0]


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_a_small_program_has_a_page_of_its_own_text_only(name: str) -> None:
    text = plain(PAGES[f"{name}.8"])
    assert f"\n{name} " in text.partition(".SH DESCRIPTION")[0]
    assert re.search(rf"\.nf\n{name}\b", text)  # how it is called
    for other in PROGRAMS - {name}:
        assert f'.SH "{other}"' not in text


def test_each_key_of_a_unit_file_has_its_entry() -> None:
    found = terms("unboxed.unit.5").split("\n")
    text = plain(PAGES["unboxed.unit.5"])
    for path, key in unit_keys():
        if key.later:
            continue
        heading = f'.SH "[{key.name}]"' in text or f'.SH "[[{key.name}]]"' in text
        inner = path.count(".") > 1 and re.search(rf"\b{key.name}\b", text)  # in a row
        assert key.name in found or heading or inner, path


def test_each_key_of_a_machines_network_has_its_entry() -> None:
    found = terms("unboxed.network.5").split("\n")
    assert [path for path, _ in network_keys() if path not in found] == []


@pytest.mark.parametrize("name", PAGES)
def test_mandoc_and_groff_have_nothing_to_say_of_a_page(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(PAGES[name], encoding="utf-8")
    readers = {
        "mandoc": ["-Tlint", "-Wwarning"],
        "groff": ["-man", "-Kutf8", "-Tutf8", "-ww", "-z"],
    }
    there = [reader for reader in readers if shutil.which(reader)]
    if not there:
        pytest.skip("neither mandoc nor groff is installed")
    for reader in there:
        done = subprocess.run([reader, *readers[reader], str(file)], capture_output=True,
                              check=False, text=True)
        assert (done.stdout + done.stderr).strip() == ""


@pytest.mark.parametrize("name", PAGES)
def test_no_markdown_is_left_and_no_line_is_a_request_by_accident(name: str) -> None:
    known = {"TH", "SH", "SS", "PP", "TP", "IP", "RS", "RE", "nf", "fi", "br", "BR"}
    lines = PAGES[name].splitlines()
    assert {line[1:].split()[0] for line in lines if line.startswith(".")} <= known
    verbatim = False
    for line in lines:
        verbatim = line == ".nf" or (verbatim and line != ".fi")
        if not verbatim:
            assert not re.search(r"```|\]\(|^#|^\| ", line), line


def test_text_of_a_page_is_read_as_it_was_meant() -> None:
    text = """# Title
Word `a-b` and **bold**, [a page](x.md).

| t | what |
| --- | --- |
| `.x` | y \\| z |

- one
  more
- two

## The `rest`
```sh
.run \\ -x
```
"""
    assert list(MADE["body"](text)) == [
        '.SH "DESCRIPTION"', "Word \\fBa\\-b\\fR and \\fBbold\\fR, a page.",
        ".TP", "\\fB.x\\fR", "y | z",
        '.IP "\\(bu" 3', "one more", '.IP "\\(bu" 3', "two",
        '.SH "The rest"', ".RS 4", ".nf", "\\&.run \\e \\-x", ".fi", ".RE",
    ]  # fmt: skip

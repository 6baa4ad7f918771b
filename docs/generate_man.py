"""Write the man pages: `python docs/generate_man.py DIRECTORY`. Made when a package is built.

Law: a man page says what the page in docs says. So it is made from the same text (that of commands
and of keys from their tables), by a small reader of the Markdown that our pages are written in:
headings, paragraphs, lists, tables, code. What a table's row begins with becomes a term; a link
becomes its words, or where to read what it is the name of.
"""
from __future__ import annotations

import os
import re
import runpy
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from supervisor import __version__  # noqa: E402
from supervisor.config.page import units_page  # noqa: E402

_MANY = 5  # cells of a row that all need their headings
SECTIONS = {1: "User commands", 5: "File formats", 8: "System administration"}
# Where a page that a page links to is read by who reads man pages; all others are files.
PLACE = "/usr/share/doc/unboxed"
INSTEAD = {"commands.md": "unboxed(1)", "units.md": "unboxed.unit(5)",
           "network.md": "unboxed.network(5)", "machine.md": "unboxed-init(8)"}


def program(name: str) -> str:
    """Its section of docs/programs.md, as a page."""
    text = (HERE / "programs.md").read_text(encoding="utf-8")
    return f"# {name}\n{text.partition(f'## `{name}`')[2].partition('## `')[0]}"


# Name, section, what it is for; the text; what else to read.
PAGES = (
    ("unboxed", 1, "supervise services, tasks and agents",
     runpy.run_path(str(HERE / "generate_commands.py"))["page"],
     ("unboxed.unit(5)", "unboxed.network(5)", "unboxed-init(8)")),
    ("unboxed.unit", 5, "what a service, task, group or agent is",
     units_page, ("unboxed(1)", "unboxed.network(5)")),
    ("unboxed.network", 5, "the network of a machine that boots with unboxed",
     lambda: (HERE / "network.md").read_text(encoding="utf-8"),
     ("unboxed(1)", "unboxed.unit(5)", "resolv.conf(5)")),
    ("unboxed-init", 8, "the first process of a machine or of a container",
     lambda: "".join((HERE / name).read_text(encoding="utf-8")
                     for name in ("how-to/unboxed-init.md", "machine.md")
                     if (HERE / name).exists()),
     ("unboxed(1)", "unboxed.unit(5)")),
    *((name, 8, purpose, partial(program, name), ("unboxed(1)", "unboxed-init(8)", also))
      for name, purpose, also in (
          ("unboxed-session", "give logins control groups of their own", "pam_exec(8)"),
          ("unboxed-early", "start what the last boot started first", "unboxed-init(8)"),
          ("unboxed-watchdog", "reset a machine that hangs", "unboxed.unit(5)"),
          ("telinit", "ask init for what System V's would be asked for", "runlevel(8)"),
          ("runlevel", "print the runlevel of a machine that has none", "telinit(8)"))),
)


def pages() -> dict[str, str]:
    """Text of each page by its file name, as `unboxed.1`."""
    return {
        f"{name}.{section}": page(name, section, purpose, text(), also)
        for name, section, purpose, text, also in PAGES
    }


def page(name: str, section: int, purpose: str, text: str, also: tuple[str, ...]) -> str:
    seconds = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    day = time.strftime("%Y-%m-%d", time.gmtime(seconds))
    head = f'.TH "{name.upper()}" {section} {day} "unboxed {__version__}" "{SECTIONS[section]}"'
    lines = [head, ".SH NAME", f"{name} \\- {purpose}", *body(text), ".SH SEE ALSO"]
    lines += [f".BR {one.partition('(')[0]} ({one.partition('(')[2]}{',' * (one != also[-1])}"
              for one in also]
    lines += [".PP", f"The directory {PLACE}, where this is a page of many."]
    return "\n".join(lines) + "\n"


def body(text: str) -> Iterator[str]:
    """Lines of man(7) for a page of Markdown."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    begun = headed = False
    for kind, lines in _blocks(text):
        if kind == "heading":
            marks, _, words = lines[0].partition(" ")
            if len(marks) == 1 and not begun:
                words = "DESCRIPTION"
            elif len(marks) < 3 and "`" not in words:
                words = words.upper()
            yield f'{".SS" if len(marks) > 2 else ".SH"} "{_escaped(words.replace("`", ""))}"'
        elif kind == "code":
            if not headed:
                yield ".PP"
            yield from (".RS 4", ".nf", *map(_literal, lines), ".fi", ".RE")
        elif kind == "table":
            yield from _table(lines)
        elif kind == "item":
            yield '.IP "\\(bu" 3'
            yield from _prose(lines)
        else:
            if not headed:
                yield ".PP"
            yield from _prose(lines)
        headed = kind == "heading"
        begun = True


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Parts of a page: (kind, lines)."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        start = at
        at += 1
        if not line.strip():
            continue
        if line.startswith("```"):
            while at < len(lines) and not lines[at].startswith("```"):
                at += 1
            yield "code", lines[start + 1:at]
            at += 1
        elif line.startswith("    "):
            while at < len(lines) and lines[at].startswith("    "):
                at += 1
            yield "code", [one[4:] for one in lines[start:at]]
        elif line.startswith("#"):
            yield "heading", [line]
        elif line.strip().startswith("|"):
            while at < len(lines) and lines[at].strip().startswith("|"):
                at += 1
            yield "table", [one.strip() for one in lines[start:at]]
        else:
            item = re.match(r" {,3}(- |\d+\. )", line)
            while at < len(lines) and lines[at].strip() and not re.match(
                    r" *(- |\d+\. |#|\||```)", lines[at]):
                at += 1
            first = line[item.end():] if item else line.strip()
            yield "item" if item else "text", [first, *(one.strip() for one in lines[start + 1:at])]


def _table(lines: list[str]) -> Iterator[str]:
    """A term for each row; what stands between it and the last cell is told by its heading, and
    so is the last of many."""
    rows = [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in lines]
    heads = rows[0]
    for cells in rows[2:]:
        yield ".TP"
        yield _start(inline(cells[0])) or "\\&"
        told = [f"{heads[i]}: {inline(cells[i])}" for i in range(1, len(cells)) if cells[i]]
        if len(cells) < _MANY:
            yield _start(inline(cells[-1]) or "\\&")
            told = told[:-1] if cells[-1] else told
        for one in told:
            yield ".br"
            yield _start(one)


def _prose(lines: list[str]) -> Iterator[str]:
    yield _start(inline(" ".join(lines)))


def _literal(line: str) -> str:
    return _start(_escaped(line).replace("-", "\\-")) or "\\&"


def inline(text: str) -> str:
    """Code is bold, and so is what is; a link is its words and, if it leads outside, where to."""
    parts = []
    for i, part in enumerate(re.split(r"(`+)(.+?)\1", text)):
        if i % 3 == 2:
            parts.append(f"\\fB{_escaped(part).replace('-', chr(92) + '-')}\\fR")
        elif i % 3 == 0:
            words = re.sub(r"!?\[([^]]*)\]\((https?:[^)]*)\)", r"\1 (\2)", _escaped(part))
            words = re.sub(r"!?\[([^]]*)\]\(([^)#]*)[^)]*\)", _read_instead, words)
            words = re.sub(r"(\b)docs/(\w+\.md)", _read_instead, words)
            parts.append(re.sub(r"\*\*(.+?)\*\*", r"\\fB\1\\fR", words))
    return "".join(parts)


def _read_instead(link: re.Match[str]) -> str:
    """A link's words; those that are only the name of a file say where to read it."""
    words, to = link.groups()
    if not words.endswith((".md", ".json")):
        return str(words)
    name = to.removeprefix("../")
    return INSTEAD.get(name, f"{PLACE}/{name}")


def _escaped(text: str) -> str:
    for plain, man in (("\\", "\\e"), ('"', "\\(dq"), ("~", "\\(ti"), ("^", "\\(ha")):
        text = text.replace(plain, man)
    return text


def _start(line: str) -> str:
    """A line that begins with a dot or a quote would be a request."""
    return f"\\&{line}" if line.startswith((".", "'")) else line


def main(arguments: list[str]) -> None:
    place = Path(arguments[0])
    place.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (place / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

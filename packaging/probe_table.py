"""What isolation lets through, as a page: docs/isolation-table.md, from what the probe saw.

    python packaging/probe_table.py                   write the page from packaging/probe/*.json
    python packaging/probe_table.py measure FILE      try every unit on this kernel, as root
    python packaging/probe_table.py uml FILE          the same in user-mode Linux

Law: the page has nothing that was not seen. What is expected (tests/native/policies.py) is beside
it only as a count of differences, each of which is printed. tests/law/test_isolation_table.py says
when an action or a unit was added and not measured yet.
"""
from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
MEASURED = Path(__file__).resolve().parent / "probe"
PAGE = ROOT / "docs" / "isolation-table.md"
# Those whose every action is in the page.
SHOWN = ("off, root", "base, root", "base", "app", "strict, files")
WORD = "app: "  # level app with one promise, and proc
LEAST = "app: proc"
GROUPS = ("file", "metadata", "exec", "process", "mount", "socket", "kernel", "call")
_MEASURING_S = 600.0
_INTRO = """# What isolation lets through

Seen, not promised: a program (tests/native) tries {actions} actions, one by one, as a unit under
each of {units} policies, on several kernels. Beside each stands what a table that was written by
hand expects (tests/native/policies.py); a difference is a fault, in either. The tests do the same
on the kernel they run on. This page is written by packaging/probe_table.py.

`ok`: it was let through. `ENOENT`, `EACCES` and the like: what it was refused with. Where a kernel
lacks what a key needs, the unit is not started and the key is named, unless it has
`require = "best"`.
"""
_UNITS = """## Units on each kernel
Actions that were let through, of all. Each is a task of the user nobody, unless its name says
otherwise.
"""
_PROMISES = """
## Promises
What more was let through with `promises = ["WORD", "proc"]` than with `["proc"]` alone, at level
app, on {kernel}.
"""


def groups() -> dict[str, str]:
    """The group of each action."""
    from tests.native import actions as table

    tables = (table.FILES, table.METADATA, table.EXEC, table.PROCESSES, table.MOUNTS, table.SOCKETS,
              table.KERNEL, table.CALLS)  # fmt: skip
    return {name: group for group, one in zip(GROUPS, tables, strict=True) for name in one}


def measure(about: str) -> dict[str, Any]:
    """Every unit on this kernel."""
    from tests import stack
    from tests.native import units
    from tests.native.boxes import BOXES

    stack.PATIENCE = units.PATIENCE_S = _MEASURING_S  # an emulated machine is slow

    promised = [name for name in BOXES if name.startswith(WORD)]
    host = units.host()
    of = groups()
    with tempfile.TemporaryDirectory(prefix="probe-table-") as folder:
        Path(folder).chmod(0o755)
        seen = units.try_all(Path(folder), BOXES)
    found: dict[str, Any] = {
        "kernel": os.uname().release.partition("-")[0], "about": about, "landlock": host.landlock,
        "programs": host.programs, "units": {}, "ends": {},
    }  # fmt: skip
    for name, box in BOXES.items():
        ends, missing = seen[name].ends, box.missing(host)
        passed = Counter(of[action] for action, end in ends.items() if end == "ok")
        row: dict[str, Any] = {"ok": [passed[group] for group in GROUPS]} if ends else {}
        if missing:
            row["refused"] = missing
            said = [] if all(key in seen[name].refused for key in missing) else ["not refused"]
        else:
            said = [seen[name].refused] if seen[name].refused else []
            said += units.differences(box, ends, host)
        row["keys"] = box.keys
        if ends and seen[LEAST].ends and name in promised:
            row["more"] = [action for action, end in ends.items() if end == "ok"
                           and seen[LEAST].ends[action] != "ok"]
        found["units"][name] = {**row, **({"differences": said} if said else {})}
        if ends and name in SHOWN:
            found["ends"][name] = [ends.get(action, "") for action in of]
    return found


def in_user_mode_linux() -> dict[str, Any]:
    from tests.vm.machine import POWER_OFF, Machine
    from tests.vm.test_probe import LOOPBACK_UP

    with tempfile.TemporaryDirectory(prefix="probe-table-") as folder:
        script = (
            f"\"$PYTHON\" -I -S -c '{LOOPBACK_UP}'\n"
            f'"$PYTHON" {__file__} measure /run/host/found "user-mode Linux" >/run/host/said 2>&1\n'
            f"sync\n{POWER_OFF}"
        )
        home = Path(folder)
        with Machine(home, script, mebibytes=1024, patience_s=_MEASURING_S) as machine:
            machine.ended()
        if not (home / "found").exists():
            raise SystemExit((home / "said").read_text())
        found: dict[str, Any] = json.loads((home / "found").read_text())
        return found


def page(measured: Sequence[Mapping[str, Any]]) -> str:
    """From the results of each kernel, the first of them the one whose actions are listed."""
    of = groups()
    names = list(measured[0]["units"])
    text = [_INTRO.format(actions=len(of), units=len(names)), _kernels(measured)]
    text.append(_UNITS)
    text += [_row("unit", "keys", *(_name(one) for one in measured)),
             _row(*["---"] * (len(measured) + 2))]
    text += [_row(name, _keys(measured[0]["units"][name]["keys"]),
                  *(_cell(one["units"][name], len(of)) for one in measured))
             for name in names if not name.startswith(WORD)]
    text.append(_PROMISES.format(kernel=_name(measured[0])))
    text += [_row("word", "actions"), _row("---", "---")]
    text += [_row(f"`{name.removeprefix(WORD)}`", " ".join(row["more"]) or "none of these")
             for name, row in measured[0]["units"].items() if "more" in row and name != LEAST]
    text.append("\n## By kind of action\n")
    for one in measured:
        text += [f"### {_name(one)}\n", _row("", *GROUPS), _row(*["---"] * (len(GROUPS) + 1))]
        sizes = Counter(of.values())
        text.append(_row("tried", *(str(sizes[group]) for group in GROUPS)))
        for name in SHOWN:
            counts = one["units"][name].get("ok")
            text.append(_row(name, *(map(str, counts) if counts else ["refused"] * len(GROUPS))))
        text.append("")
    text.append(f"## Each action\nOn {_name(measured[0])}.\n")
    text += [_row("action", *SHOWN), _row(*["---"] * (len(SHOWN) + 1))]
    ends = measured[0]["ends"]
    text += [_row(f"`{name}`", *(ends[unit][number] for unit in SHOWN))
             for number, name in enumerate(of)]
    return "\n".join(text) + "\n"


def _kernels(measured: Sequence[Mapping[str, Any]]) -> str:
    head = ("kernel", "where", "Landlock ABI", "BPF on cgroups", "units as expected",
            "refused by name", "differences")  # fmt: skip
    lines = [_row(*head), _row(*["---"] * len(head))]
    for one in measured:
        rows = one["units"].values()
        refused = sum("refused" in row for row in rows)
        wrong = sum("differences" in row for row in rows)
        said = "; ".join(f"{name}: {', '.join(row['differences'])}"
                         for name, row in one["units"].items() if "differences" in row)
        lines.append(_row(
            one["kernel"], one["about"], str(one["landlock"] or "none"),
            "yes" if one["programs"] else "no", f"{len(rows) - wrong} of {len(rows)}",
            str(refused), said or "none"))
    return "\n".join(lines) + "\n"


def _name(one: Mapping[str, Any]) -> str:
    version = ".".join(one["kernel"].split("-")[0].split(".")[:2])
    return f"Linux {version}, Landlock {one['landlock'] or 'none'}"


def _cell(row: Mapping[str, Any], total: int) -> str:
    if "refused" in row:
        return "refused: " + ", ".join(row["refused"])
    return f"{sum(row.get('ok', ()))} of {total}"


def _keys(text: str) -> str:
    lines = text.replace("[sandbox]\n", "", 1).splitlines()
    return "; ".join(f"`{line}`" for line in lines) or "none"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def results() -> list[dict[str, Any]]:
    """The newest kernel first."""
    found = [json.loads(path.read_text()) for path in MEASURED.glob("*.json")]
    return sorted(found, key=lambda one: -one["landlock"])


def main(words: Sequence[str]) -> None:
    if not words:
        PAGE.write_text(page(results()))
        return
    what, file, *about = words
    found = in_user_mode_linux() if what == "uml" else measure(*about or ["a machine"])
    Path(file).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

"""The table of keys in docs/network.md, made from the one that reads the file."""
from __future__ import annotations

from supervisor.config.machine_network import walk

BEGIN, END = "<!-- keys: made from supervisor/config/machine_network.py -->", "<!-- end of keys -->"


def with_keys(page: str) -> str:
    """`page` with the table as it is now between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, behind = rest.partition(END)
    return f"{before}{BEGIN}\n{_table()}{END}{behind}"


def _table() -> str:
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for path, key in walk():
        default = f"`{key.default}`" if key.default else ""
        rows.append(f"| `{path}` | {key.type.words} | {default} | {key.meaning} |")
    return "\n".join(rows) + "\n"

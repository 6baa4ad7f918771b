"""Writes what is made from the tables of keys: docs/units.md and docs/unit.schema.json, and for
the machine's network docs/network.schema.json and the keys in docs/network.md.

    python -m supervisor.config.generate [DIRECTORY]      (default: docs)

A test asserts that the files in the repository are what this writes.
"""
from __future__ import annotations

import json
import os
import sys
from typing import Any

from supervisor.config import machine_file
from supervisor.config.json_schema import json_schema
from supervisor.config.machine_page import with_keys
from supervisor.config.page import units_page

_DOCS = os.path.join(os.path.dirname(__file__), "..", "..", "docs")


def files() -> dict[str, str]:
    """Name and text of each generated file. Of one of which only a part is made, the rest is as it
    is in the repository."""
    with open(f"{_DOCS}/network.md", encoding="utf-8") as file:
        network = with_keys(file.read())
    return {
        "units.md": units_page(),
        "unit.schema.json": _text(json_schema()),
        "network.md": network,
        "network.schema.json": _text(machine_file.json_schema()),
    }


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> None:
    directory = arguments[0] if arguments else "docs"
    for name, text in files().items():
        with open(f"{directory}/{name}", "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])

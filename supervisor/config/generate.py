"""Writes what is made from the schema's table: docs/units.md and docs/unit.schema.json.

    python -m supervisor.config.generate [DIRECTORY]      (default: docs)

A test asserts that the files in the repository are what this writes.
"""
from __future__ import annotations

import json
import sys

from supervisor.config.json_schema import json_schema
from supervisor.config.page import units_page


def files() -> dict[str, str]:
    """Name and text of each generated file."""
    schema = json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"
    return {"units.md": units_page(), "unit.schema.json": schema}


def main(arguments: list[str]) -> None:
    directory = arguments[0] if arguments else "docs"
    for name, text in files().items():
        with open(f"{directory}/{name}", "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])

"""`unboxed schema`: the JSON Schema of unit files, made from the table that reads them."""
from __future__ import annotations

from supervisor.cli.call import DONE, Call
from supervisor.cli.server import print_json
from supervisor.config.json_schema import json_schema


def run(_: Call) -> int:
    print_json(json_schema())
    return DONE

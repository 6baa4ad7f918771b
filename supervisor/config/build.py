"""A TOML document to a Unit: the one place where text, table and rules meet."""
from __future__ import annotations

from typing import Any

from tomli import TOMLDecodeError, loads

from supervisor.config import guard
from supervisor.config.rules import check
from supervisor.config.schema import UNIT
from supervisor.config.table import Fault, Refused
from supervisor.model.unit import Limits, Unit


class BadText(Exception):
    """Text that is no TOML, with the line that says so (0: the file as a whole)."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def document(data: bytes) -> dict[str, Any]:
    """The TOML document in `data`. Raises BadText, and nothing else for any bytes."""
    try:
        guard.check(data)
        return loads(data.decode())
    except Refused as refused:
        raise BadText(0, str(refused)) from None
    except TOMLDecodeError as error:
        from supervisor.config.report import explain_toml

        raise BadText(*explain_toml(data, error)) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadText(line, "cannot read it: it is not UTF-8; save it as UTF-8") from None
    except RecursionError:
        raise BadText(0, "cannot read it: it is nested too deep; no unit needs that") from None
    except ValueError:  # int() of more digits than sys.get_int_max_str_digits()
        import re

        number = re.search(rb"[0-9_]{4000,}", data)
        line = data.count(b"\n", 0, number.start()) + 1 if number else 0
        raise BadText(line, "cannot read it: a number has thousands of digits") from None


def build(name: str, source: str, doc: dict[str, Any]) -> tuple[Unit, list[Fault]]:
    """The Unit that `doc` describes, and all that is wrong with it. With faults the Unit holds
    defaults for what was refused, and is of no use."""
    fields, faults = UNIT.fields(doc)
    agent = fields.get("agent")
    if agent is not None and "limits" in agent.share:  # it has a group, below its main's
        fields.setdefault("limits", Limits())
    unit = Unit(name, source, **fields)
    if not faults:
        return unit, check(unit, doc, ())
    refused = {where[0] for where, _ in faults if where}
    accepted = [key for key in doc if key not in refused]
    return unit, faults + check(unit, accepted, [str(key) for key in refused])

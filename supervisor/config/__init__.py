"""Unit files: TOML text to `model.unit.Unit`, and back. Imported by every layer above `model`.

    load        directories, drop-ins, precedence: `read_units`, `iter_units`, `load_text`
    schema      the one table of keys; parser, docs/units.md, JSON Schema and CLI help run on it
    table       how that table reads a TOML table; values, shapes: its value types
    rules       what no single key can know: contradictions between keys
    guard       what is refused before any parser sees it
    report      faults to `file:line: key: cannot ...; ...` (imported only when there is one)
    render      a Unit to text: `describe`, `to_toml`
    substitute  where `{instance}`, `{unit}` and `{port:NAME}` may stand

Nothing here logs, starts a process, or looks a name up: existence of users, programs and other
units is the business of those who launch.
"""

"""Which files a unit is made of, for people. Imported only when somebody asks."""
from __future__ import annotations

import os
from collections.abc import Sequence


def sources(source: str, dirs: Sequence[str]) -> list[str]:
    """The unit's own file and the drop-ins over it in order, as `load` would take them from `dirs`
    now. What cannot be read is left out: `check` and `reload` complain, this does not."""
    if not source:
        return []  # its file is gone, while it still runs
    drop_in = f"{os.path.basename(source)}.d"
    found: dict[str, str] = {}
    for directory in dirs:
        try:
            names = os.listdir(f"{directory}/{drop_in}")
        except OSError:
            continue
        for name in names:
            if name.endswith(".toml") and name[0] != ".":
                found.setdefault(name, f"{directory}/{drop_in}/{name}")
    return [source, *(found[name] for name in sorted(found))]

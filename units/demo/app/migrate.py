"""Task: make or bring up to date the shop's database. Run it as often as you like."""
from __future__ import annotations

import sys

from . import store


def main() -> int:
    before, now = store.migrate()
    print(f"schema version {now}" if before == now else f"schema version {before} -> {now}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

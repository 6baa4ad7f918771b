"""List the files of the Python package, one a line, for meson.build.

Law: what is listed is what is installed. The folders of the keeper and of other programs hold C
and build scripts, which become binaries instead; bytecode is made anew by whoever installs.
"""
from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = {".py", ".varlink", ".json", ".typed", ".html", ".css", ".js", ".svg"}


def main() -> None:
    package = ROOT / "supervisor"
    for path in sorted(package.rglob("*")):
        if path.suffix in KINDS and path.is_file() and package / "keeper" not in path.parents:
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()

"""Where the files of a test are, and who gets to them."""
from __future__ import annotations

import shutil
from pathlib import Path

TOP = Path("/tmp")


def let_in(home: Path) -> None:
    """Whoever the units of a test run as gets to `home`, where that is below /tmp."""
    for path in (home, *home.parents):
        if path.is_relative_to(TOP) and path != TOP:
            path.chmod(0o755)


def remove_state(name: str) -> None:
    """The directory of that name that a unit had in /var/lib."""
    for path in (Path("/var/lib", name), Path("/var/lib/private", name)):
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)

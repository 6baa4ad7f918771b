"""A private /tmp: empty and its own, but what a unit is made of is not hidden from it."""
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.places import let_in
from tests.scenario.sandbox.kit import written
from tests.stack import Stack

CODE = """
import json, os
def tried(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return os.strerror(error.errno)
    return "made"
print(json.dumps({
    "cwd": os.getcwd(), "tmp": sorted(os.listdir("/tmp")), "here": tried("made"),
    "tmp/made": tried("/tmp/made"), "data": tried("data/made"), "files": sorted(os.listdir(".")),
}))
"""


@pytest.fixture(params=["as root", "as an ordinary user"])
def prefix(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Words before the supervisor's command."""
    let_in(tmp_path)
    (tmp_path / "app" / "data").mkdir(parents=True)
    if request.param == "as root":
        if os.geteuid() != 0:
            pytest.skip("needs root")
        return []
    if os.geteuid() == 0:
        for path in (tmp_path, tmp_path / "app", tmp_path / "app" / "data"):
            os.chown(path, 65534, 65534)
        return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    return []


def test_it_starts_in_its_directory_there_and_changes_only_what_is_listed(
    tmp_path: Path, prefix: list[str]
) -> None:
    if not tmp_path.is_relative_to("/tmp"):
        pytest.skip(f"temporary files are in {tmp_path}")
    app = tmp_path / "app"
    (app / "look.py").write_text(CODE)
    (app / "look.py").chmod(0o644)
    (app / "data").chmod(0o777)
    unit = (
        f'kind = "task"\ncommand = "/usr/bin/python3 -I -S {app}/look.py"\ndirectory = "{app}"\n'
        f'[sandbox]\nlevel = "app"\nrequire = "best"\nwrite = ["{app}/data"]\n'
    )
    with Stack(tmp_path, {"look": unit}, prefix=prefix) as stack:
        row = stack.wait("look", "finished")
        if any("sandbox.tmp" in words for words in row["missing_sandbox"]):
            pytest.skip(f"no views here: {row['missing_sandbox']}")
        seen = json.loads(written(stack, "look", "}"))
    top = tmp_path.relative_to("/tmp").parts[0]
    assert seen == {
        "cwd": str(app), "tmp": [top], "here": "Read-only file system", "tmp/made": "made",
        "data": "made", "files": ["data", "look.py"],
    }  # fmt: skip
    assert (app / "data" / "made").exists()
    assert not Path("/tmp/made").exists()

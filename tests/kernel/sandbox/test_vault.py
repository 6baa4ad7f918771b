"""Secrets: where they are, and all the places where they are not (fault 53)."""
from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.kernel import plan
from supervisor.kernel.sandbox import vault, view
from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.model.policy import Policy
from supervisor.model.sandbox import Sandbox, Secret
from tests.keeper.keeperclient import Peer
from tests.kernel.sandbox.sight import USER, context, look, policy, steps_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes mounts and becomes other users")
WORD = "correct horse battery"
READ = """
at = os.environ["CREDENTIALS_DIRECTORY"]
seen["names"] = sorted(os.listdir(at))
seen["text"] = read(at + "/db")
info = os.stat(at + "/db")
seen["file"] = [info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)]
seen["change"] = [tried(write, at + "/db"), tried(write, at + "/new"), tried(os.unlink, at + "/db")]
seen["how"] = mounts()[at]
seen["env"] = " ".join(os.environ.values())
"""


@pytest.fixture
def runtime() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="unboxed-vault-", dir="/run") as path:
        os.chmod(path, 0o755)
        (Path(path) / "db").write_text(WORD)
        (Path(path) / "db").chmod(0o600)
        yield Path(path)


def secrets(runtime: Path) -> tuple[Secret, ...]:
    return (Secret("db", f"{runtime}/db"), Secret("key", f"{runtime}/db"))


def _as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


POLICIES = [
    policy(secrets=(Secret("db", ""),), user="web"),
    policy(Sandbox(level="app"), secrets=(Secret("db", ""),), user="web"),
    policy(Sandbox(level="strict", promises=("stdio",)), secrets=(Secret("db", ""),), user="web"),
]


@pytest.mark.parametrize("found", POLICIES, ids=["base", "app", "strict"])
def test_they_are_files_of_the_units_user_in_memory(
    manager: Peer, runtime: Path, found: Policy
) -> None:
    ctx = context(runtime, secrets=secrets(runtime))
    seen = look(manager, found, ctx, READ)
    assert seen["names"] == ["db", "key"]
    assert seen["text"] == WORD
    assert seen["file"] == [USER.uid, USER.gid, 0o400]
    assert set(seen["change"]) == {"EROFS"}
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(seen["how"])
    assert WORD not in seen["env"]
    assert not os.listdir(vault.top(ctx)), "outside its namespace nothing is there"


def test_each_start_has_what_the_file_holds_then(manager: Peer, runtime: Path) -> None:
    ctx = context(runtime, secrets=secrets(runtime))
    assert look(manager, POLICIES[1], ctx, READ)["text"] == WORD
    (runtime / "db").write_text("")
    assert look(manager, POLICIES[1], ctx, READ)["text"] == ""
    long = "x" * vault.MOST_BYTES
    (runtime / "db").write_text(long)
    assert look(manager, POLICIES[1], ctx, READ)["text"] == long


def test_no_plan_and_no_words_have_them(runtime: Path) -> None:
    ctx = context(runtime, secrets=secrets(runtime))
    steps = steps_of(POLICIES[1], ctx, "")
    assert WORD.encode() not in plan.encode(steps)
    said = [*map(plan.describe, steps), *map(str, view.part(POLICIES[1], ctx))]
    assert not any(WORD in one for one in said)


@pytest.mark.parametrize(
    "make, why",
    [
        (lambda at: at.unlink(), "No such file"),
        (_as_fifo, "no regular file"),
        (lambda at: at.write_bytes(bytes(vault.MOST_BYTES + 1)), "over 65536 bytes"),
    ],
    ids=["missing", "fifo", "long"],
)
def test_a_secret_that_cannot_be_read_is_named(runtime: Path, make: object, why: str) -> None:
    make(runtime / "db")  # type: ignore[operator]  # one of the above
    with pytest.raises(CannotConfine, match=rf"secrets.db: cannot read {runtime}/db: .*{why}"):
        view.prepare(POLICIES[1], context(runtime, secrets=secrets(runtime)))

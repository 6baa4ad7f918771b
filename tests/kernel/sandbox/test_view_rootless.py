"""Views of a supervisor that is an ordinary user: in a user namespace, and as strict."""
from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from supervisor.kernel.plan import Identity
from supervisor.kernel.sandbox.facts import facts
from supervisor.model.sandbox import Sandbox, Secret
from tests.keeper.keeperclient import Keeper
from tests.kernel.sandbox.sight import context, look, policy
from tests.kernel.sandbox.test_rootless import rootless

CODE = """
seen["/"] = sorted(os.listdir("/"))
seen["etc"] = tried(write, "/etc/file")
seen["tmp"] = [os.listdir("/tmp"), tried(write, "/tmp/file")]
seen["dev"] = [tried(write, "/dev/null"), tried(write, "/dev/file"), tried(os.stat, "/dev/kmsg")]
seen["pids"] = sorted(int(x) for x in os.listdir("/proc") if x.isdigit())
seen["who"] = os.getuid()
seen["state"] = tried(write, os.environ["STATE_DIRECTORY"] + "/file")
seen["secret"] = read(os.environ["CREDENTIALS_DIRECTORY"] + "/word")
"""


@pytest.mark.parametrize("level", ["app", "strict"])
def test_an_ordinary_users_services_have_views(level: str) -> None:
    listed = ("/etc/hosts",) if level == "strict" else None
    words = ("stdio",) if level == "strict" else None
    box = replace(Sandbox(promises=words, read=listed, state=("data",)), level=level)

    def seen() -> Any:
        if not facts().user_namespaces:
            return "none"
        with tempfile.TemporaryDirectory(prefix="unboxed-view-") as path:
            runtime = Path(path) / "runtime"
            runtime.mkdir()
            (runtime / "word").write_text("hush")
            os.environ |= {"XDG_STATE_HOME": f"{path}/state"}
            stay = Identity("", None, os.getegid(), (), path, "")
            ctx = context(runtime, stay, secrets=(Secret("word", f"{runtime}/word"),))
            with Keeper() as keeper:
                found = policy(box, secrets=(Secret("word", ""),))
                looked = look(keeper.manager(), found, ctx, CODE)
            return [os.geteuid(), looked, (Path(path) / "state/data/file").stat().st_uid]

    answer = rootless(seen)
    if answer == "none":
        pytest.skip("ordinary users may make no user namespaces here")
    me, found, stored = answer
    assert (found["who"], stored) == (me, me)
    assert found["etc"] == "EROFS"
    # Its directories are below /tmp in this test; nothing else of the host's /tmp is there.
    assert len(found["tmp"][0]) == 1
    assert found["tmp"][1] == "ok"
    assert found["dev"] == ["ok", "EROFS", "ENOENT"]
    assert set(found["pids"]) <= {1, 2}, "of a pid namespace of its own"
    assert (found["state"], found["secret"]) == ("ok", "hush")
    if level == "strict":
        assert set(found["/"]) <= {"dev", "etc", "lib", "lib64", "proc", "tmp", "usr", "var"}

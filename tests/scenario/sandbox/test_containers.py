"""Level app with require = "all" on hosts that lack things: in containers, without Landlock, with a
masked /proc. It starts with what it is worth, and tells what is left out."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.places import let_in, remove_state
from tests.scenario.sandbox import hosts
from tests.scenario.sandbox.test_rootless import HEAD, NEVER, environment, seen
from tests.stack import Stack

APP = '[sandbox]\nlevel = "app"\n'
STAYS = 'command = ["/bin/sleep", "1000"]\n' + APP
NO_CGROUPS = "mount -t tmpfs -o ro none /sys/fs/cgroup"
needs_root = pytest.mark.skipif(not hosts.ROOT, reason="a container is made by root")


@pytest.fixture
def state() -> Iterator[str]:
    """The name of a directory in /var/lib, of which nothing is left."""
    name = f"unboxed-test-{os.getpid()}"
    yield name
    remove_state(name)


def missing(row: dict[str, Any]) -> list[str]:
    return [text.split(" ")[0] for text in row["missing_sandbox"]]


@needs_root
@pytest.mark.parametrize("mounts", ["", NO_CGROUPS], ids=["cgroups", "none"])
def test_in_a_container_that_may_mount_nothing(tmp_path: Path, state: str, mounts: str) -> None:
    hosts.landlock()
    prefix = hosts.contained(*hosts.NAMESPACES, mounts=mounts)
    if not hosts.can(*prefix):
        pytest.skip("no such container can be made here")
    let_in(tmp_path)
    units = {
        "app": HEAD + APP, "named": f'user = "nobody"\n{HEAD}{APP}state = ["{state}"]\n',
        "kept": f'{HEAD}{APP}state = ["{state}-not"]\n', "hide": f'{HEAD}{APP}view = "hide"\n',
        "root": f'user = "root"\n{HEAD}{APP}',
    }  # fmt: skip
    texts = {name: text + NEVER for name, text in units.items()} | {"stays": STAYS}
    with hosts.Contained(tmp_path, texts, prefix=prefix) as stack:
        assert stack.keeper == 1
        app, named = seen(stack, "app"), seen(stack, "named")
        reasons = {name: stack.wait(name, "failed")["reason"] for name in ("kept", "hide", "root")}
        assert missing(stack.wait("stays", "running")) == ["sandbox.tmp", "sandbox.processes"]
    for one in (app, named):
        assert (one["nnp"], one["filter"], one["capabilities"]) == ("1", "2", 0)
        assert (one["etc"], one["home"], one["kmsg"]) == ("EACCES", "EACCES", "ok")
        assert (one["null"], one["zero"]) == ("ok", "ok")
        assert one["fuse"] in ("EACCES", "ENOENT"), "open to all by its mode"
    assert app["uid"] not in (0, hosts.NOBODY)
    assert app["tmp"] == "EACCES", "nothing is left to whoever has this id next"
    assert (named["uid"], named["tmp"]) == (hosts.NOBODY, "ok")
    assert named["own"] == {"STATE_DIRECTORY": "ok"}
    assert "sandbox.state" in reasons["kept"]
    assert "write `user`" in reasons["kept"]
    assert not Path("/var/lib", f"{state}-not").exists()
    assert 'view = "deny"' in reasons["hide"]
    assert "unix = []" in reasons["root"]


@needs_root
def test_in_a_container_with_user_namespaces(tmp_path: Path, state: str) -> None:
    prefix = hosts.contained()
    if not hosts.can(*prefix, "unshare", "--user", "--mount"):
        pytest.skip("no such container can be made here")
    let_in(tmp_path)
    units = {"app": f'{HEAD}{APP}state = ["{state}"]\n{NEVER}', "stays": STAYS}
    with hosts.Contained(tmp_path, units, prefix=prefix) as stack:
        app = seen(stack, "app")
        assert missing(stack.wait("stays", "running")) == []
    assert (app["nnp"], app["filter"], app["capabilities"], app["tmp"]) == ("1", "2", 0, "ok")
    assert app["uid"] not in (0, hosts.NOBODY)
    assert (app["kmsg"], app["own"]) == ("ENOENT", {"STATE_DIRECTORY": "ok"})
    assert set(app["pids"]) <= {1, 2}


@needs_root
def test_without_landlock(tmp_path: Path) -> None:
    let_in(tmp_path)
    units = {
        "app": HEAD + APP + NEVER, "stays": STAYS,
        "strict": f'{HEAD}[sandbox]\nlevel = "strict"\npromises = ["stdio"]\n{NEVER}',
    }  # fmt: skip
    with Stack(tmp_path, units, prefix=hosts.refusing(**hosts.NO_LANDLOCK)) as stack:
        app = seen(stack, "app")
        assert missing(stack.wait("stays", "running")) == []
        assert "sandbox.exec" in stack.wait("strict", "failed")["reason"]
    assert app["etc"] in ("EACCES", "EROFS")
    assert (app["filter"], app["tmp"], app["kmsg"]) == ("2", "ok", "ENOENT")


@needs_root
def test_where_proc_is_masked_the_host_s_is_seen(tmp_path: Path) -> None:
    hosts.user_namespaces(tmp_path)
    masks = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc/fs && exec "$@"', "sh"]
    if not hosts.can(*masks):
        pytest.skip("no such container can be made here")
    prefix = [*masks, *hosts.ordinary(tmp_path)]
    units = {
        "app": HEAD + APP + NEVER, "stays": STAYS,
        "own": f'{HEAD}[sandbox]\nprocesses = "own"\n{NEVER}',
    }  # fmt: skip
    with Stack(tmp_path, units, prefix=prefix, env=environment(tmp_path)) as stack:
        app = seen(stack, "app")
        assert missing(stack.wait("stays", "running")) == ["sandbox.processes"]
        assert "masked" in stack.wait("own", "failed")["reason"]
    assert (app["etc"], app["tmp"], app["kmsg"]) == ("EROFS", "ok", "ENOENT")
    assert len(app["pids"]) > 2


def test_root_of_a_namespace_with_one_id_has_no_user_to_give(tmp_path: Path) -> None:
    hosts.user_namespaces(tmp_path)
    prefix = [*hosts.ordinary(tmp_path), "unshare", "--user", "--map-root-user", "--mount"]
    dynamic = f'user = "dynamic"\n{HEAD}{NEVER}'
    strict = f'{HEAD}[sandbox]\nlevel = "strict"\npromises = ["stdio", "rpath", "exec"]\n{NEVER}'
    units = {"app": HEAD + APP + NEVER, "stays": STAYS, "dynamic": dynamic, "strict": strict}
    made = Stack(tmp_path, units, prefix=prefix, env=environment(tmp_path))
    if hosts.ROOT:
        for path in (made.units, *made.units.iterdir()):
            os.chown(path, hosts.NOBODY, hosts.NOBODY)  # root's would be nobody's in there
    with made as stack:
        app = seen(stack, "app")
        assert missing(stack.wait("stays", "running")) == ["user"]
        assert seen(stack, "strict")["home"] == "ENOENT"  # by root's links, which are nobody's here
        assert "has not the ids" in stack.wait("dynamic", "failed")["reason"]
    assert (app["uid"], app["capabilities"], app["tmp"], app["kmsg"]) == (0, 0, "ok", "ENOENT")

"""Devices by the cgroup: what a process that is root, with every capability, can still open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.kernel.sandbox import devices
from supervisor.kernel.sandbox.facts import facts
from supervisor.kernel.sandbox.part import CannotConfine, Context, Part
from supervisor.model.policy import Policy
from tests.kernel.kit import NOBODY, Groups, in_child
from tests.kernel.sandbox.stage import STAY, Failed, Stage, stage
from tests.unit.kernel.sandbox.given import policy

pytestmark = pytest.mark.skipif(not facts().root, reason="needs root in the first user namespace")
EPERM = 1
# Opens nodes by name, and some that it makes itself, where nothing else is in the way.
TRY = """import stat, tempfile
def fails(path):
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    except OSError as exc:
        return exc.errno
for name in ("null", "zero", "full", "random", "urandom", "ptmx", "kmsg"):
    seen[name] = fails("/dev/" + name)
with tempfile.TemporaryDirectory(dir="/dev") as home:
    for name, kind, major, minor in (
        ("made null", stat.S_IFCHR, 1, 3), ("made kmsg", stat.S_IFCHR, 1, 11),
        ("made loop", stat.S_IFBLK, 7, 0),
    ):
        try:
            os.mknod(home + "/node", kind | 0o666, os.makedev(major, minor))
        except OSError as exc:
            seen[name] = -exc.errno
        else:
            seen[name] = fails(home + "/node")
            os.unlink(home + "/node")
"""
USUAL = ("null", "zero", "full", "random", "urandom", "ptmx", "made null")


@pytest.fixture
def on_v2(groups: Groups) -> Iterator[Stage]:
    if not facts().cgroup_bpf:
        pytest.skip("this kernel or supervisor may attach no programs to cgroups")
    with stage(groups.tracker.base) as made:
        yield made


@pytest.fixture
def on_v1(tmp_path: Path) -> Iterator[tuple[Stage, Context]]:
    if not facts().devices_v1:
        pytest.skip("no devices controller of cgroup v1 here")
    with stage() as made:
        yield made, made.context(str(tmp_path))
    assert devices.remove("web", str(tmp_path))
    top, above = devices._controllers(str(tmp_path)).legacy("devices")
    assert os.path.isdir(above)
    assert not os.path.exists(top)


def control(made: Stage) -> dict[str, object]:
    """Without a limit: what is refused then has other reasons (a host without devpts)."""
    found = made.look(TRY, policy(), made.context(), devices.part)
    assert {found[name] for name in ("null", "zero", "kmsg", "made null", "made kmsg")} == {None}
    return found


def usual(free: dict[str, object]) -> dict[str, object]:
    """What of that is as it was."""
    return {name: free[name] for name in USUAL}


def test_a_program_on_v2_lets_listed_devices_pass(on_v2: Stage) -> None:
    free = control(on_v2)
    found = on_v2.look(TRY, policy(devices=()), on_v2.context(), devices.part)
    assert found == {**usual(free), "kmsg": EPERM, "made kmsg": -EPERM, "made loop": -EPERM}


def test_a_listed_device_is_added(on_v2: Stage) -> None:
    free, limited = control(on_v2), policy(devices=("/dev/kmsg",))
    found = on_v2.look(TRY, limited, on_v2.context(), devices.part)
    assert found == {**usual(free), "kmsg": None, "made kmsg": None, "made loop": -EPERM}


def test_a_later_launch_replaces_the_program_of_an_earlier_one(on_v2: Stage) -> None:
    """Hooks and the main process are born into the same group: 64 programs would be the end."""
    strict, loose = policy(devices=()), policy(devices=("/dev/kmsg",))
    once = devices.part(strict, on_v2.context())
    often = Part(first=once.first * 70)
    assert on_v2.look(TRY, strict, on_v2.context(), lambda _, __: often)["kmsg"] == EPERM
    assert on_v2.look(TRY, loose, on_v2.context(), devices.part)["kmsg"] is None
    assert on_v2.look(TRY, strict, on_v2.context(), devices.part)["kmsg"] == EPERM


def test_another_instance_is_not_limited_by_it(on_v2: Stage) -> None:
    on_v2.look(TRY, policy(devices=()), on_v2.context(key="web/0"), devices.part)
    other = on_v2.look(TRY, policy(), on_v2.context(key="web/1"), devices.part)
    assert other["made kmsg"] is None


def test_a_group_that_is_not_there_ends_the_launch_by_name(on_v2: Stage) -> None:
    ctx = on_v2.context()
    gone = ctx._replace(group=ctx.group + "-not-there")
    found = devices.part(policy(devices=()), gone)
    with pytest.raises(Failed, match=r"its cgroup.*No such file"):
        on_v2.start("", policy(devices=()), ctx, lambda _, __: found)


def without_programs(limited: Policy, ctx: Context) -> Context:
    ctx = ctx._replace(facts=ctx.facts._replace(cgroup_bpf=False))
    devices.prepare(limited, ctx)
    return ctx


def test_the_controller_of_v1_lets_listed_devices_pass(on_v1: tuple[Stage, Context]) -> None:
    made, ctx = on_v1
    free = control(made)
    limited = policy(devices=("/dev/kmsg",))
    ctx = without_programs(limited, ctx)
    found = made.look(TRY, limited, ctx, devices.part)
    assert found == {**usual(free), "kmsg": None, "made kmsg": None, "made loop": -EPERM}


def test_on_v1_another_list_takes_the_place_of_the_first(on_v1: tuple[Stage, Context]) -> None:
    made, ctx = on_v1
    for limited, kmsg in ((policy(devices=("/dev/kmsg",)), None), (policy(devices=()), EPERM)):
        again = without_programs(limited, ctx)
        assert made.look(TRY, limited, again, devices.part)["kmsg"] == kmsg


def test_on_v1_the_same_list_is_not_written_twice(
    on_v1: tuple[Stage, Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process in it would see everything denied for a moment."""
    _, ctx = on_v1
    limited = policy(devices=())
    without_programs(limited, ctx)
    written: list[str] = []
    monkeypatch.setattr(devices, "write", lambda path, _: written.append(path))
    without_programs(limited, ctx)
    assert written == []


def test_on_v1_what_an_earlier_supervisor_left_goes(on_v1: tuple[Stage, Context]) -> None:
    _, ctx = on_v1
    without_programs(policy(devices=()), ctx._replace(key="gone"))
    top = Path(devices._group(ctx)).parent
    devices._sweep.cache_clear()  # as in a new manager
    without_programs(policy(devices=()), ctx)
    assert sorted(path.name for path in top.iterdir() if path.is_dir()) == ["web"]


def test_on_v1_what_cannot_be_made_is_refused_by_name(
    on_v1: tuple[Stage, Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ctx = on_v1

    def refuse(path: str, _: str) -> None:
        raise OSError(13, "Permission denied", path)

    monkeypatch.setattr(devices, "write", refuse)
    with pytest.raises(CannotConfine, match=r"sandbox\.devices: .*devices\.deny: Permission"):
        without_programs(policy(devices=()), ctx)


def test_a_hierarchy_that_is_not_ours_to_write_is_no_reason_to_refuse(tmp_path: Path) -> None:
    """An ordinary user's supervisor on a host with cgroup v1: a private /dev is what is left."""
    if not facts().devices_v1:
        pytest.skip("no devices controller of cgroup v1 here")

    def looks() -> list[object]:
        ctx = Context(
            facts()._replace(cgroup_bpf=False), "web", "web", STAY, "", (), "/", str(tmp_path),
            str(tmp_path), "", (),
        )  # fmt: skip
        limited = policy(devices=(), capabilities=("CHOWN",))
        devices.prepare(limited, ctx)
        found = devices.part(limited, ctx)
        return [len(found.first), len(found.missing), "no cgroup refuses" in found.mechanisms[0][1]]

    assert in_child(looks, NOBODY) == [0, 0, True]

"""Which controllers a host has, and where: by files that look like those of hosts we are not on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.kernel.controllers import Controllers
from supervisor.kernel.disks import device_of
from supervisor.kernel.limits import Found, Unenforceable


def host(root: Path, mounts: dict[str, tuple[str, str]], own: str) -> str:
    """A /proc of a host. `mounts`: directory below `root`: root of the mount, controllers."""
    proc = root / "proc" / "self"
    proc.mkdir(parents=True)
    lines = ["30 20 0:27 / /sys rw - sysfs sysfs rw"]
    for name, (inside, controllers) in mounts.items():
        (root / name).mkdir()
        options = f"rw,{controllers}"
        lines.append(f"31 20 0:28 {inside} {root}/{name} rw,nosuid - cgroup cgroup {options}")
    (proc / "mountinfo").write_text("\n".join(lines) + "\n")
    (proc / "cgroup").write_text(own)
    return str(proc.parent)


def test_controllers_that_share_a_hierarchy_share_our_directory_in_it(tmp_path: Path) -> None:
    proc = host(tmp_path, {"cpu,cpuacct": ("/", "cpu,cpuacct")}, "4:cpu,cpuacct:/\n0::/\n")
    found = Controllers("us", "", proc).find("cpu")
    assert found == Found(1, f"{tmp_path}/cpu,cpuacct/us", frozenset())
    assert os.path.isdir(f"{tmp_path}/cpu,cpuacct/us")


def test_our_directory_is_below_our_own_group(tmp_path: Path) -> None:
    proc = host(tmp_path, {"pids": ("/", "pids")}, "8:pids:/user/me\n")
    (tmp_path / "pids" / "user" / "me").mkdir(parents=True)
    found = Controllers("us", "", proc).find("pids")
    assert isinstance(found, Found)
    assert found.top == f"{tmp_path}/pids/user/me/us"


@pytest.mark.parametrize("own, below", [("/docker/abc", ""), ("/docker/abc/x", "/x"), ("/", "")])
def test_in_a_container_the_mount_begins_at_the_containers_group(
    tmp_path: Path, own: str, below: str
) -> None:
    proc = host(tmp_path, {"blkio": ("/docker/abc", "blkio")}, f"8:blkio:{own}\n")
    (tmp_path / "blkio" / below.lstrip("/")).mkdir(exist_ok=True)
    found = Controllers("us", "", proc).find("io")
    assert isinstance(found, Found)
    assert found.top == f"{tmp_path}/blkio{below}/us"


def test_a_hierarchy_that_is_not_ours_to_write_is_named(tmp_path: Path) -> None:
    proc = host(tmp_path, {"pids": ("/", "pids")}, "8:pids:/gone\n")
    found = Controllers("us", "", proc).find("pids")
    assert found == f"cannot use {tmp_path}/pids/gone/us: No such file or directory"


def test_a_name_within_another_name_is_none(tmp_path: Path) -> None:
    proc = host(tmp_path, {"cpuset": ("/", "cpuset,noprefix")}, "3:cpuset:/\n")
    found = Controllers("us", "", proc).find("cpu")
    assert found == "no cgroup hierarchy of this host has the cpu controller"


def unified(root: Path, controllers: str) -> str:
    base = root / "own" / "us" / "units"
    base.mkdir(parents=True)
    for path in (base, base.parent, base.parent.parent):
        (path / "cgroup.subtree_control").write_text("")
        (path / "cgroup.controllers").write_text(controllers)
    (base / "memory.max").write_text("max")
    return str(base)


def test_v2_is_preferred_and_handed_down_from_our_group_to_the_units(tmp_path: Path) -> None:
    proc = host(tmp_path, {"memory": ("/", "memory")}, "4:memory:/\n0::/own\n")
    base = unified(tmp_path, "cpu memory\n")
    controllers = Controllers("us", base, proc)
    found = controllers.find("memory")
    assert isinstance(found, Found)
    assert (found.version, found.top) == (2, base)
    assert "memory.max" in found.files
    for path in (base, os.path.dirname(base), f"{tmp_path}/own"):
        assert Path(path, "cgroup.subtree_control").read_text() == "+memory"
    assert controllers.seen() == {"memory": found}, "cpu was not asked for, and costs nothing"


def test_what_v2_has_not_is_looked_for_in_v1(tmp_path: Path) -> None:
    proc = host(tmp_path, {"memory": ("/", "memory")}, "4:memory:/\n0::/own\n")
    controllers = Controllers("us", unified(tmp_path, "hugetlb\n"), proc)
    found = controllers.find("memory")
    assert isinstance(found, Found)
    assert found.version == 1
    assert controllers.find("pids") == "no cgroup hierarchy of this host has the pids controller"
    with pytest.raises(LookupError, match="pids"):
        controllers.found("pids")


@pytest.mark.parametrize("ours", [True, False])
def test_what_v2_keeps_from_us_is_said_to_be_kept_from_us(tmp_path: Path, *, ours: bool) -> None:
    proc = host(tmp_path, {}, "0::/own\n")
    base = unified(tmp_path, "pids\n")
    (tmp_path / "cgroup.controllers").write_text("cpu pids\n")
    mounts = tmp_path / "proc" / "self" / "mountinfo"
    mounts.write_text(f"40 20 0:30 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    found = Controllers("us", base if ours else "", proc).find("cpu")
    if ours:
        assert found == f"the cpu controller is not handed down to {tmp_path}/own (Delegate=yes)"
    else:
        assert found == "cgroup v2 has the cpu controller, but no group of it is ours"
    absent = Controllers("us", base, proc).find("memory")
    assert absent == "no cgroup hierarchy of this host has the memory controller"


def test_a_new_manager_takes_up_what_was_in_use_and_no_more(tmp_path: Path) -> None:
    mounts = {"memory": ("/", "memory"), "cpuset": ("/", "cpuset")}
    proc = host(tmp_path, mounts, "4:memory:/\n3:cpuset:/\n0::/own\n")
    base = unified(tmp_path, "cpu io\n")
    Path(base, "cgroup.subtree_control").write_text("io\n")
    (tmp_path / "memory" / "us").mkdir()
    controllers = Controllers("us", base, proc)
    controllers.adopt()
    assert {name: one.version for name, one in controllers.seen().items()} == {"memory": 1, "io": 2}
    assert not (tmp_path / "cpuset" / "us").exists()


# --- disks ---


def disk(root: Path, number: int, *, partition: bool) -> str:
    """A /sys in which `number` is a disk, or the first partition of disk 8:0."""
    name = f"{os.major(number)}:{os.minor(number)}"
    path = root / "devices" / "sda" / ("sda1" if partition else "")
    path.mkdir(parents=True)
    (root / "devices" / "sda" / "dev").write_text("8:0\n")
    if partition:
        (path / "partition").write_text("1\n")
    links = root / "dev" / "block"
    links.mkdir(parents=True)
    (links / name).symlink_to(path)
    return str(root)


def block_device() -> Path:
    found = next((one for one in sorted(Path("/dev").iterdir()) if one.is_block_device()), None)
    if found is None:
        pytest.skip("there is no block device here")
    return found


def test_a_device_is_its_own_disk(tmp_path: Path) -> None:
    device = block_device()
    number = device.stat().st_rdev
    found = device_of(str(device), sys=disk(tmp_path, number, partition=False))
    assert found == f"{os.major(number)}:{os.minor(number)}"


def test_the_disk_of_a_partition_is_throttled(tmp_path: Path) -> None:
    device = block_device()
    sys = disk(tmp_path, device.stat().st_rdev, partition=True)
    assert device_of(str(device), sys=sys) == "8:0"


def test_a_file_system_without_a_number_of_its_own_is_found_by_its_mount(tmp_path: Path) -> None:
    """As btrfs has none; /proc stands for it here."""
    device = block_device()
    proc = tmp_path / "proc" / "self"
    proc.mkdir(parents=True)
    (proc / "mountinfo").write_text(
        "1 0 0:1 / / rw - ext4 /dev/nothing rw\n"
        f"2 1 0:2 / /proc rw - btrfs {device} rw\n"
        "3 1 0:3 / /proc2 rw - tmpfs tmpfs rw\n"
    )
    number = device.stat().st_rdev
    sys = disk(tmp_path / "sys", number, partition=False)
    found = device_of("/proc/self", str(proc.parent), sys)
    assert found == f"{os.major(number)}:{os.minor(number)}"


def test_memory_is_no_disk(tmp_path: Path) -> None:
    proc = tmp_path / "self"
    proc.mkdir()
    (proc / "mountinfo").write_text("2 1 0:2 / /proc rw - proc proc rw\n")
    with pytest.raises(Unenforceable, match="on no disk"):
        device_of("/proc", str(tmp_path))

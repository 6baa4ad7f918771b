from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from supervisor.kernel.sandbox import devices, gpus
from supervisor.kernel.sandbox.devices import Node, part, program_of
from supervisor.kernel.sandbox.part import CannotConfine
from tests.unit.kernel.sandbox.ebpf_machine import Refused, run
from tests.unit.kernel.sandbox.given import FACTS, context, policy

MKNOD, READ, WRITE = 1, 2, 4  # BPF_DEVCG_ACC_...
BLOCK, CHAR = 1, 2


def allowed(code: bytes, kind: int, major: int, minor: int, access: int = READ) -> bool:
    answer = run(code, struct.pack("=III", access << 16 | kind, major, minor))
    assert answer in (0, 1)
    return bool(answer)


def test_only_listed_nodes_pass_for_every_access() -> None:
    code = program_of((Node("c", 1, 3), Node("b", 8, 1), Node("c", 136, None)))
    for access in (MKNOD, READ, WRITE, READ | WRITE):
        assert allowed(code, CHAR, 1, 3, access)
        assert allowed(code, BLOCK, 8, 1, access)
        assert allowed(code, CHAR, 136, 77, access)
    for kind, major, minor in [
        (BLOCK, 1, 3), (CHAR, 1, 1), (CHAR, 2, 3), (CHAR, 8, 1), (BLOCK, 8, 0), (BLOCK, 136, 77),
        (CHAR, 137, 0),
    ]:  # fmt: skip
        assert not allowed(code, kind, major, minor), (kind, major, minor)


def test_a_program_without_nodes_refuses_all() -> None:
    assert not allowed(program_of(()), CHAR, 1, 3)


def test_numbers_of_every_size_are_compared_whole() -> None:
    code = program_of((Node("c", 0xFFF, 0xFFFFF),))
    assert allowed(code, CHAR, 0xFFF, 0xFFFFF)
    assert not allowed(code, CHAR, 0xFFF, 0xFFFF)


def test_what_the_machine_refuses() -> None:
    with pytest.raises(Refused, match="not set"):
        run(struct.pack("<BBhi", 0x54, 2, 0, 1), bytes(4))
    with pytest.raises(Refused, match="outside the context"):
        run(struct.pack("<BBhi", 0x61, 0x12, 4, 0), bytes(4))


def test_the_usual_nodes_are_those_of_this_kernel() -> None:
    for path, node in devices.ALWAYS.items():
        if not os.path.exists(path):
            continue  # a build environment may have none
        info = os.stat(path)
        assert (os.major(info.st_rdev), os.minor(info.st_rdev)) == node[1:], path


def test_devices_that_are_not_limited_take_no_step() -> None:
    assert part(policy(), context()) == part(policy("base"), context())
    assert not part(policy(), context()).first


def test_on_v2_a_program_is_attached_before_all_else() -> None:
    found = part(policy(devices=()), context())
    assert [step.args[0] for step in found.first] == ["openat", "bpf", "bpf"]
    assert not found.setup
    assert not found.missing
    assert "BPF" in found.mechanisms[0][1]


def test_without_any_controller_the_private_dev_is_what_is_left() -> None:
    facts = FACTS._replace(cgroup_bpf=False)
    found = part(policy(devices=(), capabilities=("CHOWN",)), context(facts))
    assert not found.first
    assert not found.missing
    assert "no cgroup refuses" in found.mechanisms[0][1]


@pytest.mark.parametrize("name", ["MKNOD", "CAP_MKNOD", "cap_mknod"])
def test_who_can_make_nodes_is_not_held_by_a_private_dev(name: str) -> None:
    facts = FACTS._replace(cgroup_bpf=False)
    found = part(policy(devices=(), capabilities=(name,)), context(facts))
    assert [key for key, _ in found.missing] == ["sandbox.devices"]
    assert "CAP_MKNOD" in found.missing[0][1]


def test_a_path_that_is_no_device_is_refused_by_name(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    with pytest.raises(CannotConfine, match=r"sandbox\.devices.*plain: it is no device"):
        part(policy(devices=(str(plain),)), context())
    with pytest.raises(CannotConfine, match=r"cannot find /dev/nowhere: No such file"):
        part(policy(devices=("/dev/nowhere",)), context())


def test_a_directory_stands_for_the_nodes_in_it(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root makes device nodes")
    (tmp_path / "snd").mkdir()
    (tmp_path / "note").touch()
    os.mknod(tmp_path / "snd" / "zero", 0o020600, os.makedev(1, 5))
    os.mknod(tmp_path / "loop", 0o060600, os.makedev(7, 9))
    os.symlink("/dev/mem", tmp_path / "link")
    limited = policy(devices=(str(tmp_path),))
    assert devices.listed(limited) == (f"{tmp_path}/loop", f"{tmp_path}/snd/zero")


def card(root: Path, number: int, vendor: str) -> None:
    directory = root / "class" / "drm" / f"renderD{number}" / "device"
    directory.mkdir(parents=True)
    (directory / "vendor").write_text(vendor + "\n")


@pytest.fixture
def host(tmp_path: Path) -> tuple[str, str]:
    """Two NVIDIA cards, and two of AMD with one of Intel between them."""
    dev, sys = tmp_path / "dev", tmp_path / "sys"
    (dev / "dri").mkdir(parents=True)
    for name in ("nvidia0", "nvidia10", "nvidiactl", "nvidia-uvm", "kfd", "null"):
        (dev / name).touch()
    for number, vendor in ((128, "0x1002"), (129, "0x8086"), (130, "0x1002")):
        (dev / "dri" / f"renderD{number}").touch()
        card(sys, number, vendor)
    return str(dev), str(sys)


def test_cards_by_index(host: tuple[str, str]) -> None:
    dev, sys = host
    assert gpus.nodes(("nvidia10",), dev, sys) == (
        f"{dev}/nvidiactl", f"{dev}/nvidia-uvm", f"{dev}/nvidia10",
    )  # fmt: skip
    assert gpus.nodes(("amd1",), dev, sys) == (f"{dev}/kfd", f"{dev}/dri/renderD130")
    assert gpus.nodes(("amd0", "amd1"), dev, sys) == (
        f"{dev}/kfd", f"{dev}/dri/renderD128", f"{dev}/dri/renderD130",
    )  # fmt: skip


def test_all_cards(host: tuple[str, str]) -> None:
    dev, sys = host
    found = gpus.nodes(("all",), dev, sys)
    assert f"{dev}/nvidia0" in found
    assert f"{dev}/dri/renderD130" in found
    assert f"{dev}/dri/renderD129" not in found  # neither nvidia nor amd


def test_a_card_that_is_not_there_is_refused_with_those_that_are(host: tuple[str, str]) -> None:
    with pytest.raises(CannotConfine, match=r"find nvidia1; .* nvidia0, nvidia10, amd0, amd1"):
        gpus.nodes(("nvidia1",), *host)


def test_with_require_best_a_card_that_is_not_there_is_listed(
    host: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    look = gpus.nodes
    monkeypatch.setattr(gpus, "nodes", lambda names: look(names, *host))
    wanted = policy(gpus=("amd1", "nvidia1"), require="best")
    found = devices.part(wanted, context())
    (why,) = [why for key, why in found.missing if key == "sandbox.gpus"]
    assert why.startswith("cannot find nvidia1; ")
    assert devices.listed(wanted) == (f"{host[0]}/kfd", f"{host[0]}/dri/renderD130")
    with pytest.raises(CannotConfine, match="cannot find nvidia1"):
        devices.listed(policy(gpus=("amd1", "nvidia1")))


def test_all_of_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotConfine, match="cannot find any graphics card"):
        gpus.nodes(("all",), str(tmp_path), str(tmp_path))

"""The tests of the machine's network once more where there are bonds, VLANs and dummies: kernels of
small virtual machines often lack them, and this one has them as modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.machine import POWER_OFF, Machine, failures, inside, needs_machine

# In the order of their needs. insmod finds what modprobe would not: they are the host's files.
MODULES = """
for name in net/llc/llc net/802/stp net/802/garp net/802/mrp lib/crc-ccitt net/ipv6/ipv6 \\
    net/bridge/bridge net/8021q/8021q drivers/net/veth drivers/net/dummy drivers/net/bonding/bonding
do
    insmod /usr/lib/uml/modules/$(uname -r)/kernel/$name.ko
done
"""


@needs_machine
@pytest.mark.slow
def test_links_of_every_kind_are_made_changed_and_taken_away(tmp_path: Path) -> None:
    tests = 'tests/kernel/network/test_apply.py -k "stack or dummy"'
    script = f"{MODULES}{inside(tests)}\n{POWER_OFF}"
    with Machine(tmp_path, script) as machine:
        machine.ended()
    found = failures(tmp_path)
    words = [said for said in found.values() if said]
    assert not words, "\n".join([*words, (tmp_path / "console").read_text()])
    assert len(found) == 2

"""A machine's network by the units that ship: bonds, VLANs and a bridge, which small kernels lack
and this one has as modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.booted import UNBOXED, Booted, needs_disk, root_image, shipped
from tests.vm.machine import needs_machine

# In the order of their needs: modprobe would look elsewhere.
MODULES = """
kind = "task"
sandbox.level = "off"
start.ready = {exit = 0}
command = ["/bin/sh", "-c", '''
mount -o remount,rw /
for name in net/llc/llc net/802/stp net/802/garp net/802/mrp lib/crc-ccitt net/ipv6/ipv6 \\
    net/bridge/bridge net/8021q/8021q drivers/net/dummy drivers/net/bonding/bonding
do
    insmod /usr/lib/uml/modules/$(uname -r)/kernel/$name.ko
done
''']
"""
NOTHING = 'kind = "task"\ncommand = "/bin/true"\nstart.ready = {exit = 0}\n'
FILE = """
[wait]
online = "20s"
[interface.d0]
dummy = true
[interface.d1]
dummy = true
[interface.bond0]
bond = {members = ["d0", "d1"], mode = "active-backup", primary = "d1", updelay = "200ms"}
mtu = 1450
[interface.guests]
vlan = {link = "bond0", id = 20}
[interface.br0]
bridge = {ports = ["guests"], stp = true, forward_delay = "4s"}
addresses = "10.20.0.1/24"
online = false
[interface."bond0.10"]
vlan = {link = "bond0", id = 10}
addresses = ["10.10.0.2/24", "2001:db8::2/64"]
gateway = "10.10.0.1"
[dns]
servers = "10.10.0.1"
"""
STEP = f"{UNBOXED} boot network"
FACTS = """
cd /sys/class/net
cat bond0/bonding/mode bond0/bonding/primary bond0/bonding/updelay bond0/mtu d0/mtu
cat br0/bridge/stp_state br0/bridge/forward_delay
basename -a $(readlink guests/master) $(readlink d0/master)
cat /proc/net/vlan/config | sed 1,2d
cat /etc/resolv.conf | sed 1d
"""


UNITS = {
    "modules": MODULES, "devices": NOTHING, "filesystems": NOTHING,
    "server": NOTHING + 'needs.wants = ["online"]\n',
    **{name: shipped(name) for name in ("network", "dhcp", "online")},
}  # fmt: skip


@needs_machine
@needs_disk
@pytest.mark.slow
def test_bonds_vlans_and_a_bridge_by_the_units_that_ship(tmp_path: Path) -> None:
    root = root_image(tmp_path, {"etc/unboxed/network.toml": FILE})
    with Booted(tmp_path, UNITS, root=root, mebibytes=512) as machine:
        machine.wait("server", "finished")
        said = machine.sh("cat /run/log/network/*.log /run/log/online/*.log")
        rows = machine.rows()
        assert {name: rows[name]["state"] for name in ("network", "online", "dhcp")} == {
            "network": "finished", "online": "finished", "dhcp": "skipped",
        }, said  # fmt: skip
        assert machine.sh(FACTS).split("\n") == [
            "active-backup 1", "d1", "200", "1450", "1450", "1", "400", "br0", "bond0",
            "guests         | 20  | bond0", "bond0.10       | 10  | bond0", "nameserver 10.10.0.1",
            "",
        ]  # fmt: skip
        assert machine.sh(f"{STEP}") == ""  # all is as it should be
        # Another mode: the bond is made anew, and all that stands on it with it.
        machine.sh("sed -i s/active-backup/balance-tlb/ /etc/unboxed/network.toml")
        assert "delete bond0\n" in machine.sh(f"{STEP}")
        found = machine.sh(FACTS + "cat /proc/net/route").split("\n")
        assert found[0] == "balance-tlb 5"
        assert found[7:9] == ["br0", "bond0"]
        assert any(line.startswith("bond0.10\t00000000\t01000A0A") for line in found)
        machine.sh("echo > /etc/unboxed/network.toml")
        machine.sh(f"{STEP}")
        left = set(machine.sh("ls /sys/class/net; ls /etc/resolv.conf 2>&1", status=None).split())
        assert "lo" in left
        assert not left & {"d0", "d1", "bond0", "br0", "guests", "bond0.10"}
        machine.power()


REPAIRED = """
[wait]
online = "20s"
[interface.d0]
dummy = true
addresses = ["10.10.0.2/24"]
[interface.d1]
dummy = true
dhcp = true
online = false
"""
BROKEN = REPAIRED.replace("dhcp = true", "dhpc = true")
# Whoever asks for a lease is not what is tried here, and needs a server.
CLIENT = shipped("dhcp").replace(f"{STEP.removesuffix('network')}dhcp", "sleep 1000")
ALL = ("network", "dhcp", "online")


@needs_machine
@needs_disk
@pytest.mark.slow
def test_a_typo_costs_no_network_and_one_command_repairs_it(tmp_path: Path) -> None:
    root = root_image(tmp_path, {"etc/unboxed/network.toml": BROKEN})
    units = {**UNITS, "dhcp": CLIENT}

    def states(machine: Booted) -> list[str]:
        machine.wait("online", "finished", "failed")
        rows = machine.rows()
        return [rows[name]["state"] for name in ALL]

    with Booted(tmp_path / "first", units, root=root, mebibytes=512) as machine:
        assert states(machine) == ["failed", "skipped", "failed"]  # there never was a good one
        assert "network.toml:9: interface.d1.dhpc: " in machine.console()
        assert "; no network is set up" in machine.console()
        machine.sh("sed -i s/dhpc/dhcp/ /etc/unboxed/network.toml")
        assert "asked for a start of network, dhcp, online" in machine.sh(STEP)
        machine.wait("dhcp", "running")
        machine.wait("network", "finished")
        assert states(machine) == ["finished", "running", "finished"]
        assert machine.sh(STEP) == ""
        # By its unit, too; what is up already stays so.
        machine.sh("sed -i s/dhcp/dhpc/ /etc/unboxed/network.toml")
        machine.sh(f"{UNBOXED} restart network", status=None)
        assert states(machine) == ["failed", "running", "finished"]
        machine.sh("sed -i s/dhpc/dhcp/ /etc/unboxed/network.toml")
        machine.sh(f"{UNBOXED} restart network")
        machine.sh("sed -i s/dhcp/dhpc/ /etc/unboxed/network.toml")
        machine.power()
    with Booted(tmp_path / "again", units, root=root, mebibytes=512) as machine:
        assert states(machine) == ["failed", "running", "finished"]
        assert "network.toml:9: interface.d1.dhpc: " in machine.console()
        assert "; the last good file is used instead" in machine.console()
        assert "10.10.0.2" in machine.sh("cat /proc/net/fib_trie")
        machine.power()

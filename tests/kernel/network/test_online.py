"""The wait for a machine's network, in a real kernel: carrier, and addresses that are one's own."""
from __future__ import annotations

import os
import threading

import pytest

from supervisor.boot import online
from tests.kernel.network.kit import Place, pyroute2

STATIC = """
[interface.a0]
addresses = ["192.0.2.10/24", "2001:db8::10/64"]
gateway = ["192.0.2.1", "2001:db8::1"]
"""


def test_online_waits_for_carrier_and_for_duplicate_address_detection(
    cables: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    cables.ip.link("set", index=cables.index("b0"), state="down")
    assert cables.apply(STATIC) == 0
    own = threading.Timer(
        0.3, lambda: cables.ip.link("set", index=cables.index("b0"), state="up")
    )
    own.start()
    assert online.main([], cables.where) == 0
    own.join()
    said = capfd.readouterr().out
    assert "waiting: a0 has no carrier\n" in said
    assert "waiting: it is not known yet if another host has 2001:db8::10/64 of a0\n" in said
    assert said.endswith("online: a0\n")
    (row,) = [row for row in cables.ip.get_addr(index=cables.index("a0"), family=10)
              if row.get_attr("IFA_ADDRESS") == "2001:db8::10"]  # fmt: skip
    assert not row.get_attr("IFA_FLAGS") & 0x40  # IFA_F_TENTATIVE


def test_an_address_that_another_host_has_ends_the_wait_at_once(
    cables: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    text = '[interface.a0]\naddresses = "2001:db8::77/64"\n'
    other = pyroute2.NetNS(f"ub-test-{os.getpid()}", flags=os.O_CREAT)
    try:
        cables.ip.link("set", index=cables.index("b0"), net_ns_fd=f"ub-test-{os.getpid()}")
        far = other.link_lookup(ifname="b0")[0]
        other.link("set", index=far, state="up")
        other.addr("add", index=far, address="2001:db8::77", prefixlen=64, flags=0x02)  # NODAD
        assert cables.apply(text) == 0
        assert online.main([], cables.where) == 1
    finally:
        other.close()
        other.remove()
    assert "2001:db8::77/64 of a0 is in use by another host" in capfd.readouterr().err


def test_online_says_what_was_lacking_in_the_end(
    cables: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cables.apply("[interface.a1]\ndhcp = true\n[wait]\nonline = '100ms'\n") == 0
    assert online.main([], cables.where) == 1
    assert capfd.readouterr().err == "cannot call this machine online: a1 has no address by DHCP\n"

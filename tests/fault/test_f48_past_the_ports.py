"""Fault 48: MPTCP, fast open, a port that listen() picks, UDP, SCTP, AF_ALG, vsock and raw sockets
go round rules about ports of TCP: denied to units with such rules, of any user."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.native import units
from tests.native.boxes import BOXES
from tests.native.policies import Box

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a unit of another user")

ALWAYS = (
    "mptcp-connect", "mptcp-bind", "fast-open", "fast-open-message", "sctp", "dccp", "udp-lite",
    "raw", "raw6", "packet", "crypto", "vsock", "bluetooth", "xdp", "key",
)  # fmt: skip
BY_RULES = (
    *ALWAYS, "udp-send", "udp-send-other", "udp-bind", "udp-bind-other", "multicast",
    "tcp-connect-other", "tcp6-connect-other", "tcp-bind-other", "tcp6-bind-other",
)  # fmt: skip
NOTHING = (*BY_RULES, "tcp-connect", "tcp-bind", "tcp-listen-unbound")
TRIED: dict[str, tuple[Box, tuple[str, ...]]] = {
    # The promise app alone, no rule about ports
    "app": (BOXES["app"], ALWAYS),
    "app, root": (BOXES["app, root"], ALWAYS),
    "strict": (BOXES["strict, all"], NOTHING),
    "ports": (BOXES["ports"], BY_RULES),
    "ports, root": (BOXES["ports"]._replace(user="root"), BY_RULES),
    "app, ports": (BOXES["app, ports"], BY_RULES),
    "no ports": (BOXES["no ports"], NOTHING),
    "no ports, root": (BOXES["no ports"]._replace(user="root"), NOTHING),
}


def test_no_socket_goes_round_the_rules(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    known = units.host()
    free = known.bare["root"]
    here = {name for name in NOTHING if free[name] == "ok"}
    # It is not for lack of them that they are denied.
    assert {"mptcp-connect", "fast-open", "udp-send", "tcp-listen-unbound", "raw"} <= here
    boxes = {name: box for name, (box, _) in TRIED.items() if not box.missing(known)}
    assert {"app", "app, root", "no ports", "no ports, root"} <= boxes.keys()
    seen = units.try_all(tmp_path, boxes)
    passed = {
        name: [one for one in TRIED[name][1] if seen[name].ends[one] == "ok"] for name in boxes}
    assert passed == {name: [] for name in boxes}
    for name in {"ports", "ports, root", "app, ports"} & boxes.keys():  # and what is listed works
        ends = seen[name].ends
        assert (ends["tcp-connect"], ends["tcp-bind"], ends["unix-connect"]) == ("ok",) * 3, name

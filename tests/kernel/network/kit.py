"""A network namespace to try things in, and a witness."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from supervisor.boot import network as step
from supervisor.boot.net.places import Places

pyroute2 = pytest.importorskip("pyroute2")


class Place:
    """A namespace with two cables: a0-b0 and a1-b1. `ip` is another's library, as a witness."""

    def __init__(self, home: Path) -> None:
        self.ip: Any = pyroute2.IPRoute()
        self.where = Places(
            f"{home}/network.toml", f"{home}/run", f"{home}/resolv.conf", f"{home}/no-udev"
        )
        self.home = home

    def cable(self, number: int) -> None:
        self.ip.link("add", ifname=f"a{number}", kind="veth", peer={"ifname": f"b{number}"})

    def index(self, name: str) -> int:
        (found,) = self.ip.link_lookup(ifname=name)
        return int(found)

    def apply(self, text: str) -> int:
        Path(self.where.file).write_text(text)
        return step.main([], self.where)

    def link(self, name: str) -> Any:
        return self.ip.link("get", index=self.index(name))[0]

    def addresses(self, name: str) -> set[str]:
        found = self.ip.get_addr(index=self.index(name))
        rows = {f"{row.get_attr('IFA_ADDRESS')}/{row['prefixlen']}" for row in found}
        return {row for row in rows if not row.startswith("fe80")}

    def routes(self, name: str) -> set[str]:
        """DESTINATION via ROUTER, without the kernel's own."""
        found = set()
        for family in (2, 10):
            for row in self.ip.get_routes(family=family, oif=self.index(name)):
                if row["proto"] != 2:
                    to = f"{row.get_attr('RTA_DST')}/{row['dst_len']}" if row["dst_len"] else "all"
                    found.add(f"{to} via {row.get_attr('RTA_GATEWAY')}")
        return found


def needs(place: Place, kind: str) -> None:
    """Skip where the kernel has no such link."""
    more = {"link": place.index("a0"), "vlan_id": 9} if kind == "vlan" else {}
    try:
        place.ip.link("add", ifname="probe", kind=kind, **more)
    except pyroute2.NetlinkError as error:
        pytest.skip(f"this kernel has no {kind}: {error}")
    place.ip.link("del", index=place.index("probe"))

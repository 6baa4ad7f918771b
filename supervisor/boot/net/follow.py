"""The units of the network, brought to where a file that was applied later has them.

Law: what failed or was skipped for want of the file is started, and a client that asks for other
leases is started again; what somebody stopped stays so, which is said. Nothing is waited for:
`network` itself may be the one who asks.
"""
from __future__ import annotations

from typing import Any

from supervisor.control.client import Unreachable, connect

_OVER = ("failed", "skipped")


def follow(runtime: str, *, leases: bool, others: bool, done: bool) -> list[str] | None:
    """`leases`: some are to be asked for; `others`: not those that a client may have; `done`: the
    unit `network` would have nothing left to do. What was done about it, in words. None:
    there is no supervisor. Raises ControlError."""
    try:
        client = connect(runtime)
    except Unreachable:
        return None
    with client:
        rows: list[dict[str, Any]] = client.call("Status")["instances"]
        states = {row["unit"]: str(row["state"]) for row in rows}
        dhcp = states.get("dhcp", "")
        start = ["network"] if done and states.get("network") in _OVER else []
        start += ["dhcp"] if leases and dhcp in (*_OVER, "finished") else []
        start += ["online"] if states.get("online") in _OVER else []
        said = []
        if start:
            client.call("Start", {"units": start, "wait": False})
            said.append(f"asked for a start of {', '.join(start)}: how far they are is in"
                        f" `unboxed status {' '.join(start)}`")
        if dhcp == "stopped" and leases:
            said.append("dhcp was stopped, and addresses are to be asked for: unboxed start dhcp")
        elif dhcp and others and "dhcp" not in start and dhcp != "stopped":
            client.call("Restart", {"units": ["dhcp"], "wait": False})
            said.append("asked for a restart of dhcp: other addresses are to be had")
    return said

"""`unboxed ports`: who listens and who is connected, by unit; and who may.

The supervisor tells what units may do; what they do is read here, with the rights of who asks.
"""
from __future__ import annotations

from supervisor.cli.call import DONE, Call
from supervisor.cli.screen import Screen, clean, table
from supervisor.cli.server import Server, print_json
from supervisor.cli.sockets import Socket, cgroup, command, network, owners, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any


_KEEPERS = ("unboxed-init", "init")  # by what name a keeper, which holds sockets, may run


class Owners:
    """Whose a process or a socket is, by what the supervisor told of its instances."""

    def __init__(self, instances: Sequence[dict[str, Any]]) -> None:
        self._pids = {pid: one["key"] for one in instances for pid in (*one["pids"], one["pid"])}
        self._groups: dict[str, str] = {}
        for one in instances:
            path = cgroup(one["pid"]) if one["pid"] and not one["pids"] else ""
            if len(path) > 1:
                self._groups[path] = one["key"]
        self._listeners = {
            listener["address"]: one["key"]
            for one in instances
            for listener in one["listeners"]
        }

    def of(self, found: Socket, pids: Iterable[int]) -> tuple[str, int]:
        """The key of an instance, "" for none, and the pid to name (0: nobody's that we see)."""
        first = 0
        for pid in pids:
            key = self._of_pid(pid)
            if key:
                return key, pid
            first = first or pid
        if not found.remote and (not first or command(first) in _KEEPERS):  # nobody serves it yet
            held = self._listeners.get(f"{found.protocol}:{found.local()}", "")
            return held, first
        return "", first

    def _of_pid(self, pid: int) -> str:
        if pid in self._pids:
            return str(self._pids[pid])
        path = cgroup(pid)
        while len(path) > 1:
            if path in self._groups:
                return self._groups[path]
            path = path.rpartition("/")[0]
        return ""


def run(call: Call) -> int:
    with Server(call, "show ports") as server:
        named = server.call("Ports", {"units": list(call.words)})["instances"]
        every = server.call("Ports", {})["instances"] if call.words else named
    only = {one["key"] for one in named} if call.words else None
    found = look(every, only)
    document = {**found, "rules": [_rules(one) for one in named]}
    if call.flag("json"):
        print_json(document)
    else:
        _show(document, Screen())
    return DONE


def look(instances: Sequence[dict[str, Any]], only: set[str] | None) -> dict[str, Any]:
    """What is open at this moment. `only`: of these instances (None: of everybody, but connections
    of units alone)."""
    every = sockets(one["pid"] for one in instances if one["pid"])
    ours = network()
    holders = owners({one.inode for one in every if one.inode})
    whose = Owners(instances)
    listening, connected = [], []
    for one in every:
        key, pid = whose.of(one, holders.get(one.inode, ()))
        if (only is not None and key not in only) or (one.remote and not key):
            continue
        row = {
            "protocol": one.protocol, "address": one.address, "port": one.port, "unit": key or None,
            "pid": pid or None, "command": command(pid) if pid else "",
            "network": "host" if one.network == ours else "own",
        }  # fmt: skip
        if one.remote:
            connected.append({**row, "remote": one.remote})
        elif row not in listening:
            listening.append(row)
    listening.sort(key=lambda row: (row["port"], row["protocol"], row["address"]))
    connected.sort(key=lambda row: (row["unit"], row["remote"]))
    return {"listening": listening, "connected": connected}


def _rules(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "unit": one["key"], "network": one["network"], "listen": one["listen"],
        "connect": one["connect"],
        "listeners": [listener["address"] for listener in one["listeners"]],
    }  # fmt: skip


def _show(document: dict[str, Any], screen: Screen) -> None:
    rows = [_row(row, _local(row)) for row in document["listening"]]
    _table("Listening", ("PORT", "OWNER", "PID", "COMMAND"), rows, screen)
    rows = [_row(row, f"{_local(row)} - {row['remote']}") for row in document["connected"]]
    _table("Connected", ("FROM - TO", "OWNER", "PID", "COMMAND"), rows, screen)
    rows = [
        (clean(one["unit"]), one["network"], _may(one["listen"], one["listeners"]),
         _may(one["connect"], ()))
        for one in document["rules"]
    ]
    _table("May", ("UNIT", "NETWORK", "LISTEN", "CONNECT"), rows, screen)


def _row(row: dict[str, Any], where: str) -> tuple[str, ...]:
    owner = clean(row["unit"]) if row["unit"] else "-"
    if row["network"] == "own":  # the same port may be somebody else's on the host
        owner += ", in its own network"
    return where, owner, str(row["pid"] or "-"), clean(row["command"])


def _local(row: dict[str, Any]) -> str:
    address = f"[{row['address']}]" if ":" in row["address"] else row["address"]
    return f"{row['protocol']}:{address}:{row['port']}"


def _may(rules: Sequence[str] | None, listeners: Sequence[str]) -> str:
    """Sockets that the supervisor opens need no rule."""
    own = "anything" if rules is None else ", ".join(rules) or "nothing"
    given = ", ".join(listeners)
    return clean(f"{own}; is given {given}" if given else own)


def _table(
    title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]], screen: Screen
) -> None:
    if not rows:
        return
    print(screen.paint(title, "head"))
    for line in table(head, rows):
        print("  " + "  ".join(line).rstrip())

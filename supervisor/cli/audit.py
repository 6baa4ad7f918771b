"""`unboxed audit`: how exposed units are, on the scale of `systemd-analyze security`."""
from __future__ import annotations

from supervisor.cli.call import BAD_USAGE, DONE, FAILED, Call, Failure
from supervisor.cli.screen import Screen, clean, table
from supervisor.cli.server import Server, print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_COLOURS = {"UNSAFE": "31;1", "DANGEROUS": "31;1", "EXPOSED": "33", "MEDIUM": ""}
_GOOD = "32"
_LEVEL = ("note: a level holds for all that a unit runs; one whose jobs or logins are other"
          " people's (cron, ssh) stays off")
# Our key for a setting of systemd's, by how its name begins: the first that fits.
_KEYS = (
    ("User=", "user"), ("SupplementaryGroups=", "groups"), ("UMask=", "umask"),
    ("AmbientCapabilities=", "sandbox.capabilities"),
    ("CapabilityBoundingSet=", "sandbox.capabilities"), ("DeviceAllow=", "sandbox.devices"),
    ("PrivateDevices=", "sandbox.devices"), ("PrivateTmp=", "sandbox.tmp"),
    ("PrivateUsers=", "sandbox.users"), ("PrivateNetwork=", "network.mode"),
    ("IPAddressDeny=", "network.connect"), ("RootDirectory=", "root"),
    ("NotifyAccess=", "start.ready"), ("MemoryDenyWriteExecute=", "sandbox.jit"),
    ("NoNewPrivileges=", "sandbox.level"), ("ProtectSystem=", "sandbox.write"),
    ("ProtectHome=", "sandbox.level"), ("ProtectProc=", "sandbox.processes"),
    ("RemoveIPC=", "sandbox.ipc"), ("PrivateMounts=", "sandbox.tmp"),
    ("ProtectControlGroups=", "sandbox.write"), ("ProtectKernelTunables=", "sandbox.write"),
    ("ProcSubset=", ""), ("Delegate=", ""),
    ("", "sandbox.promises"),  # of system calls: all others
)  # fmt: skip


def run(call: Call) -> int:
    files = [word for word in call.words if "/" in word or word.endswith(".toml")]
    if files and len(files) != len(call.words):
        raise Failure("cannot audit units and files at once; name one of the two", BAD_USAGE)
    found = of_files(files) if files else _of_units(call)
    if call.flag("json"):
        print_json({"audits": found})
    else:
        _show(found, Screen())
    return DONE


def _of_units(call: Call) -> list[dict[str, Any]]:
    """Of those that the supervisor has, by name; else of directories that have such names."""
    import os

    try:
        with Server(call, f"audit {' '.join(call.words) or 'units'}") as server:
            return list(server.call("Audit", {"units": list(call.words)})["audits"])
    except Failure:
        if not call.words or not all(os.path.isdir(word) for word in call.words):
            raise
    return of_files(call.words)


def of_files(paths: Sequence[str]) -> list[dict[str, Any]]:
    """The same of unit files, by what they say alone. Raises Failure."""
    from msgspec import to_builtins

    from supervisor.cli.check import load
    from supervisor.config.audit import audit, told

    units = []
    for path in paths:
        loaded = load(path)
        if loaded.problems:
            where = "\n".join(map(str, loaded.problems))
            raise Failure(f"cannot audit {path}: it has errors\n{where}", FAILED)
        units += [unit for unit in loaded.units.values() if unit.kind != "group"]
    found = [told(audit(unit, root=True), checks=len(units) == 1) for unit in units]
    return [to_builtins(one) for one in found]


def _show(found: Sequence[dict[str, Any]], screen: Screen) -> None:
    rows = [
        (clean(one["unit"]), f"{one['exposure']:.1f}", one["word"], _next(one["cheapest"]))
        for one in sorted(found, key=lambda one: -one["exposure"])
    ]
    head, *lines = table(("UNIT", "EXPOSURE", "", "CHEAPEST NEXT KEY"), rows, right=(1,))
    print(screen.paint("  ".join(head).rstrip(), "head"))
    for line, row in zip(lines, rows, strict=True):
        line[2] = screen.paint(line[2], _COLOURS.get(row[2], _GOOD))
        print("  ".join(line).rstrip())
    if screen.terminal and any(_is_level(one["cheapest"]) for one in found):
        print(_LEVEL)
    if len(found) == 1 and found[0]["checks"]:
        _checks(found[0]["checks"], screen)


def _checks(checks: Sequence[dict[str, Any]], screen: Screen) -> None:
    """What adds to the figure, most first."""
    bad = sorted((check for check in checks if check["badness"]), key=lambda one: -one["exposure"])
    if not bad:
        return
    print("\n" + screen.paint("What adds to it: systemd's setting, and the key here", "head"))
    width = max(len(check["name"]) for check in bad)
    for check in bad:
        key = next(key for start, key in _KEYS if check["name"].startswith(start))
        print(f"  {check['exposure']:4.2f}  {check['name']:<{width}}  {key}".rstrip())


def _is_level(cheapest: dict[str, Any] | None) -> bool:
    return cheapest is not None and cheapest["key"] == "sandbox.level"


def _next(cheapest: dict[str, Any] | None) -> str:
    if cheapest is None:
        return "-"
    return f"{cheapest['key']} = {cheapest['value']}: {cheapest['exposure']:.1f}"

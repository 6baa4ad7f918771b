"""Devices that fstab names: where they are, and waiting for those that are not there yet.

udev makes a link for each in /dev/disk. Without udev, or before it has done so, findfs(8) looks at
all devices itself. udev and its coldplug run beside this step, which orders nothing: a device comes
when it comes.
"""
from __future__ import annotations

import os
import time

from supervisor.boot._fstab import Entry
from supervisor.boot._machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_FOLDERS = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid",
            "PARTLABEL": "by-partlabel", "ID": "by-id"}
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789#+-.:=@_")
_PAUSE_S = 0.05
_LOOK_S = 1.0  # between two searches by findfs, which reads from every disk
_TELL_S = 10.0
_FINDFS_S = 20.0
_COLDPLUG_S = 10.0
_SETTLE_S = 5  # for udev to name the devices that it knows of


def find(machine: Machine, spec: str, *, search: bool = True) -> str:
    """The device of a spec as fstab has it, "" if it is not there. `search`: also by findfs."""
    tag, sign, value = spec.partition("=")
    if not sign or spec.startswith("/"):
        return spec if machine.exists(spec) else ""
    link = f"/dev/disk/{_FOLDERS[tag]}/{_encoded(value)}"
    if machine.exists(link):
        return link
    if not search or tag == "ID":
        return ""
    found = machine.tools.run("findfs", spec, timeout_s=_FINDFS_S)
    return found.text.strip() if found.code == 0 else ""


def wait_for(machine: Machine, entries: Sequence[Entry]) -> tuple[dict[Entry, str], list[Entry]]:
    """(device by entry, entries without one when their time was over). Those that nobody insists
    on last: their time begins when all devices are known that the machine was started with."""
    insisted = [each for each in entries if each.insisted]
    found, missing = _wait(machine, insisted)
    others = {each: find(machine, each.spec) for each in entries if not each.insisted}
    found.update({each: path for each, path in others.items() if path})
    absent = [each for each, path in others.items() if not path]
    if absent:
        _coldplugged(machine)
        late, never = _wait(machine, absent)
        found.update(late)
        missing += never
    return found, missing


def _coldplugged(machine: Machine) -> None:
    """Wait until udev, if there is one, has been told of all devices and has named them."""
    until = machine.now() + _COLDPLUG_S
    while machine.under_way("udev", "coldplug", "lvm") and machine.now() < until:
        time.sleep(_PAUSE_S)
    if machine.exists("/run/udev/control"):
        machine.tools.run("udevadm", "settle", f"--timeout={_SETTLE_S}")


def _wait(machine: Machine, entries: Sequence[Entry]) -> tuple[dict[Entry, str], list[Entry]]:
    began = machine.now()
    found: dict[Entry, str] = {}
    missing = list(entries)
    looked = told = began
    search = True
    while missing:
        for entry in missing:
            path = find(machine, entry.spec, search=search)
            if path:
                found[entry] = path
        now = machine.now()
        if search:
            looked = now
        missing = [each for each in missing if each not in found]
        waiting = [each for each in missing if now - began < each.device_s]
        if not waiting:
            break
        if now - told >= _TELL_S:
            told = now
            for each in waiting:
                limit = "" if each.device_s == float("inf") else f" of {each.device_s:.0f}"
                machine.show(f"boot: waiting for {each.spec}, which is to be"
                             f" {each.target or 'swap'}: {now - began:.0f}{limit} s")
        search = now - looked >= _LOOK_S
        time.sleep(_PAUSE_S)
    return found, missing


def _encoded(value: str) -> str:
    r"""As udev names its links: "my disk" is my\x20disk."""
    return "".join(
        char if char in _PLAIN or ord(char) > 127 else "".join(
            f"\\x{byte:02x}" for byte in os.fsencode(char))
        for char in value)

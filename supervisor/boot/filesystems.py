"""Step `filesystems`: checks and mounts what fstab says, and does `modules` and `identity` too.

In this order: the clock is not before our own release (fsck looks at it); fsck of the root file
system, and meanwhile step `modules`; root as fstab says; devices of all others are waited for; fsck
of these; all local mounts; swap. /var and /var/log are mounted before root can be written to: the
logger writes as soon as it can, and what it had written below a mount would be hidden. What is on
the network waits for that (step network-filesystems). Nothing of a machine can start before
`identity` and `modules` either, so all are one process: another interpreter's start takes longer
than each of them.

Fails, which opens the rescue shell, if a file system that the boot insists on cannot be checked or
mounted. A root file system that stays read-only is no such failure, nor is missing swap.
"""
from __future__ import annotations

import os
import time

from supervisor.boot import _clock, _fsck, _root, identity, modules
from supervisor.boot._devices import wait_for
from supervisor.boot._fstab import Entry, parse
from supervisor.boot._machine import Machine, step
from supervisor.boot._mounted import device, seen
from supervisor.boot._mounting import mount_all, with_needs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_OF_LOGS = ("/var", "/var/lib", "/var/log")
_REBOOT_S = 300.0  # for a reboot that was asked for to end this step
_SWAPON_S = 90.0


def main(argv: Sequence[str]) -> int:
    return step("filesystems", argv, {"": _both})


def _both(machine: Machine) -> int:
    try:
        code = run(machine)
    except OSError as error:
        machine.warn(f"cannot set up file systems: {error}; the boot fails")
        code = 1
    return code or identity.run(machine)


def run(machine: Machine) -> int:
    """0, or 1 if the boot cannot go on."""
    _clock.early(machine)
    entries, wrong = parse(machine.read("/etc/fstab"))
    for line in wrong:
        machine.warn(line)
    local = [each for each in entries if each.automatic and not each.network]
    problems: list[str] = []
    how = _fsck.mode(machine)
    _check(machine, _root_checks(machine, local), how, problems, lambda: modules.run(machine))
    if problems:
        machine.warn(problems[0])
        return 1
    before = with_needs(machine, [each for each in local if each.target in _OF_LOGS], local)
    _bring(machine, before, how, problems)
    for line in _root.remount(machine, entries):
        machine.tell(line)
    _forget_wishes(machine)
    _bring(machine, [each for each in local if each not in before], how, problems)
    _swap(machine, local)
    for line in problems:
        machine.warn(line)
    if problems:
        machine.warn(f"file systems that the boot insists on are not there"
                     f" ({len(problems)}); the boot fails. Entries of /etc/fstab with the option"
                     " nofail never do that")
    return bool(problems)


def _bring(machine: Machine, entries: Sequence[Entry], how: str, problems: list[str]) -> None:
    """Wait for devices, check and mount. What the boot insists on and is not there is told in
    `problems`."""
    there = seen(machine)
    wanted = [each for each in entries
              if each.device and (each.swap or machine.real(each.target) not in there)]
    found, missing = wait_for(machine, wanted) if wanted else ({}, [])
    for each in missing:
        machine.tell(f"{each.spec} ({each.target or 'swap'}) is not there")
    problems += [f"cannot mount {each.target}: its device {each.spec} did not appear in"
                 f" {each.device_s:.0f} s" for each in missing if each.insisted]
    checks = {_fsck.Check(path, each.target, each.type): each
              for each, path in found.items() if each.checked and not each.swap}
    bad = _check(machine, checks, how, problems)
    problems += _mount(machine, entries, {*missing, *bad})


def _root_checks(machine: Machine, local: Sequence[Entry]) -> dict[_fsck.Check, Entry]:
    """The root file system, if it is to be checked and can be: nobody may write to it meanwhile."""
    root = seen(machine).get("/")
    entry = next((each for each in local if each.target == "/"), None)
    if not (root and root.read_only and entry and entry.checked):
        return {}
    return {_fsck.Check(device(machine, root) or entry.spec, "/", root.type): entry}


def _check(
    machine: Machine, checks: dict[_fsck.Check, Entry], how: str, problems: list[str],
    meanwhile: Callable[[], object] = lambda: None,
) -> list[Entry]:
    """Those that are not fit to be mounted. What the boot insists on is told in `problems`."""
    bad = []
    for each in _fsck.check(machine, list(checks), how, meanwhile):
        entry = checks[each.check]
        if each.reboot:
            problems.append(_reboot(machine, each))
        elif not each.failed:
            done = "corrected" if each.ended.code & _fsck.CORRECTED else "clean"
            machine.tell(f"fsck {each.check.target}: {done}")
        else:
            bad.append(entry)
            left = " left errors" if each.ended.code & _fsck.UNCORRECTED else ""
            words = (f"cannot mount {entry.target}: fsck of {each.check.device}{left}:"
                     f" {each.ended.words()}")
            if entry.insisted:
                problems.append(f"{words}; run `fsck {each.check.device}`")
            else:
                machine.warn(f"{words}; nobody insists on it (nofail)")
    return bad


def _reboot(machine: Machine, result: _fsck.Result) -> str:
    """The check changed the root file system, which is mounted: only a new boot is safe. Returns
    why there was none, in words."""
    machine.show(f"fsck changed {result.check.device}, the root file system: rebooting")
    try:
        machine.reboot()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    else:
        time.sleep(_REBOOT_S)  # the shutdown ends this step
        reason = f"the machine still runs after {_REBOOT_S:.0f} s"
    return (f"cannot reboot after fsck changed the root file system: {reason}; the boot fails: run"
            " `reboot -f`")


def _forget_wishes(machine: Machine) -> None:
    """/forcefsck and /fastboot are for one boot."""
    for path in ("/forcefsck", "/fastboot"):
        try:
            os.unlink(machine.path(path))
        except OSError:
            pass  # not there, or on a root file system that stays read-only


def _mount(machine: Machine, local: Sequence[Entry], out: set[Entry]) -> list[str]:
    """Those that the boot insists on and that could not be mounted, in words."""
    wanted = [each for each in local if each.target not in ("", "/") and each not in out]
    done, failed = mount_all(machine, wanted)
    if done:
        machine.tell(f"mounted {', '.join(each.target for each in done)}")
    for entry, words in failed.items():
        if not entry.insisted:
            machine.tell(f"cannot mount {entry.target}: {words}; nobody insists on it (nofail)")
    return [f"cannot mount {entry.target}: {words}" for entry, words in failed.items()
            if entry.insisted]


def _swap(machine: Machine, local: Sequence[Entry]) -> None:
    if not any(each.swap for each in local):
        return
    ended = machine.tools.run("swapon", "-a", timeout_s=_SWAPON_S)
    used = max(0, len(machine.read("/proc/swaps").splitlines()) - 1)
    machine.tell(f"swap areas in use: {used}")
    if ended.code:
        machine.warn(f"cannot use all swap: {ended.words()}; the boot goes on without it")

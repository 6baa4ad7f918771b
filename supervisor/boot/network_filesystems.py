"""Step `network-filesystems`: mounts what fstab has on the network, once that is there.

A process stays behind where there is something to unmount: the unit is up until that is done.
With `--unmount`, for the end of a run: unmounts all of that type, the last first, while the network
is still up; one that is in use, or whose server is gone, is detached. What could not be mounted
fails the unit, which tries again; entries with nofail never do.
"""
from __future__ import annotations

from supervisor.boot._fstab import NETWORK, parse
from supervisor.boot._machine import Machine, step
from supervisor.boot._mounted import mounts
from supervisor.boot._mounting import mount_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = "network-filesystems"
_UMOUNT_S = 5.0


def main(argv: Sequence[str]) -> int:
    return step(_NAME, argv, {"": mount, "--unmount": unmount})


def mount(machine: Machine) -> int:
    entries, _ = parse(machine.read("/etc/fstab"))  # what is wrong with others was told before
    wanted = [each for each in entries
              if each.network and each.automatic and each.target not in ("", "/")]
    done, failed = mount_all(machine, wanted)
    for entry, words in failed.items():
        mild = "" if entry.insisted else "; nobody insists on it (nofail)"
        machine.warn(f"cannot mount {entry.target} from {entry.spec}: {words}{mild}")
    machine.tell(f"mounted {', '.join(each.target for each in done)}" if done
                 else "nothing was mounted" if wanted else "fstab has nothing on the network")
    if any(each.insisted for each in failed):
        return 1
    if _ours(machine):
        machine.stay(_NAME)
    return 0


def unmount(machine: Machine) -> int:
    for target in reversed(_ours(machine)):
        ended = machine.tools.run("umount", target, timeout_s=_UMOUNT_S)
        how = "unmounted"
        if ended.code:
            how = f"detached ({ended.words()})"
            ended = machine.tools.run("umount", "-f", "-l", target, timeout_s=_UMOUNT_S)
        if ended.code:
            machine.warn(f"cannot unmount {target}: {ended.words()}; it stays until the machine"
                         " is off")
        else:
            machine.tell(f"{how} {target}")
    machine.leave(_NAME)
    return 0


def _ours(machine: Machine) -> list[str]:
    """Where something on the network is mounted, in the order in which it was."""
    entries, _ = parse(machine.read("/etc/fstab"))
    listed = {machine.real(each.target) for each in entries if each.network}
    return [each.target for each in mounts(machine)
            if each.target != "/" and (
                each.target in listed or each.type.removeprefix("fuse.") in NETWORK)]

"""Step `modules`: kernel modules by name, nodes of modules that load when opened, the kernel's own
file systems, then sysctls.

One process, since settings of a module are there once it is. A module or a setting that this kernel
does not have is told, and fails nothing. Settings of one network interface are set if it is there
by now; those for all of them (net.ipv4.conf.default) always.
"""
from __future__ import annotations

from supervisor.boot import _kernel_mounts, _modules, _sysctl
from supervisor.boot._machine import Machine, step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    return step("modules", argv, {"": run})


def run(machine: Machine) -> int:
    said = _modules.load(machine)
    nodes = _modules.static_nodes(machine)
    done = [said, f"device nodes: {nodes}" if nodes else "", _kernel_mounts.mount(machine),
            _sysctl.apply(machine)]
    machine.tell("; ".join(filter(None, done)) or "nothing is asked for")
    return 0

"""`unboxed ports`: what units may do on the network, by their definitions. Who does it is found out
by who asks: to look at every socket of the host takes time, which the manager has for nobody."""
from __future__ import annotations

from collections.abc import Sequence

from supervisor.kernel.listen import label
from supervisor.manager.supervisor import Supervisor
from supervisor.model.report import InstancePorts, ListenerStatus, PortsReply
from supervisor.model.sandbox import Network, PortRule
from supervisor.model.state import Instance


def ports(sup: Supervisor, instances: Sequence[Instance]) -> PortsReply:
    found = []
    for inst in instances:
        unit = sup.world.unit_of(inst)
        if unit.kind == "group":
            continue
        network = _network(sup, inst)
        found.append(InstancePorts(
            inst.key, inst.unit, inst.pid, network.mode,
            tuple(ListenerStatus(one.name, label(one)) for one in unit.listen),
            _rules(network.listen), _rules(network.connect),
            tuple(sup.tracker.pids(inst.key)) if inst.pid and sup.tracker.name == "session" else (),
        ))  # fmt: skip
    return PortsReply(tuple(found))


def _network(sup: Supervisor, inst: Instance) -> Network:
    unit = sup.world.unit_of(inst)
    if unit.network is None and unit.sandbox is None:
        return Network()
    from supervisor.model.policy import resolve

    return resolve(unit).network


def _rules(rules: tuple[PortRule, ...] | None) -> tuple[str, ...] | None:
    if rules is None:
        return None
    return tuple(
        ":".join(filter(None, (one.protocol, one.network, str(one.port or "*")))) for one in rules
    )

"""`connect` and `listen` rules by address and by protocol: BPF programs on the unit's cgroup (v2).

They see what Landlock does not: networks, UDP, and sockets of other protocols, which a unit with
such rules cannot make at all (ICMP, raw, SCTP, MPTCP: their traffic would go round the rules). They
hold for every process of the group, also for one that was let in from outside. What listen(2) binds
by itself passes no program: filters.py refuses that call where nothing may listen, and elsewhere it
takes a free port of the kernel's choice.
"""
from __future__ import annotations

from sys import byteorder

from supervisor.kernel.plan import Step
from supervisor.kernel.sandbox.ebpf import (
    CGROUP_SOCK,
    CGROUP_SOCK_ADDR,
    Field,
    Program,
    Rule,
    assemble,
    attach,
)
from supervisor.kernel.sandbox.part import CannotConfine, Context, Part
from supervisor.model.policy import Policy
from supervisor.model.sandbox import PortRule

# enum bpf_attach_type
SOCK_CREATE, BIND4, BIND6, CONNECT4, CONNECT6, SENDMSG4, SENDMSG6 = 2, 8, 9, 10, 11, 14, 15
_NAMES = {
    SOCK_CREATE: "sockets", BIND4: "bind4", BIND6: "bind6", CONNECT4: "connect4",
    CONNECT6: "connect6", SENDMSG4: "sendmsg4", SENDMSG6: "sendmsg6",
}  # fmt: skip
# struct bpf_sock_addr; addresses and port are in network byte order.
_IP4, _IP6, _PORT, _PROTOCOL = 4, 8, 24, 36
_SOCK_PROTOCOL = 12  # struct bpf_sock
_PROTOCOLS = {"tcp": 6, "udp": 17}
_LANDLOCK_UDP = 10  # the ABI that sees it
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96


def part(policy: Policy, ctx: Context) -> Part:
    """Nothing unless [network] limits listen or connect."""
    rules = {"network.listen": policy.network.listen, "network.connect": policy.network.connect}
    limited = {key: found for key, found in rules.items() if found is not None}
    if not limited or policy.network.mode == "none":
        return Part()
    made = programs(policy.network.listen, policy.network.connect)
    if ctx.group and ctx.facts.cgroup_bpf:
        steps: list[Step] = []
        for program in made:
            name = _NAMES[program.attach]
            steps += attach(program, ctx.group, name, f"only what [network] lists ({name})")
        words = f"BPF programs on {ctx.group}: addresses, ports, TCP and UDP only"
        unseen = "; listen(2) without bind(2) takes a free port unseen"
        return Part(
            first=tuple(steps),
            mechanisms=tuple(
                (key, words + (unseen if key == "network.listen" and found else ""))
                for key, found in limited.items()
            ),
        )
    return Part(missing=_missing(limited, ctx))


def _missing(limited: dict[str, tuple[PortRule, ...]], ctx: Context) -> tuple[tuple[str, str], ...]:
    """What only programs can do. Ports are Landlock's as well (landlock.py), which says itself what
    it lacks, but for datagrams to anywhere."""
    why = (
        "it has no cgroup of v2"
        if not ctx.group
        else "this kernel or supervisor may load none (CONFIG_CGROUP_BPF, root)"
    )
    sends = any(rule.protocol == "udp" for rules in limited.values() for rule in rules)
    free = sends and ctx.facts.landlock < _LANDLOCK_UDP
    return tuple(
        (key, f"networks and udp take BPF programs on its cgroup, and {why}")
        for key, rules in limited.items()
        if any(rule.network for rule in rules) or (free and key == "network.connect")
    )


def programs(
    listen: tuple[PortRule, ...] | None, connect: tuple[PortRule, ...] | None
) -> list[Program]:
    """The programs for these rules. Raises CannotConfine for a network that is none."""
    found = [Program(CGROUP_SOCK, SOCK_CREATE, assemble(
        [(Field(_SOCK_PROTOCOL, number),) for number in _PROTOCOLS.values()]
    ))]  # fmt: skip
    if listen is not None:
        found += _both(listen, (BIND4,), (BIND6,), "network.listen")
    if connect is not None:
        # Of a datagram without connect(2), the address is looked at for each.
        found += _both(connect, (CONNECT4, SENDMSG4), (CONNECT6, SENDMSG6), "network.connect")
    return found


def _both(
    rules: tuple[PortRule, ...], four: tuple[int, ...], six: tuple[int, ...], key: str
) -> list[Program]:
    for4: list[Rule] = []
    for6: list[Rule] = []
    for rule in rules:
        network, bits = _network(rule.network, key)
        if len(network) != 16:
            for4.append((*_common(rule), *_prefix(_IP4, network, bits)))
            # A socket of IPv6 reaches it as ::ffff:a.b.c.d
            network, bits = _MAPPED + network.ljust(4, b"\0"), bits + 96 if network else 0
        for6.append((*_common(rule), *_prefix(_IP6, network, bits)))
    code4, code6 = assemble(for4), assemble(for6)
    return [Program(CGROUP_SOCK_ADDR, one, code4) for one in four] + [
        Program(CGROUP_SOCK_ADDR, one, code6) for one in six
    ]


def _network(text: str, key: str) -> tuple[bytes, int]:
    """Address and length of the prefix; no address for any."""
    from ipaddress import ip_network

    if not text:
        return b"", 0
    try:
        network = ip_network(text)
    except ValueError as exc:
        raise CannotConfine(f"{key}: {exc}") from exc
    return network.network_address.packed, network.prefixlen


def _common(rule: PortRule) -> Rule:
    fields = [Field(_PROTOCOL, _PROTOCOLS[rule.protocol])]
    if rule.port:
        fields.append(Field(_PORT, _loaded(rule.port.to_bytes(2, "big") + b"\0\0"), _LOW))
    return tuple(fields)


def _prefix(offset: int, network: bytes, bits: int) -> Rule:
    """Comparisons, word by word, of what the prefix covers."""
    mask = ((1 << bits) - 1 << 128 - bits).to_bytes(16, "big")
    words = []
    for at in range(0, len(network), 4):
        covered = _loaded(mask[at : at + 4])
        if covered:
            words.append(Field(offset + at, _loaded(network[at : at + 4]) & covered, covered))
    return tuple(words)


def _loaded(data: bytes) -> int:
    """What a load of these four bytes gives on this machine."""
    return int.from_bytes(data, byteorder)


_LOW = _loaded(b"\xff\xff\0\0")

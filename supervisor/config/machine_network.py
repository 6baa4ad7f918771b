"""/etc/unboxed/network.toml: the table of its keys, and the values that they make.

Law: as `schema` is for unit files. A key is added here and nowhere else; docs/network.schema.json
is made from this table. What keys cannot be together is in `machine_rules`; addresses are in
`machine_address`. No supervisor imports this: it is for the steps in supervisor/boot.
"""
from __future__ import annotations

from typing import Any

from msgspec import Struct

from supervisor.config.machine_address import (
    DESTINATION,
    DOMAIN,
    HARDWARE,
    HOST,
    INTERFACE_NAME,
    OPTION,
    OWN_ADDRESS,
    OWN_HARDWARE,
    PATTERN,
    at_most,
    interface_name,
)
from supervisor.config.quantity import DURATION, POSITIVE_DURATION
from supervisor.config.table import Fault, Key, Refused, Table, Type, rows, show
from supervisor.config.values import BOOLEAN, choice, integer, listed

MAX_INTERFACES = 256
MAIN_TABLE = 254  # RT_TABLE_MAIN
_S = 1_000_000_000


class Match(Struct, frozen=True):
    name: tuple[str, ...] = ()
    mac: str = ""


class Vlan(Struct, frozen=True):
    link: str
    id: int


class Bond(Struct, frozen=True):
    members: tuple[str, ...] = ()
    mode: str = "active-backup"
    miimon_ns: int = 100_000_000
    updelay_ns: int = 0
    downdelay_ns: int = 0
    primary: str = ""
    lacp_rate: str = ""
    hash_policy: str = ""
    min_links: int = 0


class Bridge(Struct, frozen=True):
    ports: tuple[str, ...] = ()
    stp: bool = False
    forward_delay_ns: int = 15 * _S
    vlan_filtering: bool = False


class Route(Struct, frozen=True):
    """`to` "default" has a `via`, which tells its family. `metric` 0: the kernel's own."""

    to: str
    via: str = ""
    metric: int = 0
    table: int = MAIN_TABLE
    onlink: bool = False
    source: str = ""


class Interface(Struct, frozen=True):
    """None: not said, so left to the kernel (or, `online`, to what else is said)."""

    name: str = ""
    match: Match | None = None
    dummy: bool = False
    vlan: Vlan | None = None
    bond: Bond | None = None
    bridge: Bridge | None = None
    up: bool = True
    mtu: int = 0
    mac: str = ""
    addresses: tuple[str, ...] = ()
    gateway: tuple[str, ...] = ()
    metric: int = 0
    routes: tuple[Route, ...] = ()
    dhcp: bool = False
    accept_ra: bool | None = None
    slaac: bool | None = None
    online: bool | None = None
    optional: bool = False

    @property
    def below(self) -> tuple[str, ...]:
        """The interfaces that this one stands on."""
        if self.vlan:
            return (self.vlan.link,)
        return self.members

    @property
    def members(self) -> tuple[str, ...]:
        """The interfaces that this one is the master of."""
        return self.bond.members if self.bond else self.bridge.ports if self.bridge else ()

    @property
    def made(self) -> str:
        """As which kind it is made; "": it is there, or comes."""
        kinds = ("vlan", "bond", "bridge", "dummy")
        return next((kind for kind in kinds if getattr(self, kind)), "")

    @property
    def awaited(self) -> bool:
        """Whether the machine is not online before it is; one that is optional: if it is there."""
        if self.online is not None:
            return self.online
        return self.up and self.name != "lo" and bool(
            self.addresses or self.dhcp or self.accept_ra
        )


class Dns(Struct, frozen=True):
    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Wait(Struct, frozen=True):
    devices_ns: int = 10 * _S
    online_ns: int = 60 * _S


class MachineNetwork(Struct, frozen=True):
    interface: tuple[Interface, ...] = ()
    dns: Dns | None = None
    wait: Wait = Wait()


class _Keys(Table):
    """A table of this file: a key that it lacks is none of a unit file's either."""

    __slots__ = ()

    def unknown(self, name: str, value: object) -> list[Fault]:
        from supervisor.config.nearest import nearest

        guess = nearest(name, self.rows)
        home = _home(name)
        if guess:
            hint = f"did you mean {guess}?"
        elif home:
            hint = f"did you mean {home}?"
        else:
            hint = f"there is {', '.join(self.rows)}"
        return [((name,), f"cannot use {show(name)}: there is no such key here; {hint}")]


def _home(name: str) -> str:
    found = [path for path, key in walk() if key.name == name]
    return found[0] if found else ""


def walk(table: Table | None = None, above: str = "") -> list[tuple[str, Key]]:
    """Every key with its dotted path, as `schema.walk`; those of an interface below its NAME."""
    found: list[tuple[str, Key]] = []
    for key in (table or NETWORK).keys:
        path = above + key.name + (".NAME" if key.type.form == "interfaces" else "")
        found.append((path, key))
        if isinstance(key.type.detail, Table):
            found += walk(key.type.detail, path + ".")
    return found


def _section(table: Table) -> Type:
    return Type(table.read, "table", "table", table)


MATCH = _Keys(
    Match,
    Key("name", listed(PATTERN), "name", "", "patterns of names; one of them must fit"),
    Key("mac", HARDWARE, "mac", "", "its hardware address, the one that it was made with"),
)


def _match(value: object) -> Match:
    if type(value) is not dict:
        raise Refused(f'cannot use {show(value)}: write a table, as {{name = "en*"}}')
    found: Match = MATCH.read(value)
    if not value:
        raise Refused('cannot match nothing: write {name = "en*"} or {mac = "52:54:00:12:34:56"}')
    return found


def _dummy(value: object) -> bool:
    if value is not True:
        raise Refused(f"cannot use {show(value)}: write dummy = true, or remove the key")
    return True


def _vlan(**fields: Any) -> Vlan:
    if "id" not in fields:
        raise Refused("cannot do without id; add that key")
    return Vlan(**fields)


VLAN = _Keys(
    Vlan,
    Key("link", INTERFACE_NAME, "link", "", "the interface that carries it"),
    Key("id", integer(1, 4094), "id", "", "its number (802.1Q)"),
    make=_vlan,
    required="link",
)


BOND_MODES = (  # in the kernel's order: the index is its number
    "balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb",
    "balance-alb",
)  # fmt: skip
HASH_POLICIES = ("layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac")
LACP_RATES = ("slow", "fast")

BOND = _Keys(
    Bond,
    Key("members", listed(INTERFACE_NAME, 64), "members", "[]", "what it is made of"),
    Key("mode", choice(*BOND_MODES), "mode", '"active-backup"', "how they are used"),
    Key("miimon", DURATION, "miimon_ns", '"100ms"', "how often links are looked at; 0: never"),
    Key("updelay", DURATION, "updelay_ns", '"0s"', "a link must be up so long to be used"),
    Key("downdelay", DURATION, "downdelay_ns", '"0s"', "and down so long not to be"),
    Key("primary", INTERFACE_NAME, "primary", "", "the member to use while it can be"),
    Key("lacp_rate", choice(*LACP_RATES), "lacp_rate", "", "of `802.3ad`: every 30 s, or 1 s"),
    Key("hash_policy", choice(*HASH_POLICIES), "hash_policy", "", "by what a member is chosen"),
    Key("min_links", integer(0, 64), "min_links", "0", "with fewer members it has no carrier"),
)

BRIDGE = _Keys(
    Bridge,
    Key("ports", listed(INTERFACE_NAME, 256), "ports", "[]", "the interfaces that it joins"),
    Key("stp", BOOLEAN, "stp", "false", "spanning tree protocol, against loops"),
    Key(
        "forward_delay", DURATION, "forward_delay_ns", '"15s"',
        "with `stp`, so long a port listens and again learns before it passes anything on",
    ),
    Key("vlan_filtering", BOOLEAN, "vlan_filtering", "false", "ports are told apart by VLAN"),
)  # fmt: skip

ROUTE = _Keys(
    Route,
    Key("to", DESTINATION, "to", "", 'where it leads; `"default"`: everywhere, by its `via`'),
    Key("via", HOST, "via", "", "the router; without it all of them are on the link"),
    Key("metric", integer(0, (1 << 32) - 1), "metric", "0", "among equals the lowest is taken"),
    Key("table", integer(1, (1 << 32) - 1), "table", "254", "the routing table; 254 is `main`"),
    Key("onlink", BOOLEAN, "onlink", "false", "`via` is on the link, whatever addresses say"),
    Key("source", HOST, "source", "", "the own address to use for it"),
    required="to",
)


def _routes(value: object) -> tuple[Route, ...]:
    return rows(value, ROUTE.read, "[interface.NAME.routes]")


INTERFACE = _Keys(
    Interface,
    Key(
        "match", Type(_match, "table", "table", MATCH), "match", "",
        "take the first interface that fits, in order of names; else that of this table's name",
    ),
    Key("dummy", Type(_dummy, "boolean", "`true`"), "dummy", "", "make it: a network of its own"),
    Key("vlan", _section(VLAN), "vlan", "", "make it: a VLAN on another interface"),
    Key("bond", _section(BOND), "bond", "", "make it: several interfaces as one"),
    Key("bridge", _section(BRIDGE), "bridge", "", "make it: a switch"),
    Key("up", BOOLEAN, "up", "true", "`false`: set it down"),
    Key("mtu", integer(68, 65536), "mtu", "", "the most bytes of a packet"),
    Key("mac", OWN_HARDWARE, "mac", "", "its hardware address"),
    Key("addresses", listed(OWN_ADDRESS, 1024), "addresses", "[]", "its addresses, v4 and v6"),
    Key("gateway", listed(HOST, 2), "gateway", "[]", "default routers: one of v4, one of v6"),
    Key("metric", integer(0, (1 << 32) - 1), "metric", "0", "of its default routes, DHCP's too"),
    Key(
        "routes", Type(_routes, "entries", "array of tables", ROUTE), "routes", "[]",
        "further routes",
    ),
    Key("dhcp", BOOLEAN, "dhcp", "false", "ask for a v4 address, by the unit `dhcp`"),
    Key("accept_ra", BOOLEAN, "accept_ra", "", "heed v6 routers; unless set, as the kernel does"),
    Key("slaac", BOOLEAN, "slaac", "", "take v6 addresses from their prefixes; the same"),
    Key(
        "online", BOOLEAN, "online", "",
        "the unit `online` waits for it; unless set: if it has `addresses`, `dhcp` or `accept_ra`",
    ),
    Key("optional", BOOLEAN, "optional", "false", "it may be missing"),
)  # fmt: skip


def _interfaces(value: object) -> tuple[Interface, ...]:
    """In the order of the file: of two that match alike, the first takes the first."""
    if type(value) is not dict:
        raise Refused(f"cannot use {show(value)}: write tables, as in [interface.eth0]")
    if len(value) > MAX_INTERFACES:
        raise Refused(f"cannot have more than {MAX_INTERFACES} interfaces")
    good: list[Interface] = []
    faults: list[Fault] = []
    for name, table in value.items():
        try:
            interface_name(name)
            if type(table) is not dict:
                raise Refused(f"cannot use {show(table)}: write a table, as in [interface.{name}]")
            fields, wrong = INTERFACE.fields(table)
            faults += [((name, *where), message) for where, message in wrong]
            good.append(Interface(name, **fields))
        except Refused as refused:
            faults += [((name, *where), message) for where, message in refused.faults]
    if faults:
        raise Refused.of(faults)
    return tuple(good)


DNS = _Keys(
    Dns,
    Key(
        "servers", at_most(HOST, 3, "programs ask the first three only"), "servers", "",
        "whom to ask, in this order",
    ),
    Key("search", listed(DOMAIN, 32), "search", "[]", "domains that short names may be in"),
    Key("options", listed(OPTION, 32), "options", "[]", "options of resolv.conf(5)"),
    required="servers",
)  # fmt: skip

WAIT = _Keys(
    Wait,
    Key("devices", DURATION, "devices_ns", '"10s"', "for interfaces that are not there yet"),
    Key("online", POSITIVE_DURATION, "online_ns", '"60s"', "for what the unit `online` waits for"),
)

NETWORK = _Keys(
    MachineNetwork,
    Key(
        "interface", Type(_interfaces, "interfaces", "a table each", INTERFACE), "interface", "",
        "`[interface.NAME]`: one interface",
    ),
    Key("dns", _section(DNS), "dns", "", "what /etc/resolv.conf says; else DHCP's answers do"),
    Key("wait", _section(WAIT), "wait", "", "how long to wait"),
)  # fmt: skip

"""A Unit back to text: what is written is read as the same Unit."""
from __future__ import annotations

from typing import Any

import tomli
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor.config.load import load_text
from supervisor.config.problem import Broken
from supervisor.config.render import describe, to_toml
from supervisor.model.capabilities import CAPABILITIES
from supervisor.model.rlimits import RLIMITS, UNLIMITED
from supervisor.model.sandbox import (
    AT_WORDS,
    MappedRange,
    Network,
    Opened,
    PortRule,
    Sandbox,
    Secret,
    Users,
)
from supervisor.model.unit import (
    Agent,
    Conditions,
    Edge,
    IoLimit,
    Limits,
    Listen,
    Logs,
    Needs,
    Ready,
    Reload,
    Restart,
    RestartLimit,
    Rung,
    Start,
    Stop,
    Unit,
)

# Braces are left out of texts, because "{port:x}" must name a listener.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0{}"), max_size=8)
LINE = TEXT.filter(str.isprintable)
PATH = TEXT.map(lambda text: "/" + text)
NAME = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True).filter(lambda n: n != "web")
ACCOUNT = st.from_regex(r"[A-Za-z_][A-Za-z0-9._-]{0,8}\$?", fullmatch=True).filter(
    lambda name: name != "dynamic"
)
NS = st.integers(0, 3650 * 86_400 * 10**9) | st.integers(0, 10**5).map(lambda n: n * 10**6)
WORDS = st.lists(TEXT, max_size=3).map(tuple)
COMMAND = st.builds(lambda first, rest: (first, *rest), PATH, WORDS)
SIGNAL = st.integers(1, 31) | st.integers(34, 64)


def unique(items: st.SearchStrategy[Any], key: Any = None) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=3, unique_by=key or (lambda item: item)).map(tuple)


def edges(order: st.SearchStrategy[bool]) -> st.SearchStrategy[tuple[Edge, ...]]:
    until = st.sampled_from(["started", "ready", "finished"])
    return unique(st.builds(Edge, NAME, until, order), lambda edge: edge.unit)


NEEDS = st.builds(
    Needs,
    requires=edges(st.booleans()),
    wants=edges(st.booleans()),
    after=edges(st.just(value=True)),
    before=edges(st.just(value=True)),
    binds_to=edges(st.just(value=True)),
    conflicts=unique(st.just("enemy")),
)
CONDITIONS = st.builds(
    Conditions,
    path_exists=unique(st.sampled_from(["/a", "!/b", "/c d"])),
    virtualization=unique(st.sampled_from(["vm", "!container", "kvm"])),
    kernel_cmdline=unique(st.sampled_from(["quiet", "!a=b"])),
    first_boot=st.none() | st.booleans(),
    host=unique(st.sampled_from(["web*", "!db"])),
)
READY = st.one_of(
    st.just(Ready("exec")),
    st.just(Ready("notify")),
    st.builds(Ready, st.just("fd"), fd=st.integers(20, 255)),
    st.builds(Ready, st.just("log"), pattern=st.sampled_from(["ready", r"on \d+", '"\t$'])),
    st.builds(Ready, st.just("exit"), code=st.integers(0, 255)),
)


@st.composite
def starts(draw: st.DrawFn) -> Start:
    ready = draw(READY)
    watchdog_ns = draw(NS) if ready.kind == "notify" else 0
    hooks = st.lists(COMMAND, max_size=2).map(tuple)
    return Start(ready, draw(NS), draw(hooks), draw(hooks), watchdog_ns)


@st.composite
def restarts(draw: st.DrawFn) -> Restart:
    limit = st.builds(RestartLimit, st.integers(1, 99), NS.filter(bool), st.just("fail") | NAME)
    max_age_ns = draw(NS)
    delay_ns = draw(NS)
    return Restart(
        when=draw(st.sampled_from(["always", "on-failure", "on-abnormal", "never"])),
        success_codes=draw(unique(st.integers(0, 255))),
        delay_ns=delay_ns,
        factor=draw(st.floats(1, 100)),
        max_delay_ns=max(delay_ns, draw(NS)),
        jitter=draw(st.floats(0, 1)),
        reset_after_ns=draw(NS),
        limit=draw(st.none() | limit),
        max_age_ns=max_age_ns,
        max_age_jitter_ns=draw(st.integers(0, max_age_ns)),
        memory_budget_bytes=draw(st.integers(0, 1 << 60)),
    )


LADDER = st.lists(st.builds(Rung, SIGNAL, NS), max_size=4).map(tuple)
RELOAD = st.one_of(
    st.just(Reload("restart")),
    st.builds(Reload, st.just("signal"), SIGNAL.filter(lambda number: number not in {9, 19})),
    st.builds(Reload, st.just("command"), command=COMMAND),
)


@st.composite
def listeners(draw: st.DrawFn) -> Listen:
    family = draw(st.sampled_from([
        "tcp", "tcp6", "udp", "udp6", "unix", "unix-datagram", "abstract", "fifo", "netlink",
    ]))
    name = draw(st.from_regex(r"[A-Za-z0-9._-]{1,12}", fullmatch=True))
    made: dict[str, Any] = {"name": name, "family": family}
    if family in {"tcp", "udp", "tcp6", "udp6"}:
        made["host"] = draw(st.sampled_from(["::", "fe80::1"] if "6" in family else ["10.0.0.1"]))
        made["port"] = draw(st.integers(0, 65535))
        made["reuse_port"] = draw(st.booleans())
    elif family == "netlink":
        made["path"] = draw(st.sampled_from(["route", "kobject-uevent 1"]))
    elif family == "abstract":
        made["path"] = draw(LINE.filter(bool))
    else:
        made["path"] = draw(PATH.filter(lambda path: path[-1] != "/"))
        made["mode"] = draw(st.integers(0, 0o777))
        made["user"] = draw(st.just("") | ACCOUNT)
        made["group"] = draw(st.just("") | ACCOUNT)
    if family in {"tcp", "tcp6", "unix", "abstract"}:
        made["backlog"] = draw(st.integers(1, 65535))
    return Listen(**made)


@st.composite
def logs(draw: st.DrawFn) -> Logs:
    keep_bytes = draw(st.integers(256 << 10, 1 << 40))
    return Logs(
        keep_bytes,
        draw(st.integers(64 << 10, keep_bytes)),
        draw(st.integers(0, 10**15)),
        draw(st.booleans()),
        draw(st.sampled_from(["merge", "separate"])),
        draw(st.sampled_from(["block", "drop"])),
        draw(st.integers(0, 1 << 40)),
    )


LOGS = logs() | st.builds(Logs, to=st.sampled_from(["console", "null", "inherit"]))


def both(most: int) -> st.SearchStrategy[tuple[int, int]]:
    amount = st.integers(0, most) | st.just(UNLIMITED)
    return st.tuples(amount, amount).map(lambda two: (min(two), max(two)))


_MOST = {"s": 3650 * 86_400, "us": 10**9, "size": 1 << 60, "count": 40}


@st.composite
def rlimits(draw: st.DrawFn) -> tuple[tuple[str, int, int], ...]:
    names = draw(st.sets(st.sampled_from(sorted(RLIMITS.keys() - {"core", "nofile"}))))
    return tuple((name, *draw(both(_MOST[RLIMITS[name][1]]))) for name in sorted(names))


@st.composite
def limits(draw: st.DrawFn, *, pin: bool, budget_bytes: int) -> Limits:
    def some(strategy: st.SearchStrategy[Any]) -> Any:
        return draw(st.none() | strategy)

    memory = [draw(st.integers(1 << 20, 1 << 60)) for _ in range(3)]
    low, high, most = sorted(memory)
    count = st.integers(1, 1 << 40)
    one = st.builds(IoLimit, PATH, count, st.none() | count, st.none() | count, st.none() | count)
    return Limits(
        memory_bytes=some(st.just(most)) if budget_bytes < most else None,
        memory_high_bytes=some(st.just(high)),
        memory_min_bytes=some(st.just(low)),
        swap_bytes=some(st.integers(0, 1 << 60)),
        cpu_milli=some(st.integers(1, 1024 * 1000)),
        cpu_weight=some(st.integers(1, 10_000)),
        cpus="" if pin else draw(st.sampled_from(["", "0", "0-3,8", "5,7,9-8191"])),
        io_weight=some(st.integers(1, 10_000)),
        io=draw(unique(one, lambda item: item.path)),
        tasks=some(st.integers(1, 1 << 22)),
        oom=some(st.sampled_from(["unit", "process"])),
        oom_score_adjust=some(st.integers(-1000, 1000)),
        nice=some(st.integers(-20, 19)),
        files=some(both(1 << 30)),
        core=some(both(1 << 60)),
        rlimits=draw(rlimits()),
        slice=draw(st.just("") | NAME),
        require=draw(st.sampled_from(["all", "best"])),
    )


SEGMENT = st.from_regex(r"[a-z_][A-Za-z0-9._-]{0,8}", fullmatch=True)
PLAIN_PATH = st.lists(SEGMENT, max_size=3).map(lambda parts: "/" + "/".join(parts))
PLACES = unique(PLAIN_PATH | st.sampled_from([word for word in AT_WORDS if word != "@tmp"]))
OWN = st.sampled_from(["host", "own"])
RANGES = [MappedRange(0, 100000, 65536), MappedRange(65536, 10, 1), MappedRange(4294967294, 0, 1)]
USERS = st.builds(Users, st.just(()) | unique(st.sampled_from(RANGES)))
PROTOCOL = st.sampled_from(["tcp", "udp"])
PORT = st.integers(0, 65535)
RULES = unique(st.builds(PortRule, PROTOCOL, PORT))
WHERE = st.sampled_from(["", "10.0.0.0/8", "127.0.0.1/32", "::/0", "fd00::/8", "::1/128"])


@st.composite
def sandboxes(draw: st.DrawFn) -> Sandbox:
    """Of level app, which most keys go with."""

    def some(strategy: st.SearchStrategy[Any]) -> Any:
        return draw(st.none() | strategy)

    opened = st.builds(
        Opened, PLAIN_PATH, st.integers(10, 19),
        st.sampled_from(["read", "write", "append", "read-write"]))
    words = st.sampled_from(["app", "rpath", "exec"])
    cards = unique(st.sampled_from(["nvidia0", "amd255"])) | st.just(("all",))
    return Sandbox(
        level="app",
        promises=some(unique(words).map(lambda some: ("inet", *some))),
        read=some(PLACES),
        write=some(PLACES),
        exec=some(PLACES),
        view=some(st.sampled_from(["hide", "deny"])),
        open=draw(unique(opened, lambda one: one.fd)),
        processes=some(st.sampled_from(["host", "own", "hidden"])),
        ipc=some(OWN),
        hostname=some(st.sampled_from(["host", "own", "a.b", "{unit}-{instance}"])),
        time=some(OWN),
        cgroup=some(OWN),
        tmp=some(st.sampled_from(["shared", "private"])),
        state=draw(unique(SEGMENT)),
        runtime=draw(unique(SEGMENT)),
        cache=draw(unique(SEGMENT)),
        logs=draw(unique(SEGMENT)),
        users=some(USERS),
        devices=some(unique(PLAIN_PATH.map(lambda path: "/dev/x" + path.rstrip("/")))),
        gpus=draw(cards),
        capabilities=some(unique(st.sampled_from(CAPABILITIES))),
        jit=some(st.booleans()),
        on_violation=draw(st.sampled_from(["errno", "kill", "log"])),
        require=draw(st.sampled_from(["all", "best"])),
    )


def networks() -> st.SearchStrategy[Network]:
    rules = st.none() | RULES
    reach = st.none() | unique(st.builds(PortRule, PROTOCOL, PORT, WHERE))
    paths = st.none() | unique(PLAIN_PATH)
    return st.builds(Network, st.sampled_from(["host", "private"]), rules, reach, paths)


ATTACH = unique(st.sampled_from(["api", "db*", "?", "web*"])).filter(bool)


def agents() -> st.SearchStrategy[Agent]:
    words = ["logs", "metrics", "endpoints", "cgroup", "pidfd"]
    received = unique(st.sampled_from(words))
    return st.builds(Agent, received) | st.just(Agent(("logs",), cursor=True))


ENV_NAME = st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True)


@st.composite
def units(draw: st.DrawFn) -> Unit:
    def some(strategy: st.SearchStrategy[Any], default: Any) -> Any:
        return draw(st.just(default) | strategy)

    listen = some(st.lists(listeners(), max_size=3, unique_by=lambda one: one.name).map(tuple), ())
    places = {(one.family, one.host, one.port, one.path) for one in listen}
    if len(places) != len(listen):
        listen = listen[:1]
    attach = some(ATTACH, ())
    agent = draw(st.none() | agents()) if attach else None
    is_fed = agent is not None and "logs" in agent.receives
    can_drain = listen and all(one.reuse_port for one in listen)
    pin = draw(st.booleans())
    restart, start = some(restarts(), Restart()), some(starts(), Start())
    sandbox = draw(st.none() | sandboxes())
    if sandbox is not None and sandbox.gpus and sandbox.promises:
        sandbox = replace(sandbox, promises=("device", *sandbox.promises))
    network = draw(st.none() | networks())
    if network is not None and network.unix and sandbox is not None and sandbox.promises:
        network = replace(network, unix=())
    secrets = draw(st.dictionaries(SEGMENT, PLAIN_PATH, max_size=3))
    dynamic = draw(st.booleans()) and (sandbox is None or sandbox.users is None)
    budget_bytes = restart.memory_budget_bytes
    return Unit(
        name="web",
        source="s",
        description=some(LINE, ""),
        documentation=some(unique(LINE.filter(bool)), ()),
        command=draw(COMMAND),
        autostart=draw(st.booleans()),
        instances=draw(st.integers(0, 1024)),
        pin=pin,
        directory=some(PATH, ""),
        umask=draw(st.integers(0, 0o777)),
        user="dynamic" if dynamic else some(ACCOUNT, ""),
        group=some(ACCOUNT, ""),
        groups=some(unique(ACCOUNT), ()),
        env=tuple(sorted(draw(st.dictionaries(ENV_NAME, TEXT, max_size=3)).items())),
        env_files=some(unique(PATH), ()),
        needs=some(NEEDS, Needs()),
        conditions=some(CONDITIONS, Conditions()),
        start=start,
        restart=restart,
        stop=Stop(
            ladder=some(LADDER.filter(lambda r: not r or r[-1] != Rung(9, 0)), Stop().ladder),
            scope=draw(st.sampled_from(["all", "main"])),
            command=some(COMMAND, ()),
            drain_ns=some(NS if can_drain or is_fed else st.just(0), None),
        ),
        reload=some(RELOAD, Reload()),
        listen=listen,
        logs=some(logs(), Logs()) if start.ready.kind == "log" else some(LOGS, Logs()),
        limits=some(limits(pin=pin, budget_bytes=budget_bytes), None),
        sandbox=sandbox,
        network=network,
        root=some(PLAIN_PATH.filter(lambda path: path != "/"), ""),
        secrets=tuple(Secret(name, file) for name, file in sorted(secrets.items())),
        attach=attach,
        agent=agent,
    )


@settings(max_examples=300, deadline=None)
@given(units())
def test_a_unit_survives_its_own_text(unit: Unit) -> None:
    text = to_toml(unit)
    found = load_text("web", text, "s")
    assert not isinstance(found, Broken), (text, list(map(str, found.problems)))
    assert found == unit, text


@settings(max_examples=100, deadline=None)
@given(units())
def test_a_unit_survives_its_description(unit: Unit) -> None:
    """What `explain` shows of a unit is, line by line, a unit file of it."""
    top = "".join(f"{key} = {value}\n" for key, value in describe(unit) if "listen[" not in key)
    tables = ""
    for index in range(len(unit.listen)):
        above = f"listen[{index}]."
        tables += "[[listen]]\n" + "".join(
            f"{key.removeprefix(above)} = {value}\n"
            for key, value in describe(unit)
            if key.startswith(above)
        )
    found = load_text("web", top + tables, "s")
    assert found == unit, (top + tables, found)


def test_a_small_unit_has_a_small_text() -> None:
    unit = Unit("web", command=("/bin/sleep", "1h"))
    assert to_toml(unit) == 'command = ["/bin/sleep", "1h"]\n'
    assert to_toml(Unit("all", kind="group")) == 'kind = "group"\n'


def test_a_group_is_described_by_what_a_group_has() -> None:
    keys = {key for key, _ in describe(Unit("all", kind="group"))}
    assert "needs.requires" in keys
    assert not any(key.startswith(("command", "restart", "logs", "umask")) for key in keys)


def test_every_described_value_is_toml() -> None:
    for key, value in describe(Unit("web", command=("/bin/x", '"\n\x7f\\'))):
        assert tomli.loads(f"x = {value}"), key


def test_a_percentage_is_written_exactly() -> None:
    for milli in (1, 10, 15, 1500, 1_000_001, 1_024_000):
        unit = Unit("web", command=("/bin/x",), limits=Limits(cpu_milli=milli))
        again = load_text("web", to_toml(unit), "")
        assert isinstance(again, Unit)
        assert again.limits == unit.limits


def test_what_is_allowed_nothing_is_described_so() -> None:
    """An empty list is not the default of these keys, so it must be seen."""
    unit = Unit(
        "web", command=("/bin/x",), sandbox=Sandbox(read=(), capabilities=()),
        network=Network(connect=()),
    )  # fmt: skip
    rows = dict(describe(unit))
    assert rows["sandbox.read"] == rows["sandbox.capabilities"] == rows["network.connect"] == "[]"
    assert not {"sandbox.write", "sandbox.devices", "network.listen"} & rows.keys()
    assert load_text("web", to_toml(unit), "") == unit

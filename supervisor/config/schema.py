"""The one table of unit-file keys: name, type, field of the model, default, meaning.

The parser runs on it; docs/units.md, docs/unit.schema.json, the CLI's help and the way back from a
Unit to text are made from it. A key is added here and nowhere else. Keys of later versions stand
here too (their tables in `planned`), so that they are refused by name and not as slips of the pen.
Defaults are TOML text for readers; a test asserts that each parses to the default of `model.unit`.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from supervisor.config.address import ADDRESS, LISTENER_NAME, make_listen
from supervisor.config.planned import PLANNED
from supervisor.config.quantity import DURATION, MODE, POSITIVE_DURATION, RELOAD_SIGNAL, size
from supervisor.config.shapes import COMMAND, ENV, HOOKS, LADDER, READINESS, relation, section
from supervisor.config.table import Key, Late, Refused, Table, Type, each, later, show
from supervisor.config.values import (
    ACCOUNT,
    BOOLEAN,
    DESCRIPTION,
    DOCUMENTATION,
    INSTANCES,
    PATH,
    UNIT_NAME,
    USER,
    VIRTUALIZATION,
    WORD,
    choice,
    decimal,
    integer,
    listed,
    negatable,
)
from supervisor.model.sandbox import Secret
from supervisor.model.unit import (
    Conditions,
    Listen,
    Needs,
    Reload,
    Restart,
    RestartLimit,
    Start,
    Stop,
    Unit,
)

MAX_LISTENERS = 64


# --- [restart] ---


LIMIT = Table(
    RestartLimit,
    Key("count", integer(1, 1_000_000), "count", "10", "so many restarts are allowed"),
    Key("within", POSITIVE_DURATION, "within_ns", '"5m"', "in so long"),
    Key(
        "then",
        Type(
            UNIT_NAME.parse,
            "unit",
            '`"fail"`, the name of a unit to start, or `"reboot"`, `"poweroff"`',
        ),
        "then",
        '"fail"',
        "what the next one does: the unit fails, and the named unit is started, or the machine "
        "ended in order (only where unboxed-init boots it; a supervisor on another host does not "
        "start such a unit)",
    ),
)


def _limit(value: object) -> RestartLimit | None:
    if value == "none":
        return None
    if type(value) is not dict:
        raise Refused(
            f'cannot use {show(value)}: write {{count = 10, within = "5m"}}, or "none"'
        )
    found: RestartLimit = LIMIT.read(value)
    return found


def _make_restart(**fields: Any) -> Restart:
    """A longer `delay` raises the default `max_delay`; said in so many words, they must agree."""
    delay_ns = fields.get("delay_ns", 0)
    if delay_ns > fields.setdefault("max_delay_ns", max(delay_ns, Restart().max_delay_ns)):
        raise Refused("cannot be more than restart.max_delay; lower it, or raise that", "delay")
    made = Restart(**fields)
    if made.max_age_jitter_ns > made.max_age_ns:
        raise Refused(
            "cannot be more than restart.max_age; lower it, or set that", "max_age_jitter"
        )
    return made


RESTART = Table(
    Restart,
    Key(
        "when",
        choice("always", "on-failure", "on-abnormal", "never"),
        "when",
        '"on-failure"',
        "after which ends it is started again; `on-abnormal`: a signal, a core dump, a time-out",
    ),
    Key(
        "success_codes",
        listed(integer(0, 255)),
        "success_codes",
        "[0]",
        "codes of a good end; for a service, to die of HUP, INT, PIPE or TERM is one too",
    ),
    Key("delay", DURATION, "delay_ns", '"100ms"', "pause before the first restart; 0 is allowed"),
    Key("factor", decimal(1, 100), "factor", "2.0", "each further pause is so many times longer"),
    Key("max_delay", DURATION, "max_delay_ns", '"60s"', "the longest pause"),
    Key("jitter", decimal(0, 1), "jitter", "0.1", "part of a pause that chance adds at most"),
    Key(
        "reset_after",
        DURATION,
        "reset_after_ns",
        '"10m"',
        "after so long of good running the pauses begin anew",
    ),
    Key(
        "limit",
        Type(_limit, "limit", '`{count, within, then}`, or `"none"`', LIMIT),
        "limit",
        '{count = 10, within = "5m", then = "fail"}',
        "when to give up",
    ),
    Key("max_age", DURATION, "max_age_ns", '"0s"', "recycle an instance of this age; 0: never"),
    Key(
        "max_age_jitter",
        DURATION,
        "max_age_jitter_ns",
        '"0s"',
        "chance adds up to this, so that not all are recycled at once",
    ),
    Key(
        "memory_budget",
        size(0),
        "memory_budget_bytes",
        "0",
        "recycle an instance that has grown to this; 0: never",
    ),
    make=_make_restart,
)

# --- [stop], [reload], [start] ---

STOP = Table(
    Stop,
    Key(
        "ladder",
        LADDER,
        "ladder",
        '["TERM", "10s", "KILL"]',
        "signals, and the time to wait before the next; `cgroup.kill` follows, always",
    ),
    Key(
        "scope",
        choice("all", "main"),
        "scope",
        '"all"',
        "whom the first signal goes to: the whole process tree, or the main process",
    ),
    Key(
        "command",
        COMMAND,
        "command",
        "[]",
        "run first; if it succeeds, the first signal waits as long as the first rung does",
    ),
    Key(
        "drain",
        DURATION,
        "drain_ns",
        "",
        "first take it out of its listeners, and wait so long; every listener must have "
        "`reuse_port`. An agent that receives logs gets what is left of them, and as long to end "
        "by itself: 5s unless this is set. Else 0s",
    ),
)


def _make_reload(**fields: Any) -> Reload:
    if not fields.get("command"):
        fields.pop("command", None)
    elif len(fields) > 1:
        raise Refused("cannot be together with reload.command; remove one of them", "signal")
    return Reload(kind="command" if "command" in fields else "signal", **fields)


RELOAD = Table(
    Reload,
    Key("signal", RELOAD_SIGNAL, "signal", '"HUP"', "sent to the main process"),
    Key("command", COMMAND, "command", "[]", "run instead of a signal"),
    make=_make_reload,
)


def _reload(value: object) -> Reload:
    if value == "restart":
        return Reload(kind="restart")
    if type(value) is not dict:
        raise Refused(
            f'cannot use {show(value)}: write reload = "restart", or [reload] with signal or '
            "command"
        )
    found: Reload = RELOAD.read(value)
    return found


START = Table(
    Start,
    Key(
        "ready",
        READINESS,
        "ready",
        '"exec"',
        'when it counts as started: `"exec"`: the program runs; `"notify"`: it says so over '
        '`NOTIFY_SOCKET` (sd_notify); `"fd:N"`: it writes a line to descriptor N (3 to 255, s6 '
        'style); `{log = "regex"}`: it prints such a line; `{exit = CODE}`: it ends so',
    ),
    Key("timeout", DURATION, "timeout_ns", '"60s"', "a start fails after this; 0: no limit"),
    Key(
        "before",
        HOOKS,
        "before",
        "[]",
        "commands to run first, in the unit's own cgroup and as its user; one that fails fails "
        "the start",
    ),
    Key(
        "after",
        HOOKS,
        "after",
        "[]",
        "commands to run once it is ready; it is up when the last has ended, and one that fails "
        "fails the start",
    ),
    Key(
        "watchdog",
        DURATION,
        "watchdog_ns",
        '"0s"',
        'it must send `WATCHDOG=1` within this time, again and again; needs `ready = "notify"`; '
        "0: none",
    ),
)

# --- [[listen]], [needs], [conditions] ---

LISTEN = Table(
    Listen,
    Key(
        "address",
        ADDRESS,
        "address",
        "",
        "`tcp:HOST:PORT`, `tcp:PORT` (all interfaces), `tcp6:[ADDRESS]:PORT`, `udp:`, `udp6:`, "
        "`unix:/PATH`, `unix-datagram:/PATH`, `abstract:NAME`, `fifo:/PATH`, "
        "`netlink:FAMILY GROUP`; required",
    ),
    Key("name", LISTENER_NAME, "name", "", "its name in `LISTEN_FDNAMES`; else the family's"),
    Key("backlog", integer(1, 65535), "backlog", "4096", "connections that may wait"),
    Key(
        "reuse_port",
        BOOLEAN,
        "reuse_port",
        "false",
        "a socket for each instance (`SO_REUSEPORT`), not one that all share",
    ),
    Key("mode", MODE, "mode", '"666"', "permissions of a path"),
    Key("user", ACCOUNT, "user", "", "its owner; else the supervisor's user"),
    Key("group", ACCOUNT, "group", "", "its group"),
    Key("on_demand", later("listen.on_demand"), "", "", "start on the first connection"),
    Key("idle_stop", later("listen.idle_stop"), "", "", "stop when nobody has connected for long"),
    make=make_listen,
    required="address",
)


def _listeners(value: object) -> tuple[Listen, ...]:
    if type(value) is not list or len(value) > MAX_LISTENERS:
        raise Refused(
            f"cannot use {show(value)}: write [[listen]] above each listener, {MAX_LISTENERS} at "
            "most"
        )
    return each(value, LISTEN.read)


_UNORDERED, _ORDERED = relation(may_be_unordered=True), relation(may_be_unordered=False)

NEEDS = Table(
    Needs,
    Key(
        "requires",
        _UNORDERED,
        "requires",
        "[]",
        "started first; if one fails to start, so does this. A task counts once it *runs*: to wait "
        'for its end, write `{unit = "migrate", until = "finished"}`',
    ),
    Key("wants", _UNORDERED, "wants", "[]", "started first; this starts whether or not it did"),
    Key("after", _ORDERED, "after", "[]", "goes after these, if they are started at all"),
    Key("before", _ORDERED, "before", "[]", "goes before these"),
    Key("conflicts", listed(UNIT_NAME), "conflicts", "[]", "stopped before this starts"),
    Key("binds_to", _ORDERED, "binds_to", "[]", "as `requires`, and stops when one of them stops"),
)

CONDITIONS = Table(
    Conditions,
    Key("path_exists", listed(negatable(PATH)), "path_exists", "[]", "these paths exist"),
    Key(
        "virtualization",
        listed(negatable(VIRTUALIZATION)),
        "virtualization",
        "[]",
        "the machine is one of these",
    ),
    Key(
        "kernel_cmdline",
        listed(negatable(WORD)),
        "kernel_cmdline",
        "[]",
        "the kernel command line has these words (`quiet`, `a=b`)",
    ),
    Key("first_boot", BOOLEAN, "first_boot", "", "this is, or is not, the machine's first boot"),
    Key("host", listed(negatable(WORD)), "host", "[]", "the host has one of these names (globs)"),
)


# --- what few units have: loaded with the first of them ---


def _logs() -> Table:
    from supervisor.config.logs import LOGS

    return LOGS


def _limits() -> Table:
    from supervisor.config.limits import LIMITS

    return LIMITS


def _sandbox() -> Table:
    from supervisor.config.sandbox import SANDBOX

    return SANDBOX


def _network() -> Table:
    from supervisor.config.network import NETWORK

    return NETWORK


def _agent() -> Table:
    from supervisor.config.agent import AGENT

    return AGENT


def _attach(value: object) -> tuple[str, ...]:
    from supervisor.config.agent import attach

    return attach(value)


def _secrets(value: object) -> tuple[Secret, ...]:
    from supervisor.config.network import secrets

    return secrets(value)


def _root(value: object) -> str:
    from supervisor.config.sandbox import absolute

    found = absolute(value)
    if found == "/":
        raise Refused('cannot use "/": that is the host itself; remove it')
    return found


# --- the unit ---

UNIT = Table(
    Unit,
    Key("description", DESCRIPTION, "description", '""', "one line, for people"),
    Key("documentation", listed(DOCUMENTATION), "documentation", "[]", "where to read more"),
    Key("command", COMMAND, "command", "[]", "the program and its arguments; no shell runs it"),
    Key(
        "kind",
        choice("service", "task", "group"),
        "kind",
        '"service"',
        "`task`: runs to its end, its result is kept; `group`: no command, only `[needs]`",
    ),
    Key("autostart", BOOLEAN, "autostart", "true", "start with the supervisor"),
    Key(
        "instances",
        INSTANCES,
        "instances",
        "1",
        "so many processes of it, or one a core; each has its number in `INSTANCE`, and all share "
        "the listeners; a changed number counts at `unboxed reload`",
    ),
    Key("pin", BOOLEAN, "pin", "false", "give each instance a core of its own"),
    Key("directory", PATH, "directory", "", "the working directory; else /"),
    Key("umask", MODE, "umask", '"077"', "permissions that new files do not get"),
    Key(
        "user",
        USER,
        "user",
        "",
        "whom it runs as; else the supervisor's user. `dynamic`: a user that is nobody else, owns "
        "nothing when it starts and leaves nothing (but its own directories and `write`, all is "
        "read-only, and /tmp is private)",
    ),
    Key("group", ACCOUNT, "group", "", "its group; else the user's"),
    Key("groups", listed(ACCOUNT, 64), "groups", "[]", "further groups"),
    Key("env", ENV, "env", "{}", "its environment, beside what is listed below; nothing else"),
    Key("env_files", listed(PATH), "env_files", "[]", "files of `NAME=value` lines; read at start"),
    Key(
        "attach",
        Type(_attach, "names", "list of unit names and patterns (`web*`)"),
        "attach",
        "[]",
        "it is an agent of these units: started before them and stopped after them; see `[agent]` "
        "and [agents.md](agents.md)",
    ),
    Key(
        "secrets",
        Type(_secrets, "secrets", "table of absolute paths"),
        "secrets",
        "{}",
        "files whose content it finds, under these names and readable by its user only, in the "
        "directory `CREDENTIALS_DIRECTORY`; never in the environment, never on a disk",
    ),
    Key(
        "root",
        Type(_root, "path", "absolute path"),
        "root",
        "",
        "a directory that is its root file system: an unpacked image",
    ),
    Key("needs", section(NEEDS), "needs", "", "relations to other units"),
    Key(
        "conditions",
        section(CONDITIONS),
        "conditions",
        "",
        "all must hold, or the start is skipped, which is no failure: to whoever needs the unit it"
        " counts as ready and finished; `!` before a text negates it",
    ),
    Key("start", section(START), "start", "", "when a start counts as done"),
    Key("restart", section(RESTART), "restart", "", "what follows an end"),
    Key("stop", section(STOP), "stop", "", "how it is stopped"),
    Key(
        "reload",
        Type(_reload, "reload", 'table, or `"restart"`', RELOAD),
        "reload",
        "",
        'how it reads its configuration again; `reload = "restart"` for one that cannot',
    ),
    Key(
        "listen",
        Type(_listeners, "tables", "array of tables", LISTEN),
        "listen",
        "",
        "sockets held for it across restarts, passed as systemd does (`LISTEN_FDS`)",
    ),
    Key("logs", section(Late(_logs)), "logs", "", "where its output goes, and how much is kept"),
    Key(
        "limits",
        section(Late(_limits)),
        "limits",
        "",
        "what it may use, all its processes together; nothing is limited in a unit without it",
    ),
    Key(
        "sandbox",
        section(Late(_sandbox)),
        "sandbox",
        "",
        "what it may see and do; a unit without it has level `base`",
    ),
    Key("network", section(Late(_network)), "network", "", "what it may bind and reach"),
    Key(
        "agent",
        section(Late(_agent)),
        "agent",
        "",
        "what it is told of the units that it is attached to; [agents.md](agents.md) says how",
    ),
    *PLANNED,
)


_HOLDS_KEYS = frozenset(("table", "tables", "reload", "limit", "ready", "users", "later"))


def walk(table: Table = UNIT, above: str = "") -> Iterator[tuple[str, Key]]:
    """Every key with its dotted path, a table before its own keys."""
    for key in table.keys:
        yield above + key.name, key
        if key.type.form in _HOLDS_KEYS and key.type.detail is not None:
            yield from walk(key.type.detail, f"{above}{key.name}.")


def paths() -> list[str]:
    """Dotted paths of all keys and tables that are supported."""
    return [path for path, key in walk() if not key.later]

"""The table of keys: complete, in step with the model, and the only statement of what it says."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli

from supervisor.config.agent import AGENT
from supervisor.config.generate import files
from supervisor.config.id_map import USERS
from supervisor.config.json_schema import json_schema
from supervisor.config.limits import IO, LIMITS
from supervisor.config.load import load_text
from supervisor.config.logs import LOGS
from supervisor.config.network import NETWORK
from supervisor.config.sandbox import OPENED, SANDBOX
from supervisor.config.schema import LIMIT, LISTEN, RELOAD, RESTART, START, STOP, UNIT, walk
from supervisor.config.shapes import EDGE
from supervisor.config.table import Key, Refused, Table
from supervisor.model import sandbox as isolation
from supervisor.model import unit as model

DOCS = Path(__file__).parents[3] / "docs"

# Every key of the design, section by section. What is not delivered must be refused by name.
DELIVERED = [
    "description", "documentation", "command", "kind", "autostart", "instances", "pin",
    "directory", "umask", "user", "group", "groups", "env", "env_files", "needs.requires",
    "needs.wants", "needs.after", "needs.before", "needs.conflicts", "needs.binds_to",
    "conditions.path_exists", "conditions.virtualization", "conditions.kernel_cmdline",
    "conditions.first_boot", "conditions.host", "start.ready", "start.ready.log",
    "start.ready.exit", "start.timeout", "start.before", "start.after", "start.watchdog",
    "restart.when", "restart.success_codes", "restart.delay", "restart.factor",
    "restart.max_delay", "restart.jitter", "restart.reset_after", "restart.limit",
    "restart.limit.count", "restart.limit.within", "restart.limit.then", "restart.max_age",
    "restart.max_age_jitter", "restart.memory_budget", "stop.ladder", "stop.scope",
    "stop.command", "stop.drain", "reload", "reload.signal", "reload.command",
    "listen.address", "listen.name", "listen.backlog", "listen.reuse_port", "listen.mode",
    "listen.user", "listen.group", "logs.keep", "logs.segment", "logs.max_age",
    "logs.compress", "logs.stderr", "logs.on_full", "logs.rate", "logs.to",
    "limits.memory", "limits.memory_high", "limits.memory_min", "limits.swap", "limits.cpu",
    "limits.cpu_weight", "limits.cpus", "limits.io_weight", "limits.io", "limits.tasks",
    "limits.oom", "limits.oom_score_adjust", "limits.nice", "limits.files", "limits.core",
    "limits.rlimits", "limits.require", "limits.slice",
    "secrets", "root", "sandbox.level",
    "sandbox.promises", "sandbox.read", "sandbox.write", "sandbox.exec", "sandbox.view",
    "sandbox.open", "sandbox.processes", "sandbox.ipc", "sandbox.hostname", "sandbox.time",
    "sandbox.cgroup", "sandbox.tmp", "sandbox.state", "sandbox.runtime", "sandbox.cache",
    "sandbox.logs", "sandbox.users", "sandbox.users.map", "sandbox.devices", "sandbox.gpus",
    "sandbox.capabilities", "sandbox.jit", "sandbox.on_violation", "sandbox.require",
    "network.mode", "network.listen", "network.connect", "network.unix", "network.address",
    "attach", "agent.receives", "agent.cursor", "agent.share",
]  # fmt: skip

LATER = [
    "start.ready.http", "start.ready.tcp", "start.ready.exec",
    "listen.on_demand", "listen.idle_stop", "rollout", "rollout.strategy",
    "rollout.max_unavailable", "rollout.auto_rollback", "rollout.watch", "release",
    "release.directory", "release.keep", "health", "health.http", "health.tcp", "health.exec",
    "health.interval", "health.timeout", "health.failures", "health.successes",
    "health.start_period", "health.then", "health.live", "health.ready", "schedule",
    "schedule.calendar", "schedule.cron", "schedule.every", "schedule.after_boot",
    "schedule.timezone", "schedule.jitter", "schedule.catch_up", "schedule.overlap",
]  # fmt: skip

SECTIONS = {"needs", "conditions", "start", "restart", "stop", "listen", "logs", "limits",
            "sandbox", "network", "agent"}


def test_every_key_of_the_design_is_known() -> None:
    delivered = {path for path, key in walk() if not key.later}
    assert delivered == {*DELIVERED, *SECTIONS}
    assert {path for path, key in walk() if key.later} == set(LATER)


@pytest.mark.parametrize("path", LATER)
@pytest.mark.parametrize("value", ['"x"', "1", "{}", "[]", "{a = 1}"])
def test_a_key_of_a_later_version_is_refused_by_name(path: str, value: str) -> None:
    if path.startswith("listen."):
        text = f'[[listen]]\naddress = "tcp:1"\n{path.removeprefix("listen.")} = {value}'
        line = 4
    else:
        text, line = f"{path} = {value}", 2
    found = load_text("web", f'command = "/x"\n{text}', "f")
    lines = [str(problem) for problem in found.problems]  # type: ignore[union-attr]
    if path in {"rollout", "release", "health", "schedule"}:
        message = f"f:2: {path}.a: cannot use" if "a =" in value else f"f:2: {path}: cannot accept"
        assert lines[0].startswith(message)
        return
    shown = path.replace("listen.", "listen[0].")
    assert lines == [f"f:{line}: {shown}: cannot accept {path}: not supported yet; remove it"]


def _tables() -> list[tuple[Table, Any]]:
    return [
        (UNIT, model.Unit("x")),
        (EDGE, model.Edge("x")),
        (START, model.Start()),
        (RESTART, model.Restart()),
        (LIMIT, model.RestartLimit()),
        (STOP, model.Stop()),
        (RELOAD, model.Reload()),
        (LISTEN, model.Listen("x", "unix")),
        (LOGS, model.Logs()),
        (LIMITS, model.Limits()),
        (IO, model.IoLimit("/x", 1)),
        (SANDBOX, isolation.Sandbox()),
        (OPENED, isolation.Opened("/x", 3)),
        (USERS, isolation.Users()),
        (NETWORK, isolation.Network()),
        (AGENT, model.Agent()),
        (UNIT.keys[[key.name for key in UNIT.keys].index("needs")].type.detail, model.Needs()),
        (
            UNIT.keys[[key.name for key in UNIT.keys].index("conditions")].type.detail,
            model.Conditions(),
        ),
    ]


@pytest.mark.parametrize("table, default", _tables(), ids=lambda v: type(v).__name__)
def test_each_default_text_means_the_default_of_the_model(table: Table, default: Any) -> None:
    for key in table.keys:
        if key.later or not key.default:
            continue
        written = tomli.loads(f"x = {key.default}")["x"]
        assert key.type.parse(written) == getattr(default, key.field), key.name


@pytest.mark.parametrize("table, default", _tables(), ids=lambda v: type(v).__name__)
def test_each_field_of_the_model_has_its_key(table: Table, default: Any) -> None:
    made_by_others = {"name", "source", "family", "host", "port", "path", "kind"}
    fields = set(default.__struct_fields__)
    assert {key.field for key in table.keys if not key.later} - {"address"} <= fields
    assert fields - {key.field for key in table.keys} <= made_by_others


@pytest.mark.parametrize("name", ["units.md", "unit.schema.json"])
def test_generated_documents_are_up_to_date(name: str) -> None:
    """If this fails: python -m supervisor.config.generate."""
    assert (DOCS / name).read_text() == files()[name]


def test_the_reference_page_names_every_key_and_default() -> None:
    page = (DOCS / "units.md").read_text()
    for path, key in walk():
        name = path.rpartition(".")[2]
        assert f"`{name}`" in page or f"[{name}]" in page or f"{{{name}" in page, path
        if not key.later and key.default:
            assert f"`{key.default}`" in page


# --- the JSON Schema says what the parser says, as far as forms go ---


def _valid(schema: dict[str, Any], value: Any) -> bool:
    """The part of JSON Schema that ours uses; an unknown word is an error of the test."""
    kinds = {"string": str, "boolean": bool, "object": dict, "array": list}
    for word, rule in schema.items():
        match word:
            case "description" | "title" | "$schema":
                ok = True
            case "type":
                number = isinstance(value, int | float) and not isinstance(value, bool)
                if rule == "integer":
                    ok = number and int(value) == value
                else:
                    ok = number if rule == "number" else isinstance(value, kinds[rule])
            case "anyOf":
                ok = any(_valid(one, value) for one in rule)
            case "enum":
                ok = value in rule
            case "const":
                ok = value == rule
            case "pattern":
                ok = not isinstance(value, str) or bool(re.search(rule, value))
            case "minimum":
                ok = not isinstance(value, int | float) or value >= rule
            case "maximum":
                ok = not isinstance(value, int | float) or value <= rule
            case "minLength":
                ok = not isinstance(value, str) or len(value) >= rule
            case "items":
                ok = not isinstance(value, list) or all(_valid(rule, item) for item in value)
            case "minItems":
                ok = not isinstance(value, list) or len(value) >= rule
            case "uniqueItems":
                ok = not isinstance(value, list) or all(
                    item not in value[:index] for index, item in enumerate(value)
                )
            case "properties":
                ok = not isinstance(value, dict) or all(
                    _valid(rule[name], item) for name, item in value.items() if name in rule
                )
            case "additionalProperties":
                named = schema.get("properties", {})
                items = value.items() if isinstance(value, dict) else ()
                rest = [item for name, item in items if name not in named]
                ok = not rest if rule is False else all(_valid(rule, item) for item in rest)
            case "minProperties":
                ok = not isinstance(value, dict) or len(value) >= rule
            case "maxProperties":
                ok = not isinstance(value, dict) or len(value) <= rule
            case "required":
                ok = not isinstance(value, dict) or all(name in value for name in rule)
            case _:
                raise AssertionError(word)
        if not ok:
            return False
    return True


FULL = """
description = "the web part"
documentation = ["https://example.org/", "web(8)"]
command = ["/srv/web", "--port", "{port:http}", "{instance}"]
instances = "cores"
pin = true
directory = "/srv/{unit}"
umask = "022"
user = "www-data"
group = "www-data"
groups = ["ssl-cert"]
env_files = ["/etc/default/web"]
attach = ["api", "db*"]
[env]
LANG = "C.UTF-8"
WORKERS = 4
[needs]
requires = ["db", {unit = "cache", until = "started", order = false}]
wants = "metrics"
after = [{unit = "setup", until = "finished"}]
before = ["late"]
conflicts = ["old-web"]
binds_to = ["net"]
[conditions]
path_exists = ["/srv/web", "!/etc/web.off"]
virtualization = ["!container"]
kernel_cmdline = "quiet"
first_boot = false
host = ["web*", "!web0"]
[start]
ready = "notify"
timeout = 90
before = [["/bin/mkdir", "-p", "/srv/web/tmp"]]
after = [["/bin/true"]]
watchdog = "30s"
[restart]
when = "always"
success_codes = [0, 143]
delay = 0
factor = 1.5
max_delay = "30s"
jitter = 0
reset_after = "5m"
limit = {count = 3, within = 60.0, then = "rescue"}
max_age = "1d"
max_age_jitter = "1h"
memory_budget = "900MiB"
[stop]
ladder = ["QUIT", "30s", "TERM", "1.5s", "KILL"]
scope = "main"
command = "/srv/web-ctl 'shut down'"
drain = "5s"
[reload]
command = "/srv/web-ctl reload"
[[listen]]
name = "http"
address = "tcp:127.0.0.1:8080"
backlog = 128
reuse_port = true
[logs]
keep = "1GiB"
segment = 1_048_576
max_age = "30d"
compress = false
stderr = "separate"
on_full = "drop"
rate = "1MiB/s"
to = "files"
[limits]
memory = "1GiB"
memory_high = 1_000_000_000
memory_min = "64MiB"
swap = 0
cpu = "150%"
cpu_weight = 200
io_weight = 50
io = [{path = "/var", read = "50MB/s", write = 1024, read_iops = 100, write_iops = 50}]
tasks = 100
oom = "process"
oom_score_adjust = -500
nice = -5
files = "1024:65536"
core = 0
rlimits = {stack = "8MiB", cpu = "60s:unlimited", nproc = 50}
slice = "agents"
require = "best"
[secrets]
"db.key" = "/etc/web/{instance}.key"
[sandbox]
level = "app"
promises = ["inet", "unix", "rpath", "device"]
read = ["/srv/web", "@self"]
write = "@state"
exec = []
view = "deny"
open = [{path = "/etc/web.key", fd = 5}, {path = "/var/x", fd = 6, mode = "append"}]
processes = "own"
ipc = "own"
hostname = "web-{instance}"
time = "host"
cgroup = "own"
tmp = "private"
state = "web"
runtime = ["web", "{unit}-{instance}"]
cache = []
logs = "web"
users = {map = ["0:100000:65536", "65536:200000:1"]}
devices = ["/dev/fuse"]
gpus = ["nvidia0", "amd1"]
capabilities = ["NET_BIND_SERVICE", "cap_net_raw", "CAP_SYS_TIME"]
jit = false
on_violation = "kill"
require = "best"
[network]
mode = "private"
listen = ["tcp:8080", "udp:*"]
connect = ["tcp:443", "10.0.0.0/8:5432", "[fd00::/8]:443", "udp:10.0.0.1:53", "127.0.0.1:*"]
unix = "/run/postgresql"
[agent]
receives = ["logs", "endpoints", "cgroup", "pidfd", "metrics"]
cursor = true
"""


def test_the_json_schema_accepts_what_the_parser_accepts() -> None:
    assert isinstance(load_text("web", FULL, "f"), model.Unit)
    assert _valid(json_schema(), tomli.loads(FULL))
    for text in ('reload = "restart"', 'start.ready = "fd:7"', 'restart.limit = "none"',
                 'limits.cpus = "0-3,8"', 'sandbox.users.map = "auto"', 'sandbox.gpus = "all"',
                 'root = "/srv/image"', 'user = "dynamic"', 'network.address = "10.9.0.2/30"'):
        assert _valid(json_schema(), tomli.loads(text))


def test_the_json_schema_refuses_what_is_no_key_or_of_another_type() -> None:
    for path in [*DELIVERED, *LATER]:
        keys = path.split(".")
        wrong: list[Any] = [5, {"A": []}] if path == "env" else [["\0", 5], {"\0": 1}]
        for value in wrong:
            doc: Any = value
            for key in reversed(keys):
                doc = [{"address": "tcp:1", key: doc}] if keys[0] == "listen" else {key: doc}
                if keys[0] == "listen":
                    doc = {"listen": doc}
                    break
            assert not _valid(json_schema(), doc), path
    assert not _valid(json_schema(), {"comand": "x"})
    assert not _valid(json_schema(), {"listen": [{"name": "x"}]})


def test_the_schema_is_json() -> None:
    assert msgspec.json.decode(files()["unit.schema.json"]) == json_schema()


def test_a_key_is_a_value() -> None:
    """Nobody changes the table while it is used."""
    with pytest.raises(AttributeError):
        UNIT.keys[0].name = "x"  # type: ignore[misc]
    assert isinstance(UNIT.keys[0], Key)
    with pytest.raises(Refused):
        UNIT.read({"comand": 1})

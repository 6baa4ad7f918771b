"""Contradictions between the keys of one unit, each with its reason; and no error is an echo."""
from __future__ import annotations

import pytest

from supervisor.config.load import load_text
from supervisor.config.problem import Broken
from supervisor.config.schema import UNIT
from supervisor.model.unit import Unit
from tests.unit.config.refusal import assert_refused

TCP = '[[listen]]\naddress = "tcp:80"\n'

CONTRADICTIONS = {
    "no command": ("autostart = true", 1, "", "without a command"),
    "cleared command": ("command = []", 1, "command", "without a command"),
    "task without command": ('kind = "task"', 1, "", "without a command"),
    "task always": (
        'kind = "task"\ncommand = "x"\n[restart]\nwhen = "always"', 4, "restart.when", "its end"),
    "watchdog": ('command = "x"\nstart.watchdog = 5', 2, "start.watchdog", 'ready = "notify"'),
    "fd taken": (
        'command = "x"\nstart.ready = "fd:4"\n' + TCP + '[[listen]]\naddress = "udp:80"',
        2, "start.ready", "fd:5 or higher"),
    "drain nothing": ('command = "x"\nstop.drain = 5', 2, "stop.drain", "no [[listen]]"),
    "drain shared": (
        'command = "x"\nstop.drain = 5\n' + TCP, 2, "stop.drain", "all instances share its queue"),
    "one name": (
        'command = "x"\n' + TCP + '[[listen]]\naddress = "tcp:81"', 4, "listen[1].name",
        "give each its own name"),
    "one address": (
        'command = "x"\n' + TCP + '[[listen]]\nname = "b"\naddress = "tcp:80"', 6,
        "listen[1].address", "twice"),
    "one path": (
        'command = "x"\n[[listen]]\naddress = "unix:/a"\n[[listen]]\nname="b"\naddress="unix:/a"',
        6, "listen[1].address", "twice"),
    "needs itself": ('command = "x"\nneeds.after = "web"', 2, "needs.after", "itself"),
    "conflicts with need": (
        'command = "x"\n[needs]\nwants = "a"\nconflicts = "a"', 4, "needs.conflicts", "it needs"),
    "port of no listener": (
        'command = "x {port:http}"\n' + TCP, 1, "command", "no tcp or udp listener"),
    "port of a path": (
        'command = "x {port:unix}"\n[[listen]]\naddress = "unix:/a"', 1, "command", "no tcp"),
    "port in env": ('command = "x"\n[env]\nA = "{port:}"', 3, "env.A", "no tcp or udp"),
    "port in hook": (
        'command = "x"\n[start]\nbefore = [["a", "{port:x"]]', 3, "start.before", "no tcp or udp"),
    "restart itself": (
        'command = "x"\nrestart.limit = {then = "web"}', 2, "restart.limit.then", "itself"),
    "delay above its limit": (
        'command = "x"\n[restart]\nmax_delay = 1\ndelay = 2', 4, "restart.delay", "max_delay"),
    "jitter of nothing": (
        'command = "x"\nrestart.max_age_jitter = 1', 2, "restart.max_age_jitter", "max_age"),
    "reload twice": (
        'command = "x"\n[reload]\ncommand = "/y"\nsignal = "HUP"', 4, "reload.signal", "together"),
    "segment above keep": (
        'command = "x"\n[logs]\nkeep = "1MiB"\nsegment = "2MiB"', 4, "logs.segment", "logs.keep"),
    "a line of no log": (
        'command = "x"\nstart.ready = {log = "up"}\nlogs.to = "null"', 2, "start.ready",
        "none is stored"),
    "kept elsewhere": (
        'command = "x"\n[logs]\nto = "console"\nrate = "1MiB/s"', 4, "logs.rate",
        'together with logs.to = "console"'),
    "high above most": (
        'command = "x"\n[limits]\nmemory = "1MiB"\nmemory_high = "2MiB"', 4, "limits.memory_high",
        "limits.memory, which acts first"),
    "least above most": (
        'command = "x"\n[limits]\nmemory = "1MiB"\nmemory_min = "2MiB"', 4, "limits.memory_min",
        "limits.memory;"),
    "least above high": (
        'command = "x"\n[limits]\nmemory_high = "1MiB"\nmemory_min = "2MiB"', 4,
        "limits.memory_min", "limits.memory_high;"),
    "attached to itself": ('command = "x"\nattach = ["a", "web"]', 2, "attach", "itself"),
    "agent of nothing": ('command = "x"\n[agent]\nreceives = "logs"', 2, "agent", "of nothing"),
    "cursor of nothing": (
        'command = "x"\nattach = "a"\n[agent]\nreceives = "endpoints"\ncursor = true', 5,
        "agent.cursor", 'add "logs"'),
    "sharing with many": (
        'command = "x"\nattach = "a*"\n[agent]\nshare = "tmp"', 4, "agent.share", "by name"),
    "sharing with two": (
        'command = "x"\nattach = ["a", "b"]\n[agent]\nshare = "limits"', 4, "agent.share", "one"),
    "processes of two": (
        'command = "x"\nattach = "a"\nagent.share = "pid"\nsandbox.processes = "own"', 4,
        "sandbox.processes", "share no pid"),
    "a /tmp of two": (
        'command = "x"\nattach = "a"\nagent.share = "tmp"\nsandbox.tmp = "private"', 4,
        "sandbox.tmp", "share no tmp"),
    "two budgets": (
        'command = "x"\nattach = "a"\nagent.share = "limits"\nlimits.slice = "all"', 4,
        "limits.slice", "two budgets"),
    "agent that is a group": ('kind = "group"\nattach = "a"', 2, "attach", "in a group"),
    "agent's variable": ('command = "x"\n[env]\nUNBOXED_ACK_FD = "1"', 3, "env.UNBOXED_ACK_FD",
        "the supervisor sets it"),
    "slice of itself": ('command = "x"\nlimits.slice = "web"', 2, "limits.slice", "itself"),
    "cpus and pin": ('command = "x"\npin = true\nlimits.cpus = "0"', 3, "limits.cpus", "pin"),
    "budget above most": (
        'command = "x"\nlimits.memory = "8MiB"\nrestart.memory_budget = "8MiB"', 3,
        "restart.memory_budget", "kills it first"),
    **{
        f"{key} of a group": (
            f'kind = "group"\nlimits.memory = "1MiB"\nlimits.{key} = {value}', 3, f"limits.{key}",
            "it is a process's")
        for key, value in (
            ("nice", "1"), ("oom_score_adjust", "1"), ("files", "9"), ("core", "0"),
            ("rlimits", "{cpu = 1}"))
    },
    "mode of a port": (
        'command = "x"\n' + TCP + 'mode = "600"', 4, "listen[0].mode", "only a path"),
    "backlog of udp": (
        'command = "x"\n[[listen]]\naddress = "udp:1"\nbacklog = 5', 4, "listen[0].backlog",
        "nobody"),
    "shared path": (
        'command = "x"\n[[listen]]\naddress = "unix:/a"\nreuse_port = true', 4,
        "listen[0].reuse_port", "only tcp and udp"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused(name: str) -> None:
    assert_refused(*CONTRADICTIONS[name])


@pytest.mark.parametrize(
    "text",
    [
        'kind = "group"',
        'kind = "group"\nautostart = false\ndescription = "d"\nneeds.wants = "a"',
        'kind = "task"\ncommand = "x"\nrestart.when = "never"',
        'command = "x"\nstart = {ready = "notify", watchdog = 5}',
        'command = "x"\nstart.ready = "fd:4"\n' + TCP,
        'command = "x {port:tcp} {other} {a:b}"\n' + TCP,
        'command = "x"\nstop.drain = 5\n' + TCP + "reuse_port = true",
        'command = "x"\n' + TCP + "reuse_port = false",
        'command = "x"\n[[listen]]\naddress = "tcp:0"\n[[listen]]\naddress = "tcp:0"\nname = "b"',
        'command = "x"\n[reload]\nsignal = "USR1"\ncommand = []',
        'command = "x"\n[logs]\nkeep = "256KiB"',
        'command = "x"\n[logs]\nto = "inherit"',
        'command = "x"\nattach = "a"\nagent.share = ["pid", "tmp", "limits"]\n[limits]\ntasks = 5',
        'command = "x"\nattach = "web*"\n[agent]\nreceives = "logs"\ncursor = true',
        'command = "x"\nattach = "a"\nstop.drain = 1\nagent.receives = "logs"\n' + TCP,
        'command = "x"\nstart.ready = {log = "up"}\nlogs = {to = "files", stderr = "separate"}',
        'command = "x"\nrestart.delay = "5m"',
        'kind = "group"\n[limits]\nmemory = "1GiB"\nslice = "all"\ntasks = 5\nrlimits = {}',
        'command = "x"\nlimits.memory = "8MiB"\nrestart.memory_budget = "7MiB"',
        'command = "x"\npin = true\nlimits.memory = "8MiB"',
    ],
)
def test_what_belongs_together_is_accepted(text: str) -> None:
    assert isinstance(load_text("web", text, "f"), Unit)


IN_A_GROUP = {"description", "documentation", "kind", "autostart", "needs", "conditions",
              "limits"}
VALUES = {
    "command": '"x"', "instances": "2", "pin": "true", "directory": '"/"', "umask": '"022"',
    "user": '"a"', "group": '"a"', "groups": '["a"]', "env": "{}", "env_files": "[]", "start": "{}",
    "restart": "{}", "stop": "{}", "reload": "{}", "listen": "[]", "logs": "{}",
    "sandbox": "{}", "network": "{}", "root": '"/x"', "secrets": "{}",
    "attach": '"a"', "agent": "{}",
}  # fmt: skip


def test_every_key_of_a_program_is_refused_in_a_group() -> None:
    assert set(VALUES) | IN_A_GROUP == {key.name for key in UNIT.keys if not key.later}
    text = 'kind = "group"\n' + "".join(f"{key} = {value}\n" for key, value in VALUES.items())
    found = load_text("web", text, "f")
    assert isinstance(found, Broken)
    assert [p.key for p in found.problems] == list(VALUES)


@pytest.mark.parametrize(
    "text, keys",
    [
        ("command = 5", ["command"]),
        ('kind = "x"', ["kind"]),
        ('kind = "group"\ncommand = 5', ["command"]),
        ('command = "x"\nstart = {ready = "ntfy", watchdog = 5}', ["start.ready"]),
        (
            'command = "x {port:a}"\n[[listen]]\nname = "a"\naddress = "tcp:x:1"',
            ["listen[0].address"],
        ),
        ('command = "x"\nstop.drain = 5\n[[listen]]\naddress = 1', ["listen[0].address"]),
        ('command = "x"\n[restart]\ndelay = 500\nmax_delay = "x"', ["restart.max_delay"]),
    ],
)
def test_no_error_is_the_echo_of_another(text: str, keys: list[str]) -> None:
    found = load_text("web", text, "f")
    assert isinstance(found, Broken)
    assert [p.key for p in found.problems] == keys

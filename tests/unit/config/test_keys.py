"""Every key, wrong in type, range or name: one message that names file, line and key."""
from __future__ import annotations

import pytest
import tomli

from supervisor.config.load import load_text
from supervisor.config.problem import Broken
from supervisor.config.schema import walk
from supervisor.model.rlimits import UNLIMITED
from supervisor.model.unit import (
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

# Key: values that are of the wrong type, out of range, or malformed.
BAD = {
    "description": ["5", "true", "[]", '"a\\nb"', '"\\u0000"'],
    "documentation": ["5", "[5]", '[""]', '"a\\tb"', '["a", "a"]'],
    "command": ["5", "true", "{}", "[5]", '[""]', '""', '"./x"', '["a/b"]', '"a | b"',
        '["a\\u0000"]', "{}"],
    "kind": ["5", '"daemon"', '"Service"', "[]", "{}"],
    "autostart": ["1", '"yes"', "[]"],
    "instances": ["0", "-1", "1025", "1.5", "true", '"four"', '"2"', "[]"],
    "pin": ["1", '"true"'],
    "directory": ["5", '"srv"', '""', "[]", '"/a\\u0000"'],
    "umask": ["22", "0o22", '"999"', '"1777"', '""', '"u=rwx"'],
    "user": ["0", "1000", '"1000"', '""', '"a b"', '"a:b"', f'"{"a" * 33}"', "[]"],
    "group": ["0", '"0"', '"-x"', '"dynamic"'],
    "groups": ["5", "[0]", '["a", "a"]', '["0"]', "{}"],
    "env": ["5", '"A=b"', '["A=b"]', "{A = 1.5}", "{A = true}", "{A = []}", '{"" = "x"}',
        '{"A=B" = "x"}', '{"A B" = "x"}', '{"Ä" = "x"}', '{LISTEN_PID = "1"}', '{A = "\\u0000"}'],
    "env_files": ["5", '"x"', '["x"]', '[""]'],
    "needs": ["5", '"db"', '["db"]', '[{requires = "db"}]'],
    "needs.requires": ["5", '"DB"', "[5]", '["a b"]', '["a", "a"]', '["web"]', "{}", '{unit = "B"}',
        '{unit = "a", until = "healthy"}', '{unit = "a", until = 5}', '{unit = "a", order = 1}',
        '{unit = "a", untill = "ready"}', '["a", {unit = "a"}]', '{until = "ready"}'],
    "needs.wants": ["5", '"a/b"', '["web"]'],
    "needs.after": ["5", '{unit = "a", order = false}', '["web"]'],
    "needs.before": ["5", '{unit = "a", order = false}'],
    "needs.conflicts": ["5", '{unit = "a"}', '["A"]', '["a", "a"]', '["web"]'],
    "needs.binds_to": ["5", '{unit = "a", order = false}', '["web"]'],
    "conditions": ["5", "[]"],
    "conditions.path_exists": ["5", '"etc"', '"!etc"', '"!!/etc"', '""'],
    "conditions.virtualization": ["5", "true", '""', '"VM"', '"!"'],
    "conditions.kernel_cmdline": ["5", '""', '"a b"', '"!"'],
    "conditions.first_boot": ['"true"', "1", "[]"],
    "conditions.host": ["5", '""', '"a b"'],
    "start": ["5", '"notify"'],
    "start.ready": ["5", "true", '"ready"', '"fd"', '"fd:"', '"fd:2"', '"fd:256"', '"fd:x"',
        '"fd:\\u0663"', '"FD:3"',
        "{}", '{log = "("}', "{log = 5}", "{exit = 256}", '{exit = "0"}', '{log = "x", exit = 0}',
        '{http = ":80"}', '{tcp = ":80"}', "{exec = []}", "{lag = 1}", '"http"'],
    "start.timeout": ['"5"', '"soon"', "-1", "true", "[]"],
    "start.before": ["5", '"/bin/x"', '["/bin/x"]', "[[]]", "[[5]]", '[["./x"]]'],
    "start.after": ["5", '"/bin/x"', '["/bin/x"]', '[[""]]'],
    "start.watchdog": ['"x"', "-1", "5"],
    "restart": ["5", '"always"'],
    "restart.when": ["5", "true", '"sometimes"', '"on_failure"'],
    "restart.success_codes": ["0", '"0"', "[256]", "[-1]", '["0"]', "[0, 0]", "[true]"],
    "restart.delay": ['"x"', "-1", '"100"'],
    "restart.factor": ['"2"', "0.5", "101", "nan", "inf", "true"],
    "restart.max_delay": ['"x"', "-1"],
    "restart.jitter": ["-0.1", "1.1", '"10%"', "nan"],
    "restart.reset_after": ['"x"', "-1"],
    "restart.limit": ["5", "false", '"never"', "[]", "{cuont = 1}"],
    "restart.limit.count": ["0", "-1", '"3"', "1.5", "true", "1000001"],
    "restart.limit.within": ['"x"', "0", "-1"],
    "restart.limit.then": ["5", '"Fail"', '"web"', '""', "[]"],
    "restart.max_age": ['"x"', "-1"],
    "restart.max_age_jitter": ['"x"', "-1", '"1h"'],
    "restart.memory_budget": ['"512M"', "-1", '"x"', "1.5"],
    "stop": ["5", '"TERM"'],
    "stop.ladder": ["5", '"TERM"', "[15]", '["FOO"]', '["10s"]', '["TERM", 10]', '["TERM", "10"]',
        '["TERM", "1s", "2s"]', '["TERM", true]'],
    "stop.scope": ["5", '"group"', "true"],
    "stop.command": ["5", '""', '"a && b"'],
    "stop.drain": ['"x"', "-1", "5"],
    "reload": ["5", '"HUP"', "[]", '{signal = "HUP", command = "/x"}'],
    "reload.signal": ['"KILL"', "9", '"FOO"', "0", "true"],
    "reload.command": ["5", '"./x"', '""'],
    "listen": ["5", '"tcp:80"', '["tcp:80"]', '{address = "tcp:80"}', "[{}]", '[{name = "x"}]'],
    "listen.address": ["5", '"80"', '"tcp:"', '"http:80"', '"tcp:x:1"', '"unix:x"', "[]"],
    "listen.name": ["5", '""', '"a:b"', '"a b"', '"' + "a" * 32 + '"'],
    "listen.backlog": ["0", "65536", '"128"', "1.5"],
    "listen.reuse_port": ["1", '"yes"'],
    "listen.mode": ["438", '"888"', '"600"'],
    "listen.user": ["0", '"0"', '"www"'],
    "listen.group": ["0", '"0"', '"www"'],
    "logs": ["5", "[]"],
    "logs.keep": ['"256M"', "0", '"255KiB"', "-1", '"x"'],
    "logs.segment": ['"16M"', "0", '"63KiB"', '"1GiB"', '"x"'],
    "logs.max_age": ['"1 month"', "-1", "true"],
    "logs.compress": ['"yes"', "1", '"zstd"'],
    "logs.stderr": ['"both"', "2", "false"],
    "logs.on_full": ['"wait"', "true"],
    "logs.rate": ['"1MiB"', "0", '"0B/s"', '"10/s"', '"1M/s"', "true"],
    "logs.to": ['"journal"', '"/dev/null"', "1"],
    "limits": ["5", '"64MiB"', "[]", "{memroy = 1}"],
    "limits.memory": ["512", '"512M"', '"50%"', '"0"', "true", '"1MB"', '"2EiB"'],
    "limits.memory_high": ["1", '"x"', "1.5e9"],
    "limits.memory_min": ["0", "-1", '"1M"'],
    "limits.swap": ["-1", '"none"', "true"],
    "limits.cpu": ["1.5", "150", '"150"', '"0%"', '"0.05%"', '"-5%"', '"1e2%"', '"%"', '"102401%"',
        '"1.%"', '"\\u0661%"'],
    "limits.cpu_weight": ["0", "10001", '"100"', "1.5"],
    "limits.cpus": ["0", '""', '"a"', '"3-1"', '"0-"', '"0,"', '"-1"', '"8192"', '"\\u0661"',
        "[0]"],
    "limits.io_weight": ["0", "10001", '"10"'],
    "limits.io": ["5", "{}", '{path = "/", read = 1}', "[5]", "[{}]", '[{path = "/"}]',
        "[{read = 1}]", '[{path = "x", read = 1}]', '[{path = "/", read = "50MB"}]',
        '[{path = "/", read = 0}]', '[{path = "/", read = "1/s"}]', '[{path = "/", raed = 1}]',
        '[{path = "/", read_iops = "5"}]', '[{path = "/", read = 1}, {path = "/", write = 1}]'],
    "limits.tasks": ["0", "4194305", '"10"', '"max"'],
    "limits.oom": ["true", '"kill"', '"group"'],
    "limits.oom_score_adjust": ["-1001", "1001", '"0"'],
    "limits.nice": ["-21", "20", '"5"'],
    "limits.files": ["-1", '"many"', '"10:5"', '":5"', '"5:"', '"1:2:3"', "1.5", '"unlimited:5"'],
    "limits.core": ["-1", '"8M"', '"8MiB:1MiB"', "true"],
    "limits.rlimits": ["5", "[]", "{stak = 1}", "{nofile = 5}", "{core = 0}", "{rss = 5}",
        "{locks = 5}", '{stack = "8M"}', '{cpu = "1.5s"}', '{rttime = "1ns"}', "{nice = 41}",
        "{rtprio = 100}", '{as = ""}', "{nproc = []}", '{cpu = "5:1"}'],
    "limits.slice": ["5", '"A"', '"web"', "[]"],
    "limits.require": ["true", '"some"'],
    "secrets": ["5", '"/x"', "[]", "{a = 5}", '{a = "x"}', '{a = "/a/../b"}', '{"a/b" = "/x"}',
        '{".." = "/x"}', '{"" = "/x"}', '{"-x" = "/x"}', '{"a b" = "/x"}',
        '{a = {file = "/x"}}'],
    "root": ["5", '"srv"', '"/"', '"/srv/../"', '"//."', '""'],
    "sandbox": ["5", '"app"', "[]", "{levle = 1}"],
    "sandbox.level": ["5", "true", '"high"', '"App"', '"strict"', "[]"],
    "sandbox.promises": ["5", "[]", '""', '"stdoi"', '["rpath", "rpath"]', '["prot_exec"]', "[5]",
        '"stdio rpath"'],
    "sandbox.read": ["5", '"etc"', '["/a", "/a/"]', '"@stat"', '"@"', '"/a/.."', "[5]", '""',
        '"{instance}"'],
    "sandbox.write": ["5", '"~/x"', '"@STATE"', '["@tmp", "@tmp"]'],
    "sandbox.exec": ["5", '"sh"', '"@bin"'],
    "sandbox.view": ["true", '"show"', '"hide"', '"deny"'],
    "sandbox.open": ["5", '"/x"', "{}", "[5]", "[{}]", '[{path = "/x"}]', "[{fd = 3}]",
        '[{path = "x", fd = 3}]', '[{path = "/x", fd = 2}]', '[{path = "/x", fd = 256}]',
        '[{path = "/x", fd = "3"}]', '[{path = "/x", fd = 3, mode = "rw"}]',
        '[{path = "/x", fd = 3}, {path = "/y", fd = 3}]', '[{path = "/x", fd = 3, flags = 1}]'],
    "sandbox.processes": ["true", '"private"'],
    "sandbox.ipc": ["true", '"private"'],
    "sandbox.hostname": ["5", '""', '"a b"', '"-a"', '"a/b"', f'"{"a" * 65}"', '"{port:http}"'],
    "sandbox.time": ["true", '"5s"'],
    "sandbox.cgroup": ["true", '"hidden"'],
    "sandbox.tmp": ["true", '"own"'],
    "sandbox.state": ["5", '"/var/lib/x"', '"a/b"', '".."', '"."', '""', '".x"', '["a", "a"]',
        '"unboxed"', "[5]"],
    "sandbox.runtime": ["5", '"a b"', '"unboxed"'],
    "sandbox.cache": ["true", '"../x"'],
    "sandbox.logs": ["{}", '"é"', '"unboxed"'],
    "sandbox.users": ["5", '"auto"', "[]", "{mpa = 1}"],
    "sandbox.users.map": ["5", '"own"', "[]", "[5]", '["auto"]', '"0:1"', '"0:1:2:3"', '"0:1:x"',
        '"0:1:-1"', '"0:1:0"', '"4294967295:1:1"', '"0:4294967294:2"', '"0:0:4294967296"',
        '["0:100:10", "9:200:1"]', '["0:100:10", "10:109:1"]', '"99999999999:1:1"',
        str([f"{n}:{n}:1" for n in range(341)])],
    "sandbox.devices": ["5", '"fuse"', '"/dev"', '"/dev/"', '"/dev/../etc/x"', '"/etc/passwd"'],
    "sandbox.gpus": ["5", '"nvidia"', '"intel0"', '"nvidia00"', '"amd256"', '"amdx"',
        '["all", "amd0"]', '["amd0", "amd0"]', '"ALL"', '"0"', '"amdnvidia0"', '"nvidiaamd0"'],
    "sandbox.capabilities": ["5", '"all"', '"CAP_NET_ADMN"', '"CAP_CAP_KILL"', '""', "[5]",
        '["KILL", "cap_kill"]'],
    "sandbox.jit": ["0", '"false"'],
    "sandbox.on_violation": ["true", '"ignore"', '"kill"', '"log"'],
    "sandbox.require": ["true", '"some"'],
    "network": ["5", '"none"', "[]"],
    "network.mode": ["true", '"own"', '"bridge"'],
    "network.listen": ["8080", '"8080"', '":8080"', '"tcp:"', '"tcp:0"', '"tcp:65536"',
        '"tcp:8000-8010"', '"sctp:80"', '"tcp:127.0.0.1:80"', '"tcp:http"', '["tcp:1", "tcp:01"]'],
    "network.connect": ["443", '"443"', '":443"', '"tcp:"', '"tcp::443"', '"tcp:0"', '"udp:x"',
        '"example.org:443"', '"10.0.0.1/8:443"', '"10.0.0.0/33:443"', '"10.0.0.0/:443"',
        '"fd00::/8:443"', '"[fd00::1/8]:443"', '"[fd00::/129]:443"', '"[10.0.0.1]:443"',
        '"10.0.0.0/8"', '["tcp:443", "*"]', '["10.0.0.1:1", "10.0.0.1/32:1"]', '"[:443"'],
    "network.unix": ["5", '"run/x"', '"@x"', '"/run/../x"', '["/a", "/a"]'],
    "network.address": ["5", '"10.9.0.2/30"', '""'],
    "attach": ["5", "true", '""', '"Web"', '["web", "web"]', '"a b*"', "[5]", "[[]]",
        f'"{"a" * 63}*"', '"/x*"', '"{unit}*"', "{}"],
    "agent": ["5", '"logs"', "[]", "{recieves = 1}", "{}"],
    "agent.receives": ["5", '"log"', '["logs", "logs"]', "[5]", '"pid"', '"Logs"'],
    "agent.cursor": ["1", '"true"', "[]"],
    "agent.share": ["5", '"net"', '["pid", "pid"]', "true", "{}"],
    "start.ready.log": ["5", '""', '"("'],
    "start.ready.exit": ["-1", "256", '"0"', "true"],
}  # fmt: skip


def _load(path: str, value: str) -> Unit | Broken:
    text = "" if path == "command" else 'command = "/bin/x"\n'
    if path.startswith("listen."):
        first = "" if path == "listen.address" else 'address = "tcp:80"\n'
        text += f"[[listen]]\n{first}{path[7:]} = {value}\n"
    else:
        text += f"{path} = {value}\n"
    tomli.loads(text)  # what is wrong is the key, not the TOML
    return load_text("web", text, "web.toml")


def test_each_key_is_tried() -> None:
    assert set(BAD) == {path for path, key in walk() if not key.later}


@pytest.mark.parametrize(
    "path, value", [(path, value) for path, values in BAD.items() for value in values]
)
def test_a_bad_value_is_refused_on_its_line(path: str, value: str) -> None:
    found = _load(path, value)
    assert isinstance(found, Broken)
    name = path.rpartition(".")[2]
    for problem in found.problems:
        assert problem.file == "web.toml"
        assert problem.line == (1 if path == "command" else 3 if path == "listen.address" else
                                4 if path.startswith("listen.") else 2)
        assert problem.key.startswith(path.replace("listen.", "listen[0]."))
        assert problem.message.startswith("cannot ")
        assert problem.message.isprintable()
    assert name


@pytest.mark.parametrize("path", sorted(set(BAD) - {"env"}))
def test_a_misspelt_key_is_told_its_nearest(path: str) -> None:
    above, _, name = path.rpartition(".")
    slip = name + "x" if len(name) < 4 else name[:-2] + name[-1] + name[-2]
    slip = slip if slip != name else name + "x"
    text = f'[[listen]]\naddress = "tcp:80"\n{slip} = 1\n' if above == "listen" else (
        f"{above + '.' if above else ''}{slip} = 1\n"
    )
    found = load_text("web", text, "f")
    assert isinstance(found, Broken)
    messages = [p.message for p in found.problems if p.key.endswith(slip)]
    assert len(messages) == 1
    if "." not in path or path.count(".") == 1:
        near = "cpus" if path == "limits.cpu" else name  # as near, and found first
        assert f"did you mean {near}?" in messages[0]


@pytest.mark.parametrize(
    "text, hint",
    [
        ("[restart]\nuser = 'x'", "user belongs at the top, before the first [table]"),
        ("delay = 1", "did you mean restart.delay?"),
        ("timeout = 1", "did you mean start.timeout?"),
        ("before = 1", "did you mean needs.before or start.before?"),
        ("Command = 1", "did you mean command?"),
        ("auto-start = 1", "did you mean autostart?"),
        ("ExecStartPre = 1", "systemd's ExecStartPre is `start.before` here"),
        ("'" + "x" * 3000 + "' = 1", "remove it"),
        ("'\\u001b[31m' = 1", "remove it"),
    ],
)
def test_a_key_out_of_place_is_told_its_place(text: str, hint: str) -> None:
    found = load_text("web", f"{text}\n[start]\n", "f")
    assert isinstance(found, Broken)
    message = next(p.message for p in found.problems if "no such key" in p.message)
    assert message.endswith(hint)
    assert message.isprintable()
    assert len(message) < 300


def test_one_unit_with_every_key() -> None:
    text = """
description = "d"
documentation = "web(8)"
command = "/bin/x 'a b'"
autostart = false
instances = 2
pin = false
directory = "/srv"
umask = "022"
user = "www"
group = "web"
groups = ["a", "b"]
env = {B = 1, A = "x"}
env_files = "/etc/x"
needs = {requires = ["a", {unit = "b", until = "started", order = false}], conflicts = ["c"]}
conditions = {path_exists = ["/a", "!/b"], virtualization = "vm", first_boot = true, host = "w*"}
start = {ready = {log = "up"}, timeout = 0, before = [["/bin/a"]], after = [["b", "c"]]}
stop = {ladder = ["INT", "2s", "TERM", "KILL"], scope = "main", command = "/s"}
reload = {signal = 10}
[logs]
keep = "1MiB"
max_age = "7d"
compress = false
stderr = "separate"
on_full = "drop"
rate = "100kB/s"
to = "files"
[limits]
memory = "64MiB"
memory_high = "48MiB"
memory_min = 4096
swap = 0
cpu = "12.5%"
cpu_weight = 50
cpus = "8,0-2, 3"
io_weight = 200
io = [{path = "/var", read = "50MB/s", write = 1024, read_iops = 5, write_iops = 6}]
tasks = 10
oom = "process"
oom_score_adjust = -5
nice = 3
files = "1024:4096"
core = "unlimited"
rlimits = {stack = "8MiB", cpu = "10s:1m", nproc = "5:unlimited", rttime = 2}
slice = "agents"
require = "best"
[restart]
when = "never"
success_codes = [0, 3]
delay = "2m"
factor = 1
jitter = 0
limit = {count = 1, within = 1}
max_age = 60
max_age_jitter = 6
memory_budget = 7
[[listen]]
address = "tcp:80"
[[listen]]
address = "unix:/run/x"
name = "ctl"
backlog = 5
mode = "600"
user = "www"
group = "web"
"""
    second = 1_000_000_000
    assert load_text("web", text, "s") == Unit(
        name="web",
        source="s",
        description="d",
        documentation=("web(8)",),
        command=("/bin/x", "a b"),
        autostart=False,
        instances=2,
        pin=False,
        directory="/srv",
        umask=0o022,
        user="www",
        group="web",
        groups=("a", "b"),
        env=(("A", "x"), ("B", "1")),
        env_files=("/etc/x",),
        needs=Needs(requires=(Edge("a"), Edge("b", "started", order=False)), conflicts=("c",)),
        conditions=Conditions(
            path_exists=("/a", "!/b"), virtualization=("vm",), first_boot=True, host=("w*",)
        ),
        start=Start(
            ready=Ready("log", pattern="up"),
            timeout_ns=0,
            before=(("/bin/a",),),
            after=(("b", "c"),),
        ),
        restart=Restart(
            when="never",
            success_codes=(0, 3),
            delay_ns=120 * second,
            factor=1.0,
            max_delay_ns=120 * second,
            jitter=0.0,
            limit=RestartLimit(1, second),
            max_age_ns=60 * second,
            max_age_jitter_ns=6 * second,
            memory_budget_bytes=7,
        ),
        stop=Stop(
            ladder=(Rung(2, 2 * second), Rung(15, 0)), scope="main", command=("/s",)
        ),
        reload=Reload("signal", 10),
        listen=(
            Listen("tcp", "tcp", "0.0.0.0", 80),  # noqa: S104 - what "tcp:80" means
            Listen("ctl", "unix", "", 0, "/run/x", 5, mode=0o600, user="www", group="web"),
        ),
        logs=Logs(
            1 << 20, 256 << 10, 604_800 * second, False, "separate", "drop", 100_000, "files",
        ),
        limits=Limits(
            memory_bytes=64 << 20,
            memory_high_bytes=48 << 20,
            memory_min_bytes=4096,
            swap_bytes=0,
            cpu_milli=125,
            cpu_weight=50,
            cpus="0-3,8",
            io_weight=200,
            io=(IoLimit("/var", 50_000_000, 1024, 5, 6),),
            tasks=10,
            oom="process",
            oom_score_adjust=-5,
            nice=3,
            files=(1024, 4096),
            core=(UNLIMITED, UNLIMITED),
            rlimits=(
                ("cpu", 10, 60),
                ("nproc", 5, UNLIMITED),
                ("rttime", 2_000_000, 2_000_000),
                ("stack", 8 << 20, 8 << 20),
            ),
            slice="agents",
            require="best",
        ),
    )


def test_a_unit_of_one_line_has_every_default() -> None:
    assert load_text("web", 'command = "/bin/x"', "s") == Unit("web", "s", command=("/bin/x",))


def test_an_agent_in_the_budget_of_another_has_a_group_in_it() -> None:
    text = 'command = "/bin/x"\nattach = "web"\n[agent]\nshare = "limits"\n'
    found = load_text("agent", text, "s")
    assert isinstance(found, Unit)
    assert found.limits == Limits()
    found = load_text("agent", text + "[limits]\ntasks = 5", "s")
    assert isinstance(found, Unit)
    assert found.limits == Limits(tasks=5)


def test_defaults_are_shared_by_all_units() -> None:
    """A thousand units hold one Restart between them, not a thousand."""
    one, two = (load_text(name, 'command = "/bin/x"', "s") for name in ("a", "b"))
    assert isinstance(one, Unit)
    assert isinstance(two, Unit)
    assert one.restart is two.restart
    assert one.needs is two.needs
    assert one.stop is two.stop
    assert one.limits is None


def test_a_limit_may_be_written_in_more_than_one_way() -> None:
    def limits(text: str) -> Limits:
        found = load_text("web", f'command = "/bin/x"\n[limits]\n{text}', "s")
        assert isinstance(found, Unit), [str(problem) for problem in found.problems]
        assert found.limits is not None
        return found.limits

    assert limits("") == Limits()
    assert limits('cpus = "3,1,2,0,5-6,6-8"').cpus == "0-3,5-8"
    assert limits('files = "1024:1024"') == limits("files = 1024")
    assert limits('core = "1MiB"') == limits("core = 1048576")
    assert limits("rlimits = {cpu = 90}") == limits('rlimits = {cpu = "1m30s"}')
    assert limits('rlimits = {nproc = 1, as = "1GiB"}') == limits(
        'rlimits = {as = "1GiB", nproc = "1"}'
    )
    same = limits('memory = "1MiB"\nmemory_high = "1MiB"\nmemory_min = "1MiB"')
    assert same.memory_bytes == same.memory_high_bytes == same.memory_min_bytes


@pytest.mark.parametrize("text, line, words", [
    ('ExecStart = "/x"', 1, "systemd's ExecStart is `command` here"),
    ('command = "/x"\n[start]\nRestartSec = 5', 3, "systemd's RestartSec is `restart.delay` here"),
    ('OnCalendar = "daily"', 1, "systemd's OnCalendar is `schedule.calendar` here (not supported"),
    ("NoNewPrivileges = true", 1, "it is so at every sandbox.level"),
    ('[Service]\nX = 1\nUser = "a"', 3, "systemd's User is `user` here"),
    ("[Service]\nExecStart=/x", 2, "cannot read it: systemd's ExecStart is `command` here; put"),
    ("command = '/x'\r\numask = 022 # group\r\n", 2, 'need quotes: umask = "022"'),
    ("instances = 007", 1, 'numbers with a leading zero need quotes: instances = "007"'),
])  # fmt: skip
def test_habits_from_elsewhere_are_answered_with_what_they_are_here(
    text: str, line: int, words: str
) -> None:
    found = load_text("web", text, "f")
    assert isinstance(found, Broken)
    assert any(one.line == line and words in one.message for one in found.problems), found


def test_each_name_of_systemds_leads_to_a_key_that_there_is() -> None:
    from supervisor.config import systemd

    known = {path for path, _ in walk()}
    lines = systemd._NAMES.strip().splitlines()
    assert {line.split()[0] for line in lines} <= known
    theirs = [name for line in lines for name in line.split()[1:]]
    assert len(theirs) == len(set(theirs)) > 60
    assert not set(theirs) & (systemd._WORDS.keys() | systemd.SECTIONS | known)

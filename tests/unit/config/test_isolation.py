"""Keys of isolation: what cannot be together, which word was meant, and what a text comes to."""
from __future__ import annotations

import pytest

from supervisor.config.load import load_text
from supervisor.config.problem import Broken
from supervisor.config.promises import NO_WORDS, PROMISES
from supervisor.kernel.seccomp.words import WORDS
from supervisor.model.sandbox import MappedRange, Network, Opened, PortRule, Sandbox, Secret
from supervisor.model.unit import Unit
from tests.unit.config.refusal import assert_refused

X = 'command = "/x"\n'
TCP = '[[listen]]\naddress = "tcp:80"\n'
OFF = X + "[sandbox]\nlevel = 'off'\n"


def unit(text: str) -> Unit:
    found = load_text("web", X + text, "f")
    assert isinstance(found, Unit), found
    return found


def box(text: str) -> Sandbox:
    found = unit("[sandbox]\n" + text).sandbox
    assert found is not None
    return found


def network(text: str) -> Network:
    found = unit("[network]\n" + text).network
    assert found is not None
    return found


# Text, line, key, a part of the reason.
CONTRADICTIONS = {
    "strict without promises": (
        X + 'sandbox.level = "strict"', 2, "sandbox.level", "`unboxed learn`"),
    **{
        f"{key} of nothing": (OFF + f"{key} = {value}", 4, f"sandbox.{key}", 'level = "base"')
        for key, value in (
            ("promises", '"stdio"'), ("read", "[]"), ("write", '"/srv"'), ("exec", '"@self"'),
            ("view", '"hide"'), ("jit", "false"))
    },
    **{
        f"{key} of nothing": (
            X + f"sandbox.level = 'off'\nnetwork.{key} = {value}", 3, f"network.{key}", '"base"')
        for key, value in (("listen", '"tcp:80"'), ("connect", "[]"), ("unix", '"/run/x"'))
    },
    "violation of nothing": (
        X + 'sandbox.on_violation = "kill"', 2, "sandbox.on_violation", "nothing is a violation"),
    "violation at level off": (
        OFF + 'on_violation = "log"', 4, "sandbox.on_violation", "nothing is a violation"),
    "view of nothing": (X + 'sandbox.view = "deny"', 2, "sandbox.view", "add one of these"),
    "users and a dynamic user": (
        X + 'user = "dynamic"\nsandbox.users = {}', 3, "sandbox.users", "remove one of them"),
    "dynamic user at level off": (
        X + 'user = "dynamic"\nsandbox.level = "off"', 3, "sandbox.level", "gets its id"),
    "id of a dynamic user": (
        X + 'user = "dynamic"\nsandbox.promises = ["stdio", "id"]', 3, "sandbox.promises[1]",
        "name a user"),
    "id at level app": (
        X + '[sandbox]\nlevel = "app"\npromises = ["id"]', 4, "sandbox.promises[0]", "name a user"),
    "tmp shared and own": (
        X + '[sandbox]\nwrite = "@tmp"\ntmp = "shared"', 4, "sandbox.tmp", 'write "/tmp"'),
    "long name": (
        X + f'sandbox.hostname = "{"a" * 60}{{unit}}-{{instance}}"', 2, "sandbox.hostname", "64"),
    "cards without device": (
        X + '[sandbox]\npromises = "inet"\ngpus = "all"', 4, "sandbox.gpus", '"device"'),
    "descriptor of a listener": (
        X + 'sandbox.open = [{path = "/x", fd = 3}, {path = "/y", fd = 4}]\n' + TCP, 2,
        "sandbox.open[0].fd", "write 4 or higher"),
    "descriptor of readiness": (
        X + 'start.ready = "fd:7"\nsandbox.open = [{path = "/x", fd = 7}]', 3,
        "sandbox.open[0].fd", "start.ready is fd:7"),
    "one descriptor twice": (
        X + 'sandbox.open = [{path = "/x", fd = 3}, {path = "/y", fd = 3}]', 2,
        "sandbox.open[1].fd", "give each its own"),
    "listen without promise": (
        X + 'sandbox.promises = "dns"\nnetwork.listen = "tcp:80"', 3, "network.listen", '"inet"'),
    "connect without promise": (
        X + 'sandbox.promises = "unix"\nnetwork.connect = "tcp:80"', 3, "network.connect",
        '"inet"'),
    "unix without promise": (
        X + 'sandbox.promises = "inet"\nnetwork.unix = "/run/x"', 3, "network.unix", '"unix"'),
    "listen to nobody": (
        X + '[network]\nmode = "none"\nlisten = "tcp:80"', 4, "network.listen", "nobody"),
    "connect to nobody": (
        X + '[network]\nmode = "none"\nconnect = "udp:53"', 4, "network.connect", "nobody"),
    "address on the host": (
        X + 'network.address = "10.9.0.2/30"', 2, "network.address", 'mode = "private"'),
    "one address of several": (
        X + 'instances = 2\n[network]\nmode = "private"\naddress = "10.9.0.2/30"', 5,
        "network.address", "each gets its own"),
    "port of no listener": (
        X + 'sandbox.read = "/run/{port:http}"', 2, "sandbox.read", "no tcp or udp listener"),
    "overlap inside": (
        X + 'sandbox.users.map = ["0:1000:10", "5:2000:1"]', 2, "sandbox.users.map[1]",
        'in "0:1000:10" too'),
    "overlap outside": (
        X + 'sandbox.users.map = ["0:1000:10", "10:1009:1"]', 2, "sandbox.users.map[1]", "too"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused(name: str) -> None:
    assert_refused(*CONTRADICTIONS[name])


@pytest.mark.parametrize(
    "text",
    [
        'sandbox = {view = "deny", read = "/srv", processes = "own"}',
        'sandbox = {level = "app", view = "deny"}',
        'sandbox = {level = "app", on_violation = "kill"}',
        'sandbox = {level = "strict", promises = "stdio"}',
        'sandbox = {level = "off", capabilities = "KILL", tmp = "private", jit = true}',
        'sandbox = {level = "off", processes = "own"}\nroot = "/srv/image"',
        'sandbox = {level = "app", users = {}, promises = ["id"]}',
        'sandbox = {level = "app", promises = ["id"]}\nuser = "www"',
        'sandbox = {level = "app"}\nuser = "www"\ngroup = "www"',
        'user = "dynamic"\ngroup = "www"\ngroups = ["www"]',
        'user = "dynamic"\nsandbox.capabilities = "NET_BIND_SERVICE"',
        'sandbox = {read = "/srv", write = "/srv/data"}',
        'sandbox = {write = ["@tmp", "@state"]}',
        'sandbox = {promises = ["device"], gpus = "all"}',
        'sandbox = {level = "app", gpus = "amd0"}',
        'sandbox.open = [{path = "/x", fd = 4}]\n' + TCP,
        'start.ready = "fd:8"\nsandbox.open = [{path = "/x", fd = 7}]',
        'sandbox.promises = "dns"\nnetwork.connect = "udp:53"',
        'sandbox.promises = "unix"\nnetwork = {listen = [], connect = [], unix = "/run/x"}',
        'sandbox.promises = "app"\nnetwork = {listen = "tcp:1", connect = "tcp:1", unix = "/x"}',
        'network.mode = "none"\n' + TCP,
        'network = {mode = "none", connect = [], unix = "/run/x"}',
        'network = {mode = "private", address = "fd00::2/64", listen = "tcp:80"}',
        'sandbox.read = "/run/{port:tcp}/{instance}"\n' + TCP,
        'sandbox.users.map = ["0:1000:10", "10:1010:10", "20:990:10"]',
        'sandbox.users.map = "0:4294967294:1"',
        f'sandbox.users.map = {[f"{n}:{n}:1" for n in range(340)]}',
    ],
)
def test_what_belongs_together_is_accepted(text: str) -> None:
    unit(text)


def test_all_that_is_wrong_is_said_at_once() -> None:
    text = (
        X + 'user = "dynamic"\ngroup = "www"\nroot = "srv"\n[secrets]\n"a/b" = "x"\n[sandbox]\n'
        'level = "off"\nusers = {}\nview = "hide"\n[network]\nmode = "none"\nlisten = "tcp:80"\n'
    )
    found = load_text("web", text, "f")
    assert isinstance(found, Broken)
    assert [(p.line, p.key) for p in found.problems] == [
        (4, "root"), (6, 'secrets."a/b"'),
        (8, "sandbox.level"), (9, "sandbox.users"), (10, "sandbox.view"), (13, "network.listen"),
        (13, "network.listen"),
    ]  # fmt: skip


def test_no_error_is_the_echo_of_another() -> None:
    for text, key in (
        ('user = "0"\nsandbox = {level = "off", users = {}}', "user"),
        ('sandbox = {level = "strict", promises = "x"}', "sandbox.promises"),
        ('[network]\nmode = "noen"\nlisten = "tcp:80"\naddress = "10.0.0.1/24"', "network.mode"),
    ):
        found = load_text("web", X + text, "f")
        assert isinstance(found, Broken)
        assert [p.key for p in found.problems] == [key]


@pytest.mark.parametrize(
    "text, hint",
    [
        ('sandbox.promises = "stdoi"', "did you mean stdio?"),
        ('sandbox.promises = ["rpaht"]', "did you mean rpath?"),
        ('sandbox.promises = "xyzzyxyzzy"', "they are app, stdio, rpath"),
        ('sandbox.promises = "prot_exec"', "this is the key jit = true"),
        ('sandbox.promises = "getpw"', "use rpath"),
        ('sandbox.capabilities = "net_admn"', "did you mean net_admin?"),
        ('sandbox.capabilities = "CAP_SYS_AMIN"', "did you mean sys_admin?"),
        ('sandbox.capabilities = "all"', 'user = "root"'),
        ('sandbox.write = "@stat"', "did you mean @state?"),
        ('sandbox.write = "@x"', "they are @state, @runtime"),
        ('sandbox.levle = "app"', "did you mean level?"),
        ('network.conect = "tcp:80"', "did you mean connect?"),
        ('network.connect = "10.1.2.3/8:80"', "write 10.0.0.0/8"),
        ('network.connect = "[fd00::1/8]:80"', "write fd00::/8"),
        ('network.connect = "fd00::1:80"', "in brackets"),
        ('network.connect = "db.example:80"', "names are not looked up"),
        ('network.listen = "tcp:8000-8010"', "each on its own"),
        ('group = "dynamic"', "only the key user can have that"),
    ],
)
def test_the_word_that_was_meant_is_named(text: str, hint: str) -> None:
    found = load_text("web", X + text, "f")
    assert isinstance(found, Broken)
    assert len(found.problems) == 1
    assert hint in found.problems[0].message


def test_each_promise_is_one_that_filters_know() -> None:
    assert set(PROMISES) == set(WORDS)
    assert len(PROMISES) == len(set(PROMISES))
    assert not NO_WORDS.keys() & WORDS.keys()
    for word in PROMISES:
        assert box(f'promises = "{word}"').promises == (word,)


# --- what a text comes to ---


def test_paths_are_stored_in_one_form() -> None:
    assert box('read = ["/srv//web/./a/", "/", "@self", "/a/{instance}"]').read == (
        "/srv/web/a", "/", "@self", "/a/{instance}"
    )  # fmt: skip
    assert box('devices = "/dev//fuse"').devices == ("/dev/fuse",)
    assert unit('root = "/srv/image/"').root == "/srv/image"
    assert box('open = [{path = "/a/", fd = 255, mode = "append"}]').open == (
        Opened("/a", 255, "append"),
    )


def test_an_empty_list_is_not_the_same_as_no_list() -> None:
    for key in ("read", "write", "exec", "devices", "capabilities"):
        assert getattr(box(f"{key} = []"), key) == ()
        assert getattr(box(""), key) is None
    for key in ("listen", "connect", "unix"):
        assert getattr(network(f"{key} = []"), key) == ()
        assert getattr(network(""), key) is None


def test_capabilities_are_stored_as_the_kernel_names_them() -> None:
    assert box('capabilities = ["net_raw", "CAP_KILL", "Cap_Sys_Time", "BPF"]').capabilities == (
        "CAP_NET_RAW", "CAP_KILL", "CAP_SYS_TIME", "CAP_BPF"
    )  # fmt: skip


def test_id_maps() -> None:
    found = box('users = {map = ["0:100000:65536", "65536:5:1"]}').users
    assert found is not None
    assert found.map == (MappedRange(0, 100000, 65536), MappedRange(65536, 5, 1))
    for text in ("users = {}", 'users.map = "auto"'):
        auto = box(text).users
        assert auto is not None
        assert auto.map == ()


def test_port_rules() -> None:
    assert network('listen = ["tcp:8080", "udp:*"]').listen == (
        PortRule("tcp", 8080), PortRule("udp", 0)
    )  # fmt: skip
    text = (
        'connect = ["tcp:443", "udp:53", "10.0.0.0/8:5432", "10.1.2.3:1", "tcp:127.0.0.1:*",'
        '"[fd00::/8]:443", "udp:[0:0::1]:53", "0.0.0.0/0:80"]'
    )
    assert network(text).connect == (
        PortRule("tcp", 443), PortRule("udp", 53), PortRule("tcp", 5432, "10.0.0.0/8"),
        PortRule("tcp", 1, "10.1.2.3/32"), PortRule("tcp", 0, "127.0.0.1/32"),
        PortRule("tcp", 443, "fd00::/8"), PortRule("udp", 53, "::1/128"),
        PortRule("tcp", 80, "0.0.0.0/0"),
    )  # fmt: skip


@pytest.mark.parametrize("text", [
    "10.9.0.0/30", "10.9.0.3/30", "10.9.0.1/31", "10.9.0.1", "fd00::/64", "fd00::1/127", "x/24",
    "10.9.0.1/", "10.9.0.1/33", "10.9.0.1/-1",
])  # fmt: skip
def test_an_address_has_a_network_with_room_for_two(text: str) -> None:
    found = load_text("web", X + f'[network]\nmode = "private"\naddress = "{text}"', "f")
    assert isinstance(found, Broken)
    assert [(p.line, p.key) for p in found.problems] == [(4, "network.address")]


def test_an_address_is_stored_as_the_kernel_prints_it() -> None:
    assert network('mode = "private"\naddress = "10.9.0.1/30"').address == "10.9.0.1/30"
    assert network('mode = "private"\naddress = "fd00:0::1/64"').address == "fd00::1/64"


def test_secrets_are_in_order_of_name() -> None:
    text = '[secrets]\nz = "/etc/z"\n"a.key" = "/etc//{unit}.key"'
    assert unit(text).secrets == (Secret("a.key", "/etc/{unit}.key"), Secret("z", "/etc/z"))
    many = "".join(f'k{n} = "/k"\n' for n in range(65))
    found = load_text("web", f"{X}[secrets]\n{many}", "f")
    assert isinstance(found, Broken)
    assert "more than 64" in found.problems[0].message


def test_a_user_may_be_dynamic() -> None:
    assert unit('user = "dynamic"').user == "dynamic"

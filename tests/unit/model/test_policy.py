"""What each level comes to, written out by hand; and what each key changes of it, alone."""
from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from supervisor.config.load import load_text
from supervisor.model.policy import Policy, fill, plain, resolve
from supervisor.model.sandbox import Network, Opened, PortRule, Sandbox, Secret, Users
from supervisor.model.unit import Unit

NOTHING = Network("host", (), (), ())

OFF = Policy(
    level="off",
    no_new_privileges=False,
    dynamic_user=False,
    promises=(),
    read=None,
    write=None,
    exec=None,
    view="hide",
    read_only=False,
    hide_homes=False,
    open=(),
    processes="host",
    ipc=False,
    hostname="",
    time=False,
    cgroup=False,
    private_tmp=False,
    state=(),
    runtime=(),
    cache=(),
    logs=(),
    users=None,
    devices=None,
    gpus=(),
    capabilities=None,
    jit=True,
    scoped=False,
    on_violation="errno",
    require="all",
    network=Network(),
    root="",
    secrets=False,
)
BASE = replace(OFF, level="base", no_new_privileges=True, capabilities=())
APP = replace(
    BASE,
    level="app",
    dynamic_user=True,
    promises=("app",),
    write=(),
    read_only=True,
    hide_homes=True,
    processes="hidden",
    private_tmp=True,
    devices=(),
    scoped=True,
    implied=("sandbox.tmp", "sandbox.processes", "sandbox.devices"),
)
STRICT = replace(
    APP, level="strict", promises=("stdio",), read=(), exec=("@self",), network=NOTHING, implied=()
)
LEVELS = {"off": OFF, "base": BASE, "app": APP, "strict": STRICT}


def of(text: str) -> Policy:
    unit = load_text("web", f'command = "/x"\n{text}', "f")
    assert isinstance(unit, Unit), unit
    return resolve(unit)


def at(level: str, text: str = "") -> Policy:
    """The policy of a unit of that level, by further keys of [sandbox] and what follows it."""
    promises = "" if level != "strict" or "promises" in text else 'promises = "stdio"\n'
    return of(f'[sandbox]\nlevel = "{level}"\n{promises}{text}')


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_is_what_it_is_said_to_be(level: str) -> None:
    assert at(level) == LEVELS[level]


def test_a_unit_without_a_sandbox_has_level_base() -> None:
    assert of("") == of("[sandbox]") == BASE


# Keys that mean the same at every level, instead of what the level says.
KEYS: dict[str, dict[str, Any]] = {
    'open = [{path = "/k", fd = 9}]': {"open": (Opened("/k", 9),)},
    'processes = "own"': {"processes": "own"},
    'processes = "host"': {"processes": "host"},
    'processes = "hidden"': {"processes": "hidden"},
    'ipc = "own"': {"ipc": True},
    'ipc = "host"': {"ipc": False},
    'hostname = "own"': {"hostname": "web"},
    'hostname = "host"': {"hostname": ""},
    'hostname = "db1"': {"hostname": "db1"},
    'time = "own"': {"time": True},
    'cgroup = "own"': {"cgroup": True},
    'tmp = "private"': {"private_tmp": True},
    'tmp = "shared"': {"private_tmp": False},
    'state = ["a", "b"]': {"state": ("a", "b")},
    'runtime = "a"': {"runtime": ("a",)},
    'cache = "a"': {"cache": ("a",)},
    'logs = "a"': {"logs": ("a",)},
    "users = {}": {"users": Users(), "dynamic_user": False},
    "devices = []": {"devices": ()},
    'devices = "/dev/fuse"': {"devices": ("/dev/fuse",)},
    'capabilities = "kill"': {"capabilities": ("CAP_KILL",)},
    "capabilities = []": {"capabilities": ()},
    "jit = true": {"jit": True},
    'require = "best"': {"require": "best"},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("text", KEYS)
def test_a_key_changes_nothing_but_itself(level: str, text: str) -> None:
    expected = replace(LEVELS[level], **KEYS[text])
    written = "sandbox." + text.split(" ", maxsplit=1)[0]
    still = tuple(key for key in expected.implied if key != written)
    assert at(level, text) == replace(expected, implied=still)


@pytest.mark.parametrize("level", ["app", "strict"])
def test_only_a_view_that_is_written_is_insisted_upon(level: str) -> None:
    assert at(level, 'view = "hide"') == replace(LEVELS[level], insists=True)
    assert at(level, 'view = "deny"') == replace(LEVELS[level], view="deny")


# What a key comes to where levels differ: {level: fields}. Level off refuses these.
PATHS: dict[str, dict[str, dict[str, Any]]] = {
    'read = "/a"': {
        "base": {"read": ("/a",), "write": ()},
        "app": {"read": ("/a",)},
        "strict": {"read": ("/a",)},
    },
    'write = "/a"': {
        "base": {"write": ("/a",), "read_only": True},
        "app": {"write": ("/a",)},
        "strict": {"write": ("/a",)},
    },
    'exec = "/a"': {
        "base": {"read": (), "write": (), "exec": ("/a",)},
        "app": {"read": (), "exec": ("/a",)},
        "strict": {"exec": ("/a",)},
    },
    'read = "/"\nwrite = "/a"\nexec = []\nview = "deny"': {
        level: {"read": ("/",), "write": ("/a",), "exec": (), "view": "deny"}
        | ({"read_only": True} if level == "base" else {})
        for level in ("base", "app", "strict")
    },
    'promises = ["rpath", "inet"]': {
        level: {"promises": ("rpath", "inet")} for level in ("base", "app", "strict")
    },
    'promises = "stdio"\non_violation = "kill"': {
        level: {"promises": ("stdio",), "on_violation": "kill"}
        for level in ("base", "app", "strict")
    },
    "jit = false": {level: {"jit": False} for level in ("base", "app", "strict")},
}


@pytest.mark.parametrize(
    "text, level", [(text, level) for text, levels in PATHS.items() for level in levels]
)
def test_paths_and_promises_at_each_level(text: str, level: str) -> None:
    assert at(level, text) == replace(LEVELS[level], **PATHS[text][level])


@pytest.mark.parametrize("level", ["base", "app", "strict"])
@pytest.mark.parametrize("key", ["read", "write", "exec"])
@pytest.mark.parametrize(
    "word, fields",
    [
        ("@state", {"state": ("web",)}),
        ("@runtime", {"runtime": ("web",)}),
        ("@cache", {"cache": ("web",)}),
        ("@logs", {"logs": ("web",)}),
        ("@tmp", {"private_tmp": True}),
        ("@self", {}),
    ],
)
def test_a_directory_that_is_listed_is_made(
    level: str, key: str, word: str, fields: dict[str, Any]
) -> None:
    """Even if no key names it: then it has the unit's name."""
    plain_list = at(level, f'{key} = "/a"')
    expected = replace(plain_list, **{**fields, key: (word,)})
    if word == "@tmp":
        still = tuple(one for one in expected.implied if one != "sandbox.tmp")
        expected = replace(expected, implied=still)
    assert at(level, f'{key} = "{word}"') == expected
    if word in {"@state", "@runtime", "@cache", "@logs"}:
        named = at(level, f'{key} = "{word}"\n{word[1:]} = "other"')
        assert getattr(named, word[1:]) == ("other",)


@pytest.mark.parametrize("level", LEVELS)
def test_a_graphics_card_is_an_exception_from_no_devices(level: str) -> None:
    more = 'promises = "device"\n' if level == "strict" else ""
    expected = replace(LEVELS[level], gpus=("all",), devices=())
    if level == "app":
        expected = replace(expected, implied=("sandbox.tmp", "sandbox.processes"))
    if level == "strict":
        expected = replace(expected, promises=("device",))
    assert at(level, f'{more}gpus = "all"') == expected


USERS = {
    # (user, level): (dynamic, capabilities)
    ("", "off"): (False, None), ("", "base"): (False, ()), ("", "app"): (True, ()),
    ("", "strict"): (True, ()), ("www", "off"): (False, None), ("www", "base"): (False, ()),
    ("www", "app"): (False, ()), ("www", "strict"): (False, ()), ("root", "off"): (False, None),
    ("root", "base"): (False, None), ("root", "app"): (False, None),
    ("root", "strict"): (False, None), ("dynamic", "base"): (True, ()),
    ("dynamic", "app"): (True, ()), ("dynamic", "strict"): (True, ()),
}  # fmt: skip


@pytest.mark.parametrize("user, level", USERS)
def test_who_it_is_and_what_is_left_of_root(user: str, level: str) -> None:
    """Root is asked for in words, and keeps its capabilities unless they are listed."""
    dynamic, capabilities = USERS[user, level]
    promises = 'promises = "stdio"\n' if level == "strict" else ""
    written = f'user = "{user}"\n' if user else ""
    text = f'{written}[sandbox]\nlevel = "{level}"\n{promises}'
    expected = replace(LEVELS[level], dynamic_user=dynamic, capabilities=capabilities)
    if dynamic:  # nothing of it stays anywhere
        expected = replace(expected, read_only=True, private_tmp=True)
    assert of(text) == expected
    listed = replace(expected, capabilities=("CAP_KILL",))
    assert of(f'{text}capabilities = "KILL"') == listed
    assert of(f"{text}capabilities = []") == replace(expected, capabilities=())


NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    'mode = "none"': ({"mode": "none"}, {"mode": "none"}),
    'mode = "private"\naddress = "10.9.0.2/30"': (
        {"mode": "private", "address": "10.9.0.2/30"},
        {"mode": "private", "address": "10.9.0.2/30"},
    ),
    'unix = "/run/x"': ({"unix": ("/run/x",)}, {"unix": ("/run/x",)}),
    "connect = []": ({"connect": ()}, {}),
    'listen = "tcp:80"\nconnect = "udp:53"': (
        {"listen": (PortRule("tcp", 80),), "connect": (PortRule("udp", 53),)},
        {"listen": (PortRule("tcp", 80),), "connect": (PortRule("udp", 53),)},
    ),
}


@pytest.mark.parametrize("level", ["base", "app", "strict"])
@pytest.mark.parametrize("text", NETWORKS)
def test_the_network_is_what_is_written_and_at_strict_nothing_else(level: str, text: str) -> None:
    open_, closed = NETWORKS[text]
    expected = replace(NOTHING, **closed) if level == "strict" else Network(**open_)
    promises = 'promises = ["inet", "unix"]\n'
    found = at(level, f"{promises}[network]\n{text}")
    assert found == replace(LEVELS[level], promises=("inet", "unix"), network=expected)


def test_root_and_secrets_are_passed_on() -> None:
    assert of('root = "/image"\n[secrets]\na = "/k"') == replace(BASE, root="/image", secrets=True)


def test_what_base_gives_by_itself_is_plain() -> None:
    unit = Unit("web")
    assert plain(unit)
    assert plain(replace(unit, user="www"))
    assert plain(replace(unit, sandbox=Sandbox(), network=Network()))
    for other in (
        replace(unit, user="dynamic"),
        replace(unit, root="/image"),
        replace(unit, secrets=(Secret("a", "/k"),)),
        replace(unit, network=Network(mode="none")),
        replace(unit, network=Network(listen=())),
        replace(unit, sandbox=Sandbox(level="off")),
        replace(unit, sandbox=Sandbox(read=())),
        replace(unit, sandbox=Sandbox(jit=False)),
    ):
        assert not plain(other), other


def test_names_are_filled_in_wherever_a_unit_file_may_have_them() -> None:
    text = (
        'root = "/{unit}"\n[sandbox]\nread = "/r{instance}"\nwrite = ["/w/{unit}", "@tmp"]\n'
        'exec = "/e/{instance}/{other}"\nopen = [{path = "/o/{unit}", fd = 9}]\n'
        'hostname = "{unit}-{instance}"\nstate = "s{instance}"\nruntime = "r{instance}"\n'
        'cache = "c{instance}"\nlogs = "l{instance}"\ndevices = "/dev/{instance}"\n'
        '[network]\nunix = "/u/{instance}"'
    )
    found = fill(of(text), {"{instance}": "3", "{unit}": "web"})
    assert found == of(
        'root = "/web"\n[sandbox]\nread = "/r3"\nwrite = ["/w/web", "@tmp"]\n'
        'exec = "/e/3/{other}"\nopen = [{path = "/o/web", fd = 9}]\nhostname = "web-3"\n'
        'state = "s3"\nruntime = "r3"\ncache = "c3"\nlogs = "l3"\ndevices = "/dev/3"\n'
        '[network]\nunix = "/u/3"'
    )
    assert fill(APP, {"{instance}": "3"}) == APP

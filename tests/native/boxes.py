"""Which policies are tried: every level, every promise, and keys one by one.

Law: each stands beside what the documentation says that it comes to (tests/native/policies.py).
"""
from __future__ import annotations

from tests.native.policies import DENIED, LISTED, READ_ONLY, SHOWN, Box

# Every word of docs/units.md but `stdio`, which goes without saying, and `app`.
WORDS = (
    "rpath", "wpath", "cpath", "dpath", "fattr", "chown", "flock", "unix", "inet", "mcast", "dns",
    "route", "recvfd", "sendfd", "proc", "exec", "id", "tty", "unveil", "device", "ipc", "aio",
    "numa", "settime", "keyring", "debug", "perf", "bpf", "namespace", "mount",
)  # fmt: skip
_WRITE = 'write = ["{world}/write"]\n'
_LISTS = f'read = ["{{world}}/read"]\n{_WRITE}exec = ["{{world}}/exec"]\n'
_EXEC = (("sandbox.exec", 1, False),)
_PORTS = '[network]\nlisten = ["tcp:{port}"]\nconnect = ["tcp:{port}"]\n'
_LISTEN, _CONNECT = ("network.listen", 4, True), ("network.connect", 4, True)


def _box(keys: str, **more: object) -> Box:
    return Box(f"[sandbox]\n{keys}", **more)  # type: ignore[arg-type]  # fields, as they are named


def _app(keys: str = "", **more: object) -> Box:
    known = {
        "promises": ("app",), "places": READ_ONLY, "processes": "hidden", "scoped": True,
        "domain": 2, "devices": False,  # 2: one that limits nothing of files
    }  # fmt: skip
    return _box(f'level = "app"\n{_WRITE}{keys}', **{**known, **more})


def _promising(*words: str) -> Box:
    """Without `exec`, programs are what Landlock refuses."""
    executes = bool({"exec", "app"} & set(words))
    return _app(
        f"promises = {list(words)}\n".replace("'", '"'), promises=words,
        domain=2 if executes else 1, needs=() if executes else _EXEC,
    )  # fmt: skip


def _strict(*words: str, keys: str = "") -> Box:
    """Ports and sockets: none, as nothing else says."""
    text = f"promises = {list(words)}\n".replace("'", '"')
    return _app(
        _LISTS.replace(_WRITE, "") + text + keys, promises=words, places=LISTED, domain=1,
        connect="none", listen="none", udp=False, unix="unix" in words, needs=_EXEC,
    )._replace(keys=f'[sandbox]\nlevel = "strict"\n{_LISTS}{text}{keys}')  # fmt: skip


LEVELS = {
    "off": _box('level = "off"\n'),
    "off, root": _box('level = "off"\n', user="root", capabilities=None),
    "base": Box(""),
    "base, no user": Box("", user=""),
    "base, root": Box("", user="root", capabilities=None),
    "app": _app(),
    "app, root": _app(user="root", capabilities=None),
    "app, kill": _app('on_violation = "kill"\n', violation="kill"),
    "app, log": _app('on_violation = "log"\n', violation="log"),
    "app, lists": _app(_LISTS.replace(_WRITE, ""), places=LISTED, domain=1, needs=_EXEC),
    "strict, all": _strict(*WORDS),
    "strict, files": _strict("rpath", "wpath", "cpath", "fattr", "proc"),
}
# What a kernel lacks is then left out, and all else holds.
BEST = {
    f"{name}, best": LEVELS[name]._replace(
        keys=f'{LEVELS[name].keys}require = "best"\n', needs=())
    for name in ("app, lists", "strict, files")
}
# `proc`, so that one process tries them all.
PROMISES = {word: _promising(*dict.fromkeys((word, "proc"))) for word in WORDS}
# A process for each action.
ALONE = {
    "strict, stdio": _strict("stdio"),
    "strict, stdio, kill": _strict("stdio", keys='on_violation = "kill"\n')._replace(
        violation="kill"),
    "rpath alone": _promising("rpath"),
}
KEYS = {
    "write": _box(_WRITE, places=READ_ONLY),
    "hide": _box('read = ["{world}/read", "{world}/exec"]\n' + _WRITE, places=SHOWN),
    "deny": _box(
        'view = "deny"\nread = ["{world}/read", "{world}/exec"]\n' + _WRITE, places=DENIED,
        deny=True, domain=1, needs=(("sandbox.read", 1, False), ("sandbox.write", 1, False)),
    ),
    "exec": _box(
        'exec = ["{world}/exec"]\n', domain=1, needs=_EXEC,  # nor read anything else
        places={**LISTED, "read": "", "write": "", "loader": "look read"},
    ),
    "capabilities": _box(
        'capabilities = ["NET_RAW", "SYS_CHROOT", "KILL"]\n',
        capabilities=("NET_RAW", "SYS_CHROOT", "KILL"),
    ),
    "processes hidden": _box('processes = "hidden"\n', processes="hidden"),
    "processes own": _box('processes = "own"\n', processes="own"),
    "namespaces": _box(
        'processes = "own"\nipc = "own"\nhostname = "own"\ncgroup = "own"\ntmp = "private"\n',
        processes="own",
    ),
    "users": _box('users = {map = ["65534:65534:1", "0:100000:1"]}\n', users=True),
    "devices": _box("devices = []\n", devices=False),
    "jit": _box("jit = false\n", jit=False),
    "ports": Box(_PORTS, connect="listed", listen="listed", udp=False, domain=4,
                 needs=(_LISTEN, _CONNECT)),
    "listen nothing": Box("[network]\nlisten = []\n", listen="none", domain=4,
                          needs=(("network.listen", 10, True),)),
    "connect nowhere": Box("[network]\nconnect = []\n", connect="none", udp=False, domain=4,
                           needs=(_CONNECT,)),
    "no ports": Box("[network]\nlisten = []\nconnect = []\n", listen="none", connect="none",
                    udp=False, domain=4),
    "no unix": Box("[network]\nunix = []\n", unix=False),
    "network none": Box('[network]\nmode = "none"\n'),
    "app, ports": _app(_PORTS, connect="listed", listen="listed", udp=False,
                       needs=(_LISTEN, _CONNECT)),
}  # fmt: skip
BOXES = {
    **LEVELS, **BEST, **KEYS, **{f"app: {word}": box for word, box in PROMISES.items()}, **ALONE,
}  # fmt: skip

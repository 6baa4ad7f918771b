"""A supervisor that is an ordinary user: what such a user may do holds, and nothing else starts."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.scenario.sandbox import hosts
from tests.scenario.sandbox.kit import written
from tests.stack import Stack

NEVER = '\n[restart]\nwhen = "never"\n'
LOOK = """
import ctypes, errno, json, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def tried(call, *args):
    try:
        call(*args)
    except OSError as exc:
        return errno.errorcode[exc.errno]
    return "ok"
def write(path):
    with open(path, "w") as file:
        file.write("x")
def brief(path):
    write(path)
    os.unlink(path)
def names(path):
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
def bind(port):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))
def unshare():
    if libc.unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "")
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
own = {name: os.environ[name] for name in os.environ if name.endswith("_DIRECTORY")}
print("SEEN", json.dumps({
    "uid": os.getuid(), "nnp": status["NoNewPrivs"].strip(), "filter": status["Seccomp"].strip(),
    "capabilities": int(status["CapEff"], 16), "root": names("/"),
    "pids": [int(name) for name in os.listdir("/proc") if name.isdigit()],
    "etc": tried(write, "/etc/unboxed-test"), "home": tried(os.listdir, "/root"),
    "tmp": tried(brief, f"/tmp/unboxed-{os.urandom(8).hex()}"),
    "null": tried(write, "/dev/null"), "kmsg": tried(os.stat, "/dev/kmsg"),
    "zero": tried(open, "/dev/zero"), "fuse": tried(open, "/dev/fuse"),
    "bind": [tried(bind, 8088), tried(bind, 8089)], "users": tried(unshare),
    "code": tried(mmap.mmap, -1, 4096, mmap.MAP_PRIVATE, 7), "host": socket.gethostname(),
    "own": {name: tried(write, path + "/file") for name, path in own.items()
            if name != "CREDENTIALS_DIRECTORY"},
    "secret": open(own["CREDENTIALS_DIRECTORY"] + "/word").read()
              if "CREDENTIALS_DIRECTORY" in own else "",
    "namespaces": {name: os.readlink("/proc/self/ns/" + name) for name in names("/proc/self/ns")},
}))
"""
HEAD = f"""kind = "task"
command = ["/usr/bin/python3", "-I", "-S", "-c", '''{LOOK}''']
"""


@pytest.fixture
def ordinary(tmp_path: Path) -> list[str]:
    return hosts.ordinary(tmp_path)


def environment(home: Path) -> dict[str, str]:
    """Of a user who is logged in."""
    (home / "run").mkdir(exist_ok=True)
    if hosts.ROOT:
        os.chown(home / "run", hosts.NOBODY, hosts.NOBODY)
    own = {f"XDG_{name}_HOME": f"{home}/{name.lower()}" for name in ("STATE", "CACHE", "CONFIG")}
    return {**own, "XDG_RUNTIME_DIR": f"{home}/run", "HOME": str(home)}


def seen(stack: Stack, unit: str) -> dict[str, Any]:
    stack.wait(unit, "finished")
    line = written(stack, unit, "SEEN").split("SEEN ", 1)[1].splitlines()[0]
    found: dict[str, Any] = json.loads(line)
    return found


def test_levels_hold_in_a_user_namespace(tmp_path: Path, ordinary: list[str]) -> None:
    hosts.user_namespaces(tmp_path)
    hosts.landlock()
    lists = 'read = ["/etc/hosts"]\nwrite = ["@state", "@tmp"]\nexec = ["@self"]\n'
    strict = f'level = "strict"\npromises = ["stdio", "rpath", "wpath", "cpath", "exec"]\n{lists}'
    units = {
        "base": "", "app": '[sandbox]\nlevel = "app"\nstate = ["data"]\n',
        "deny": '[sandbox]\nlevel = "app"\nview = "deny"\n', "strict": f"[sandbox]\n{strict}",
        "refused": f'[sandbox]\nview = "deny"\n{strict}',
    }  # fmt: skip
    units = {name: HEAD + text + NEVER for name, text in units.items()}
    with Stack(tmp_path, units, prefix=ordinary, env=environment(tmp_path)) as stack:
        found = {name: seen(stack, name) for name in units}
        keys = stack.call("Explain", unit="app")["keys"]
    me = hosts.NOBODY if hosts.ROOT else os.geteuid()
    for name, one in found.items():
        assert (one["uid"], one["nnp"], one["capabilities"]) == (me, "1", 0), name
    assert found["base"]["filter"] == "0"
    for name in ("app", "deny", "strict", "refused"):
        one = found[name]
        assert (one["filter"], one["kmsg"]) == ("2", "ENOENT"), name
        assert set(one["pids"]) <= {1, 2}, name
        assert (one["tmp"], one["null"]) == ("ok", "ok"), name
        assert one["users"] == "EPERM", name
        assert one["etc"] in ("EROFS", "EACCES"), name
    listed = {"dev", "etc", "lib", "lib64", "proc", "tmp", "usr", "var"}
    assert set(found["strict"]["root"]) <= listed
    assert found["deny"]["home"] == found["refused"]["home"] == "EACCES"
    assert found["strict"]["home"] == "ENOENT"
    assert found["app"]["own"] == found["strict"]["own"] == {"STATE_DIRECTORY": "ok"}
    assert (tmp_path / "state/data/file").stat().st_uid == me
    assert any(key["mechanism"].startswith("the supervisor's own") for key in keys)


def test_single_keys_hold(tmp_path: Path, ordinary: list[str]) -> None:
    hosts.user_namespaces(tmp_path)
    hosts.landlock(4)
    word = tmp_path / "word"
    word.write_text("quiet")
    host = {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
    units = {
        "own": '[sandbox]\nprocesses = "own"\nipc = "own"\nhostname = "own"\ntime = "own"\n'
        'cgroup = "own"\ntmp = "private"\n',
        "users": "[sandbox.users]\n",
        "none": '[network]\nmode = "none"\n',
        "ports": '[network]\nlisten = ["tcp:8088"]\nconnect = []\n',
        "jit": "[sandbox]\njit = false\n",
        "devices": "[sandbox]\ndevices = []\n",
        "exec": '[sandbox]\nexec = ["/usr/bin"]\n',
        "secret": f'secrets = {{ word = "{word}" }}\n',
        "given": '[sandbox]\nstate = ["a"]\nruntime = ["b"]\ncache = ["c"]\nlogs = ["d"]\n',
        "limits": "[limits]\nfiles = 100\nnice = 5\ncore = 0\n",
    }  # fmt: skip
    texts = {name: HEAD + text + NEVER for name, text in units.items()}
    with Stack(tmp_path, texts, prefix=ordinary, env=environment(tmp_path)) as stack:
        found = {name: seen(stack, name) for name in units}
    spaces = found["own"]["namespaces"]
    changed = {name for name in spaces if spaces[name] != host[name]}
    assert {"pid", "ipc", "uts", "cgroup", "mnt", "user"} <= changed
    assert "time" in changed or "time" not in host
    assert (found["own"]["host"], len(found["own"]["pids"])) == ("own", 2)
    assert found["users"]["uid"] == 0
    assert found["none"]["namespaces"]["net"] != host["net"]
    assert found["ports"]["bind"] == ["ok", "EACCES"]
    assert found["jit"]["code"] == "EACCES"
    assert found["own"]["code"] == "ok"
    assert found["devices"]["kmsg"] == "ENOENT"
    assert found["exec"]["home"] == "ENOENT"
    assert found["secret"]["secret"] == word.read_text()
    assert found["given"]["own"] == {
        f"{name}_DIRECTORY": "ok" for name in ("STATE", "RUNTIME", "CACHE", "LOGS")
    }


REFUSED = {
    "dynamic": ('user = "dynamic"\n', "user", "runs as root"),
    "root": ('user = "root"\n', "root", "runs as root"),
    "port": ('[sandbox]\ncapabilities = ["NET_BIND_SERVICE"]\n', "sandbox.capabilities", "as root"),
    "cable": ('[network]\nmode = "private"\n', "network.mode", "as root"),
    "away": ('[network]\nconnect = ["10.0.0.0/8:443"]\n', "network.connect", "cgroup"),
    "map": ('[sandbox.users]\nmap = ["0:100000:65536"]\n', "sandbox.users", "its own id"),
    "memory": ('[limits]\nmemory = "100MiB"\n', "limits.memory", 'require = "best"'),
}  # fmt: skip


def test_what_takes_root_is_refused_by_name(tmp_path: Path, ordinary: list[str]) -> None:
    units = {name: HEAD + text + NEVER for name, (text, _, _) in REFUSED.items()}
    with Stack(tmp_path, units, prefix=ordinary, env=environment(tmp_path)) as stack:
        for name, (_, key, remedy) in REFUSED.items():
            reason = stack.wait(name, "failed")["reason"]
            assert key in reason, name
            assert remedy in reason, name


def test_without_user_namespaces_landlock_stands_in(tmp_path: Path, ordinary: list[str]) -> None:
    hosts.landlock()
    unix = "[network]\nunix = []\n"
    units = {
        "app": f'[sandbox]\nlevel = "app"\n{unix}', "read": '[sandbox]\nread = ["/etc"]\n',
        "sockets": '[sandbox]\nlevel = "app"\n', "tmp": f'[sandbox]\ntmp = "private"\n{unix}',
        "hide": f'[sandbox]\nlevel = "app"\nview = "hide"\n{unix}',
        "strict": '[sandbox]\nlevel = "strict"\npromises = ["stdio", "rpath", "exec"]\n',
    }  # fmt: skip
    texts = {name: HEAD + text + NEVER for name, text in units.items()}
    sleep = 'command = ["/bin/sleep", "1000"]\n[sandbox]\nlevel = "app"\n' + unix
    prefix = [*ordinary, *hosts.refusing(**hosts.NO_USERS)]
    texts["stays"] = sleep
    with Stack(tmp_path, texts, prefix=prefix, env=environment(tmp_path)) as stack:
        app, read = seen(stack, "app"), seen(stack, "read")
        refused = ("sockets", "tmp", "hide", "strict")
        reasons = {name: stack.wait(name, "failed")["reason"] for name in refused}
        missing = stack.wait("stays", "running")["missing_sandbox"]
    assert (app["etc"], app["home"], app["filter"]) == ("EACCES", "EACCES", "2")
    assert (app["tmp"], app["null"]) == ("ok", "ok")
    assert (read["etc"], read["home"]) == ("EACCES", "EACCES")
    assert [text.split(" ")[0] for text in missing] == ["sandbox.tmp", "sandbox.processes"]
    assert "unix = []" in reasons["sockets"]
    assert "sandbox.tmp" in reasons["tmp"]
    assert "user.max_user_namespaces" in reasons["tmp"]
    assert 'view = "deny"' in reasons["hide"]
    assert "sandbox.processes" in reasons["strict"]


def test_with_neither_nothing_but_base_starts_unless_best_is_enough(
    tmp_path: Path, ordinary: list[str]
) -> None:
    units = {
        "base": "", "app": '[sandbox]\nlevel = "app"\n',
        "best": '[sandbox]\nlevel = "app"\nrequire = "best"\n',
    }  # fmt: skip
    texts = {name: HEAD + text + NEVER for name, text in units.items()}
    prefix = [*ordinary, *hosts.refusing(**hosts.NO_USERS, **hosts.NO_LANDLOCK)]
    with Stack(tmp_path, texts, prefix=prefix, env=environment(tmp_path)) as stack:
        assert seen(stack, "base")["nnp"] == "1"
        assert seen(stack, "best")["filter"] == "2"
        reason = stack.wait("app", "failed")["reason"]
        assert "sandbox.write" in reason
        assert "Landlock" in reason

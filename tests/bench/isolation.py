"""One isolated process: from the request for it to its first byte.

Asked of every tool, as far as it can: pid, mount, ipc and uts namespaces, a read-only root, a
private /tmp, no new privileges, no capabilities, a system call filter; the host's network.

What is in the measured time: for tools that are a command, all of it, from its exec on. For those
that are asked (ours, systemd), the request: of `unboxed` from right before the connection to the
control socket of a supervisor that runs, of the rows that are commands from that command's exec.
"""
from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import harness
from tests.bench.harness import EXEC, START, Bench, Fifo, Tree
from tests.bench.ours import UNBOXED, Units, call
from tests.bench.peers import Command, Peer, Systemd
from tests.bench.session import Session

_LIMIT_S = 20.0
_SETTLE_S = 2.0
_AFTER_S = 0.02  # until a supervisor has done what follows a service's end
_INSIDE = ("/svc", "/fifo", "once")
# The deny-list that all others get, by x86-64 number, as in c/iso.c. Ours is an allow-list.
_DENIED = {
    "ptrace": 101, "mount": 165, "kexec_load": 246, "bpf": 321, "init_module": 175, "reboot": 169,
    "swapon": 167, "keyctl": 250,
}  # fmt: skip
_EPERM, _ALLOW = 0x00050001, 0x7FFF0000

_UNIT = """\
autostart = false
command = ["/svc", "/fifo", "once"]
root = "{root}"
[restart]
when = "never"
[sandbox]
processes = "own"
ipc = "own"
hostname = "own"
"""
_SAME = 'tmp = "private"\nwrite = []\npromises = ["stdio", "rpath", "wpath"]\n'


class Stage(NamedTuple):
    """What all rows share. `root`: a directory with the service in it, which becomes its root."""

    bench: Bench
    home: Path
    root: Path
    filter: int  # descriptor of the deny-list as a program


class Row:
    """A tool that runs one command, and ends with it."""

    def __init__(self, name: str, tool: str | Path, argv: Command, *, asks: bool = False) -> None:
        """`asks`: the service is somebody else's child, and how that ends is not the tool's end:
        one that exits at once may be told as failed."""
        self.name, self.tool = name, str(tool)
        self._argv, self._asks = argv, asks

    def installed(self) -> bool:
        return shutil.which(self.tool) is not None

    def run(self, stage: Stage) -> dict[str, Any]:
        os.lseek(stage.filter, 0, os.SEEK_SET)
        fifo = stage.bench.fifo
        fifo.drain()
        tree = Tree(stage.bench, self._argv, dict(os.environ), pass_fds=[stage.filter])
        try:
            begin = first = None
            while first is None and (record := fifo.read(_LIMIT_S)):
                if record.kind == EXEC:
                    begin = record.ns
                elif record.kind == START:
                    first = record.ns
            code = tree.proc.wait(_LIMIT_S)
            if begin is None or first is None or (code and not self._asks):
                raise RuntimeError(f"it did not run, or failed: exit status {code}")
            sample = {"first_ms": (first - begin) / 1e6}
            if not self._asks:
                sample["all_ms"] = (time.monotonic_ns() - begin) / 1e6
                sample["cpu_ms"] = tree.cpu_s() * 1e3
            return sample
        finally:
            tree.destroy()


class Asked(Row):
    """A running supervisor of ours, asked for a start on its control socket."""

    def __init__(self, name: str, unit: str, session: Session) -> None:
        super().__init__(name, UNBOXED, ())
        self._unit, self._session = unit, session

    def run(self, stage: Stage) -> dict[str, Any]:
        fifo, tree = stage.bench.fifo, self._session.tree
        fifo.drain()
        cpu_s = tree.cpu_s()
        begin, answer = call(self._session.root / "rt" / "control", "Start", units=[self._unit])
        end = time.monotonic_ns()
        record = fifo.read(_LIMIT_S)
        if record is None:
            raise RuntimeError(f"it did not run: {answer}")
        time.sleep(_AFTER_S)
        return {
            "first_ms": (record.ns - begin) / 1e6, "all_ms": (end - begin) / 1e6,
            "cpu_ms": (tree.cpu_s() - cpu_s) * 1e3,
        }  # fmt: skip


class _SystemdRun(Systemd):
    def command(self, tree: Tree, bindir: Path, stage: Stage) -> list[str]:
        """A transient unit that is queued: --wait would need D-Bus."""
        wanted = (
            "NoNewPrivileges=yes", "CapabilityBoundingSet=", "PrivateTmp=yes", "PrivateIPC=yes",
            "ProtectHostname=yes", "ProtectSystem=strict", "SystemCallFilter=~@mount @reboot",
            "DefaultDependencies=no",
        )  # fmt: skip
        fifo = str(stage.root / "fifo")
        enter = [str(bindir / "enter"), fifo, "--"]
        options = [f"--property={one}" for one in wanted]
        service = [str(stage.root / "svc"), fifo, "once"]
        return self._inside(tree, *enter, "systemd-run", "--quiet", *options, *service)


@contextmanager
def rows(bench: Bench) -> Iterator[tuple[Stage, list[Row]]]:
    """All rows, with the supervisors that some of them need running."""
    with place() as home:
        root = _root(home, bench.bindir)
        fifo = Fifo(root / "fifo")
        (home / "filter").write_bytes(_program())
        filtering = os.open(home / "filter", os.O_RDONLY)
        stage = Stage(Bench(bench.bindir, fifo), home, root, filtering)
        sessions: list[Session] = []
        holder = _without_cgroups()
        try:
            yield stage, [
                *_limits(stage), *_ours(stage, sessions), *_commands(stage),
                *_containers(stage, holder), *_systemd(stage, sessions),
            ]  # fmt: skip
        finally:
            for session in sessions:
                session.close()
            holder.kill()
            holder.wait()
            os.close(filtering)
            fifo.close()
            if (home / "pod").exists():
                subprocess.run(["umount", "-q", str(home / "pod/overlay")], check=False)


@contextmanager
def place() -> Iterator[Path]:
    """A tmpfs of our own, where neither a sandbox nor systemd mounts something else."""
    path = harness.scratch("/srv")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "bench", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
        with suppress(OSError):
            path.rmdir()


def _root(home: Path, bindir: Path) -> Path:
    root = home / "root"
    for name in ("proc", "tmp", "dev", "sys", "etc", "run", "var/tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(bindir / "svc", root / "svc")
    return root


def _program() -> bytes:
    """The deny-list, for seccomp(2)."""
    code = [(0x20, 0, 0, 0)]  # load the number
    for number in _DENIED.values():
        code += [(0x15, 0, 1, number), (0x06, 0, 0, _EPERM)]
    return b"".join(struct.pack("=HBBI", *one) for one in [*code, (0x06, 0, 0, _ALLOW)])


def _limits(stage: Stage) -> list[Row]:
    bindir = stage.bench.bindir
    service: Command = [stage.root / "svc", stage.root / "fifo", "once"]
    return [
        Row("(limit) C vfork+exec", bindir / "once", [bindir / "once", *service]),
        Row("(limit) C namespaces+seccomp", bindir / "iso", [bindir / "iso", stage.root, *_INSIDE]),
    ]


def _ours(stage: Stage, sessions: list[Session]) -> list[Row]:
    unit = _UNIT.format(root=stage.root)
    units = Units({"same": unit + _SAME, "app": unit + 'level = "app"\n'})
    if not units.installed():
        return [Row(units.name, units.tool, ())]
    session = _started(stage, units, sessions)
    command: Command = [UNBOXED, "start", "same", "--runtime-dir", session.root / "rt"]
    return [
        Asked("unboxed", "same", session),
        Asked("unboxed, level app", "app", session),
        Row("unboxed start (the command)", UNBOXED, command, asks=True),
    ]


def _started(stage: Stage, peer: Peer, sessions: list[Session]) -> Session:
    sessions.append(Session(stage.bench, peer, 0, stage.home))
    time.sleep(_SETTLE_S)
    return sessions[-1]


def _commands(stage: Stage) -> list[Row]:
    service: Command = [stage.root / "svc", stage.root / "fifo", "once"]
    unshare: Command = [
        "unshare", "-pmiuf", "--mount-proc",
        "setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all",
    ]  # fmt: skip
    bwrap: Command = [
        "bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--ro-bind", stage.root, "/",
        "--proc", "/proc", "--tmpfs", "/tmp", "--cap-drop", "ALL",
        "--seccomp", str(stage.filter), *_INSIDE,
    ]  # fmt: skip
    return [
        Row("unshare + setpriv", "setpriv", [*unshare, *service]),
        Row("bubblewrap", "bwrap", bwrap),
    ]


def _without_cgroups() -> subprocess.Popen[bytes]:
    """crun 1.8 refuses hybrid cgroups: a mount namespace in which there are none."""
    script = (
        "mount -t tmpfs tmpfs /sys/fs/cgroup; mkdir /sys/fs/cgroup/memory; echo; exec sleep 100000"
    )
    holder = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    return holder


def _containers(stage: Stage, holder: subprocess.Popen[bytes]) -> list[Row]:
    root, home = stage.root, stage.home
    enter: Command = [
        "nsenter", "-t", str(holder.pid), "-m", stage.bench.bindir / "enter", root / "fifo", "--"
    ]  # fmt: skip
    _bundle(home, root)
    crun: Command = [
        "crun", "--root", home / "crun", "--cgroup-manager=disabled", "run", "--bundle", home
    ]  # fmt: skip
    podman: Command = [
        "podman", "--root", home / "pod", "--runroot", home / "podrun", "--runtime", "crun",
        "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--storage-driver", "overlay",
    ]  # fmt: skip
    found = [
        Row("crun", "crun", [*enter, *crun, "bench"]),
        Row("podman with crun", "podman", [
            *enter, *podman, "run", "--rm", "--network=host", "--cgroups=disabled",
            "--log-driver=none", "--read-only", "--cap-drop=all",
            "--security-opt=no-new-privileges",
            # Else it asks for the kernel's maxima, which root may not always raise.
            "--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096",
            "-v", f"{root}/fifo:/fifo", "bench", *_INSIDE,
        ]),
    ]  # fmt: skip
    if found[-1].installed():
        image = subprocess.run(
            ["tar", "-C", str(root), "--exclude=fifo", "-c", "."],
            check=True, stdout=subprocess.PIPE,
        ).stdout  # fmt: skip
        subprocess.run(
            [*map(str, podman), "import", "-", "bench"], input=image, check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    return found


def _bundle(home: Path, root: Path) -> None:
    """For crun: the same restrictions, /dev and /proc as small as they come."""
    sets = ("bounding", "effective", "permitted", "inheritable", "ambient")
    spec = {
        "ociVersion": "1.0.2", "root": {"path": str(root), "readonly": True}, "hostname": "bench",
        "process": {
            "terminal": False, "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": _INSIDE,
            "env": ["PATH=/"], "noNewPrivileges": True, "capabilities": {one: [] for one in sets},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": list(_DENIED), "action": "SCMP_ACT_ERRNO"}],
            },
        },
    }  # fmt: skip
    (home / "config.json").write_text(json.dumps(spec))


def _systemd(stage: Stage, sessions: list[Session]) -> Sequence[Row]:
    peer = _SystemdRun()
    name = "systemd-run"
    if not peer.installed() or not shutil.which(name):
        return [Row(name, name, ())]
    session = _started(stage, peer, sessions)
    command = peer.command(session.tree, stage.bench.bindir, stage)
    return [Row(name, name, command, asks=True)]

"""One small class per peer: is it installed, how N services are configured, how it is started,
asked for status and stopped. A peer's own notes say which configuration was chosen and why.

Law: every peer gets the fastest configuration that its documentation offers for this work, so
that being slower is the tool's and never ours. To add a row, subclass `Peer` and name it in
run.py's list.
"""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.harness import Bench, Tree

# What no distribution packages (venvs and built binaries): README.md says how it comes there.
DEPS = Path(os.environ.get("BENCH_DEPS") or Path(tempfile.gettempdir()) / "benchdeps")

Command = Sequence[str | Path]


def write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def words(command: Command) -> str:
    return " ".join(map(str, command))


class Peer:
    """A row of the tables. `configure` comes first, then `argv`, then the others."""

    name = ""
    tool = ""  # executable that must exist
    notes = ""
    namespaced = False  # makes a pid namespace of its own
    env: dict[str, str] = {}  # noqa: RUF012 - a constant of the class
    start_limit_s = 120.0  # allowed for N starts

    def installed(self) -> bool:
        return shutil.which(self.tool) is not None

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        """Write under `root` the configuration of `n` services that run `command`. `log`: a
        directory for what they print, with rotation where the tool has it; None: no capture."""
        raise NotImplementedError

    def argv(self, root: Path) -> Command:
        raise NotImplementedError

    def environ(self, root: Path) -> dict[str, str]:
        path = "/usr/bin:/bin:/usr/sbin:/sbin"  # short: runsvdir and svscan search it every start
        own = {name: value.format(root=root) for name, value in self.env.items()}
        return {**os.environ, "PATH": path, **own}

    def status(self, root: Path, tree: Tree) -> Command | str | None:
        """Prints the state of every service: arguments, or one string for the shell; None: it
        cannot."""
        return None

    def stop(self, root: Path, tree: Tree) -> None:
        """Ask for a clean stop of everything; does not wait."""
        tree.proc.send_signal(signal.SIGTERM)

    def stopped(self, tree: Tree) -> bool:
        """Is everything that was asked to stop gone?"""
        return tree.tasks() == 0

    def role(self, argv: Sequence[str]) -> str:
        """What a process of the layer is called in the memory table, by its arguments."""
        return Path(argv[0]).name if argv and argv[0] else "?"

    def cleanup(self, root: Path) -> None:
        """Take away what a killed supervisor leaves outside `root`."""


class Limit(Peer):
    name = "(limit) C vfork+wait"
    notes = "ref.c: vfork+exec, wait, respawn; no configuration, no state, no log"

    def __init__(self, bench: Bench) -> None:
        self.tool = str(bench.bindir / "ref")
        self._arguments: list[str] = []

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        self._arguments = [str(n), *map(str, command)]

    def argv(self, root: Path) -> Command:
        return [self.tool, *self._arguments]


class ScanDirectory(Peer):
    """The daemontools family: one directory per service with a ./run script in it."""

    n = 0

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        self.n = n
        (root / "scan").mkdir()
        for i in range(n):
            service = root / "scan" / f"s{i}"
            service.mkdir()
            write_script(service / "run", f"#!/bin/sh\nexec {words(command)}\n")
            if log:
                (service / "log").mkdir()
                write_script(service / "log" / "run", f"#!/bin/sh\nexec {self.logger(log)}\n")

    def logger(self, log: Path) -> str:
        raise NotImplementedError


class Runit(ScanDirectory):
    name, tool = "runit", "runsvdir"
    notes = "dash run scripts; runsvdir rescans every 5 s; at most 1,000 services"

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        super().configure(root, n, command, log)
        os.utime(root / "scan", (0, 0))  # runsvdir sleeps 1 s on a directory changed this second

    def argv(self, root: Path) -> Command:
        return ["runsvdir", "-P", root / "scan"]

    def status(self, root: Path, tree: Tree) -> str:
        return f"sv status {root}/scan/*"

    def stop(self, root: Path, tree: Tree) -> None:
        tree.proc.send_signal(signal.SIGHUP)  # TERM to every runsv

    def logger(self, log: Path) -> str:
        return f"svlogd -tt {log}"


class S6(ScanDirectory):
    name, tool = "s6", "s6-svscan"
    notes = "dash run scripts (execline is an extra chain of exec); -c raised from 500; -t0"

    def argv(self, root: Path) -> Command:
        return ["s6-svscan", "-c", str(2 * self.n + 10), "-t0", root / "scan"]

    def status(self, root: Path, tree: Tree) -> str:
        return f"for d in {root}/scan/*; do s6-svstat $d; done"

    def logger(self, log: Path) -> str:
        return f"s6-log T n1000 s16777216 {log}"


class S6Ready(S6):
    name = "s6 + notification-fd"
    notes = "as s6, and every service says that it is ready: without that, s6 pauses 1 s a respawn"

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        super().configure(root, n, command, log)
        run = f"#!/bin/sh\necho >&3\nexec 3>&-\nexec {words(command)}\n"
        for i in range(n):
            service = root / "scan" / f"s{i}"
            (service / "notification-fd").write_text("3\n")
            write_script(service / "run", run)


class Daemontools(ScanDirectory):
    name, tool = "daemontools", "svscan"
    notes = "dash run scripts; svscan rescans every 5 s; stop = svc -dx on every service"

    def argv(self, root: Path) -> Command:
        return ["svscan", root / "scan"]

    def status(self, root: Path, tree: Tree) -> str:
        return f"svstat {root}/scan/*"

    def stop(self, root: Path, tree: Tree) -> None:
        super().stop(root, tree)
        subprocess.Popen(["/bin/sh", "-c", f"svc -dx {root}/scan/*"])

    def logger(self, log: Path) -> str:
        return f"multilog t s16777215 n1000 {log}"


class Nitro(ScanDirectory):
    name, tool = "nitro", str(DEPS / "nitro")
    notes = "dash run scripts; built with -DMAXSV=1100 (default 500); run as a plain process"
    env = {"NITRO_SOCK": "{root}/nitro.sock"}  # noqa: RUF012 - a table row, never changed

    def argv(self, root: Path) -> Command:
        return [self.tool, root / "scan"]

    def status(self, root: Path, tree: Tree) -> Command | None:
        # 1,000 services overflow the list's one datagram, and nitroctl waits for ever.
        return [DEPS / "nitroctl", "list"] if self.n <= 500 else None


class Dinit(Peer):
    name, tool = "dinit", str(DEPS / "dinit")
    notes = "user instance; restart-delay=0, restart-limit-interval=0, smooth-recovery=yes"

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        folder = root / "dinit.d"
        (folder / "boot.d").mkdir(parents=True)
        for i in range(n):
            (folder / f"s{i}").write_text(
                f"type = process\ncommand = {words(command)}\nrestart = yes\n"
                "smooth-recovery = yes\nrestart-delay = 0\nrestart-limit-interval = 0\n"
                + (f"logfile = {log}/s{i}.log\n" if log else "")
            )
            (folder / "boot.d" / f"s{i}").symlink_to(f"../s{i}")
        (folder / "boot").write_text(f"type = internal\nwaits-for.d: {folder}/boot.d\n")

    def argv(self, root: Path) -> Command:
        return [self.tool, "-u", "-q", "-d", root / "dinit.d", "-p", root / "sock"]

    def status(self, root: Path, tree: Tree) -> Command:
        return [DEPS / "dinitctl", "-p", root / "sock", "list"]


class Supervisord(Peer):
    name, tool = "supervisord", str(DEPS / "supervisor/bin/supervisord")
    notes = "startsecs=0, autorestart, no capture (logfile=NONE), minfds as small as N allows"

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        out = "stdout_logfile=NONE\n"
        if log:
            out = (
                f"stdout_logfile={log}/out.log\nstdout_logfile_maxbytes=16MB\n"
                "stdout_logfile_backups=1000\n"
            )
        text = (
            f"[unix_http_server]\nfile={root}/sock\n[supervisord]\nnodaemon=true\n"
            f"minfds={max(1024, 3 * n + 100)}\n"  # every child closes this many descriptors
            f"logfile=/dev/null\nlogfile_maxbytes=0\npidfile={root}/pid\n"
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = "
            "supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[supervisorctl]\nserverurl=unix://{root}/sock\n"
        )
        for i in range(n):
            text += (
                f"[program:s{i}]\ncommand={words(command)}\nautorestart=true\n"
                f"startsecs=0\nstderr_logfile=NONE\n{out}"
            )
        (root / "conf").write_text(text)

    def argv(self, root: Path) -> Command:
        return [self.tool, "-c", root / "conf"]

    def status(self, root: Path, tree: Tree) -> Command:
        return [DEPS / "supervisor/bin/supervisorctl", "-c", root / "conf", "status"]


class Circus(Peer):
    name, tool = "circus", str(DEPS / "circus/bin/circusd")
    notes = "one watcher a service, warmup_delay=0, no stats; FileStream for logs"
    start_limit_s = 300.0

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        text = (
            f"[circus]\nendpoint = ipc://{root}/ep\npubsub_endpoint = ipc://{root}/pub\n"
            "statsd = 0\nwarmup_delay = 0\n"
        )
        out = ""
        if log:
            out = (
                f"stdout_stream.class = FileStream\nstdout_stream.filename = {log}/out.log\n"
                "stdout_stream.max_bytes = 16777216\nstdout_stream.backup_count = 1000\n"
            )
        for i in range(n):
            text += f"[watcher:s{i}]\ncmd = {words(command)}\nwarmup_delay = 0\n{out}"
        (root / "ini").write_text(text)

    def argv(self, root: Path) -> Command:
        return [self.tool, root / "ini"]

    def status(self, root: Path, tree: Tree) -> Command:
        ctl = DEPS / "circus/bin/circusctl"
        return [ctl, "--timeout", "60", "--endpoint", f"ipc://{root}/ep", "status"]


class Pm2(Peer):
    name, tool = "pm2", str(DEPS / "pm2/node_modules/.bin/pm2-runtime")
    notes = (
        "pm2-runtime, interpreter none, vizion and pmx off, restart_delay 0, "
        "PM2_CONCURRENT_ACTIONS=8; logs to one file, no rotation without a plugin"
    )
    env = {"PM2_HOME": "{root}/pm2", "PM2_CONCURRENT_ACTIONS": "8"}  # noqa: RUF012 - a table row, never changed
    start_limit_s = 300.0

    def environ(self, root: Path) -> dict[str, str]:
        node = shutil.which("node") or "/usr/bin/node"
        env = super().environ(root)
        return {**env, "PATH": f"{env['PATH']}:{Path(node).parent}"}

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        common = {
            "script": str(command[0]), "args": [str(word) for word in command[1:]],
            "interpreter": "none", "exec_mode": "fork", "restart_delay": 0, "min_uptime": 0,
            "max_restarts": 10**9, "vizion": False, "pmx": False, "automation": False,
            "out_file": f"{log}/out.log" if log else "/dev/null", "error_file": "/dev/null",
        }  # fmt: skip
        apps = [{"name": f"s{i}", **common} for i in range(n)]
        (root / "eco.json").write_text(json.dumps({"apps": apps}))

    def argv(self, root: Path) -> Command:
        return [self.tool, "start", root / "eco.json"]

    def status(self, root: Path, tree: Tree) -> Command:
        return [DEPS / "pm2/node_modules/.bin/pm2", "ls"]

    def stop(self, root: Path, tree: Tree) -> None:
        tree.proc.send_signal(signal.SIGINT)


class Systemd(Peer):
    name, tool = "systemd", "/lib/systemd/systemd"
    namespaced = True
    notes = (
        "PID 1 of a pid, mount and cgroup namespace, name=systemd (v1) hierarchy only, only our "
        "units loaded; Restart=always RestartSec=0, no start limit"
    )

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        folder = root / "units"
        folder.mkdir()
        for i in range(n):
            (folder / f"s{i}.service").write_text(
                "[Unit]\nDefaultDependencies=no\nPartOf=bench.target\nStartLimitIntervalSec=0\n"
                f"[Service]\nExecStart={words(command)}\nRestart=always\nRestartSec=0\n"
                + ("StandardOutput=journal\n" if log else "StandardOutput=null\n")
            )
        wants = "".join(f"Wants=s{i}.service\n" for i in range(n))
        (folder / "bench.target").write_text(f"[Unit]\nDefaultDependencies=no\n{wants}")
        # Into a cgroup namespace and a hierarchy of its own: it writes where its root is.
        write_script(
            root / "init",
            f"""#!/bin/sh -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
export container=bench SYSTEMD_UNIT_PATH={folder}
exec {self.tool} --system --unit=bench.target --log-target=null --show-status=no
""",
        )

    def argv(self, root: Path) -> Command:
        return ["unshare", "-pfmC", "--kill-child", "--mount-proc", root / "init"]

    def _inside(self, tree: Tree, *command: str) -> list[str]:
        pid1 = next(
            pid for pid in tree.pids()
            if pid != tree.proc.pid and os.readlink(f"/proc/{pid}/exe").endswith("systemd/systemd")
        )  # fmt: skip
        return ["nsenter", "-t", str(pid1), "-m", "-p", *command]

    def status(self, root: Path, tree: Tree) -> Command:
        return self._inside(tree, "systemctl", "--no-pager", "list-units", "--type=service")

    def stop(self, root: Path, tree: Tree) -> None:
        subprocess.Popen(self._inside(tree, "systemctl", "--no-block", "stop", "bench.target"))

    def stopped(self, tree: Tree) -> bool:
        return tree.tasks() <= 2  # unshare and systemd itself


def all_peers(bench: Bench) -> list[Peer]:
    return [
        Limit(bench), Runit(), S6(), S6Ready(), Daemontools(), Nitro(), Dinit(), Systemd(),
        Supervisord(), Circus(), Pm2(),
    ]  # fmt: skip

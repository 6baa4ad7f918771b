"""`make run`: the demo stack under a supervisor of its own, in a directory of its own.

Law: it leaves nothing behind. Everything is under one temporary directory, which goes when the
supervisor has ended; the dashboard's token goes with the dashboard. The unit files are taken as
they are; what differs here (ports, paths, whom to run as) is said in one drop-in for each, as an
administrator would.

Signals: from a terminal, Ctrl-C reaches the supervisor by itself. Whatever another process sends to
this one is passed on, once.
"""
from __future__ import annotations

import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent  # where `pip install` put both commands
SERVANT = "nobody"  # whom the shop runs as if root starts it; agents of logs are nobody else
SI_KERNEL = 0x80  # si_code of a signal that a terminal sent
PORTS = {"web": 8080, "exporter": 9464, "dashboard": 9465}
LISTENERS = {"web": "http", "exporter": "metrics", "dashboard": "page"}
TRIES = 100


class CannotRun(Exception):
    """Why there is nothing to see, in words for people."""


def main() -> int:
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        lacking = no_dashboard()
        ports: dict[str, int] = {}
        for unit, port in PORTS.items():
            if unit != "dashboard" or not lacking:
                ports[unit] = free_port(unit, port, ports.values())
        place = Path(tempfile.mkdtemp(prefix="unboxed-demo-"))
    except (CannotRun, OSError) as error:
        print(f"cannot run the demo: {error}; nothing was started", file=sys.stderr)
        return 1
    try:
        env = environment(place)
        lay_out(place, ports, env)
        print(what_to_try(place, ports, lacking), flush=True)
        return supervise(place, env, signals)
    except (CannotRun, OSError) as error:
        print(f"cannot run the demo: {error}; nothing runs any more", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(place, ignore_errors=True)


def no_dashboard() -> str:
    """Why there is none, "" if there is one. Under root it is a user of its own, to whom a checkout
    in /root is closed."""
    if not all(find_spec(library) for library in ("starlette", "uvicorn")):
        return "its libraries are not installed"
    if os.geteuid() == 0:
        command = BIN / "unboxed"
        for path in (command, *command.parents):
            if not path.stat().st_mode & 0o001:
                return f"other users may not use {path}; `make run VENV=DIR` puts it elsewhere"
    return ""


def free_port(unit: str, wanted: int, given: Collection[int]) -> int:
    """`wanted` or the next that nobody has and no other unit was `given`, and a word about it. The
    supervisor binds it a moment later, and says so by itself if somebody was faster."""
    for port in range(wanted, wanted + TRIES):
        if port in given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                probe.listen(1)
            except OSError:
                continue
        if port != wanted:
            print(f"port {wanted} is taken, so {unit} listens on {port}")
        return port
    raise CannotRun(f"no free port for {unit} from {wanted} to {wanted + TRIES - 1}")


def environment(place: Path) -> dict[str, str]:
    """What makes a command talk to this supervisor, and not to another one of this host."""
    return {
        "UNBOXED_RUNTIME_DIR": str(place / "run"),
        "UNBOXED_STATE_DIR": str(place / "state"),
        "UNBOXED_LOG_DIR": str(place / "log"),
    }


def lay_out(place: Path, ports: Mapping[str, int], env: Mapping[str, str]) -> None:
    """Programs, unit files, drop-ins and the data directory."""
    servant = SERVANT if os.geteuid() == 0 else ""
    place.chmod(0o755)  # the servant comes in, too
    data = place / "data"
    data.mkdir(mode=0o700)
    report = place / "report"
    report.mkdir()
    if servant:
        os.chown(data, pwd.getpwnam(servant).pw_uid, -1)
        report.chmod(0o777)  # whoever logtail is: it may be another one after each restart
    (place / "token").mkdir(mode=0o700)
    # A copy: the servant may not be allowed to look into this checkout.
    shutil.copytree(HERE / "app", place / "app", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [place / "app", *(place / "app").iterdir()]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    units = place / "units"
    units.mkdir()
    sources = sorted(HERE.glob("*.toml"))
    if "dashboard" in ports:
        sources.append(HERE.parent / "agents" / "dashboard.toml")
    for source in sources:
        shutil.copy(source, units)
        drop_in = units / f"{source.name}.d" / "demo.toml"
        text = settings(source.stem, place, ports, servant)
        if text:
            drop_in.parent.mkdir()
            drop_in.write_text(text)
    exports = [f'export {name}="{value}"\n' for name, value in env.items()]
    (place / "env").write_text("".join([*exports, f'export PATH="{BIN}:$PATH"\n']))


def settings(unit: str, place: Path, ports: Mapping[str, int], servant: str) -> str:
    """The drop-in of one unit, "" for the group. The data are here, not in /var/lib. What this host
    cannot enforce, `unboxed status` tells."""
    if unit == "demo":
        return ""
    sandbox = '\n[sandbox]\nrequire = "best"\nstate = []\n'
    listen = (
        f'\n[[listen]]\nname = "{LISTENERS[unit]}"\naddress = "tcp:127.0.0.1:{ports[unit]}"\n'
        if unit in ports else "")
    if unit == "dashboard":
        # One in /run is made for a user that nobody knows yet. An ordinary user may have no such.
        token = f"/run/{place.name}" if servant else f"{place}/token"
        own = f'runtime = ["{place.name}"]\n' if servant else f'write = ["{token}"]\n'
        words = [str(BIN / "unboxed"), "agent", "dashboard", "--show", "--state", token]
        # Its address is for whoever started this, who reads it where everything else is said.
        return f'command = {json.dumps(words)}\n{sandbox}{own}\n[logs]\nto = "inherit"\n{listen}'
    data = place / ("report" if unit == "logtail" else "data")
    user = f'user = "{servant}"\n' if servant and unit != "logtail" else ""
    env = f'\n[env]\nSHOP_DATA = "{data}"\n'
    return f'directory = "{place}"\n{user}{env}{sandbox}write = ["{data}"]\n{listen}'


def what_to_try(place: Path, ports: Mapping[str, int], lacking: str) -> str:
    url = f"http://127.0.0.1:{ports['web']}/"
    dashboard = f"there is none: {lacking}" if lacking else "says below where to open it"
    return f"""
  The shop            {url}
  Figures             http://127.0.0.1:{ports['exporter']}/metrics
  The dashboard       {dashboard}

  In another terminal, first:   . {shlex.quote(str(place / "env"))}
  then try:                     unboxed status
                                unboxed status web
                                unboxed logs -f web
                                unboxed kill -s KILL web/0    and reload the page: nothing is lost
                                unboxed why web/0
                                unboxed exec web/0 -- ls /home /tmp    what it sees of this host
                                unboxed audit
                                unboxed restart web
                                unboxed events
                                unboxed top

  Ctrl-C ends everything, in order.
"""


def supervise(place: Path, env: Mapping[str, str], signals: set[signal.Signals]) -> int:
    """Run the supervisor until it ends. Returns its exit status."""
    terminal = os.isatty(0) and os.isatty(1)
    command = [str(BIN / "unboxed"), "run", "--units", str(place / "units")]
    try:
        # Without a terminal it gets a process group of its own, so that a signal to the group
        # (as `kill -INT -PGID` sends it) comes to it once, by way of this process.
        child = subprocess.Popen(
            command, env={**os.environ, **env}, process_group=None if terminal else 0,
            preexec_fn=lambda: signal.pthread_sigmask(  # noqa: PLW1509 - there are no threads
                signal.SIG_UNBLOCK, signals))
    except OSError as error:
        raise CannotRun(f"{command[0]}: {error.strerror}") from None
    while child.poll() is None:
        got = signal.sigwaitinfo(signals)
        if got.si_signo == signal.SIGCHLD or (terminal and got.si_code == SI_KERNEL):
            continue
        number = signal.SIGTERM if got.si_signo == signal.SIGHUP else got.si_signo
        try:
            child.send_signal(number)
        except ProcessLookupError:
            continue
    status: int = child.returncode
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    sys.exit(main())

"""PostgreSQL under its preset: transactions of many clients, restart, reload, a clean stop."""
from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from tests.scenario.sandbox import real
from tests.stack import Stack

NAME = f"{real.PREFIX}postgres"
DATA = f"/var/lib/{NAME}/main"
SOCKETS = f"/run/{NAME}"
pytestmark = real.needs_root
place = pytest.fixture(real.place)


def tools() -> Path:
    """The directory of the newest version that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("postgres is not installed")
    return found[-1].parent


def run(tool: str, *words: str) -> str:
    """A client that connects through the socket, as the host's user postgres."""
    env = {"PATH": os.defpath, "PGHOST": SOCKETS, "PGUSER": "postgres", "HOME": "/"}
    done = subprocess.run(
        [str(tools() / tool), *words], env=env, cwd="/", user="postgres", check=False,
        capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def sql(text: str) -> str:
    return run("psql", "-Atc", text, "postgres").strip()


def test_it_serves_transactions_restarts_reloads_and_stops(tmp_path: Path, place: Path) -> None:
    server = f'command = ["{tools()}/postgres", "-D", "{DATA}", "-k", "{SOCKETS}", "-h", ""]\n'
    first_time = f"test -e {DATA} || {tools()}/initdb -D {DATA} --no-sync --auth=peer -E UTF8"
    directories = f'[sandbox]\nstate = ["{NAME}"]\nruntime = ["{NAME}"]\n'
    real.preset(tmp_path, NAME, "postgres", directories)
    hook = f'[start]\nbefore = [["/bin/sh", "-c", "{first_time}"]]\n'
    with Stack(tmp_path, {NAME: server + hook}) as stack:
        pid = stack.wait(NAME, "running", timeout=50)["pid"]
        real.confined(pid, user=pwd.getpwnam("postgres").pw_uid)
        assert sql("show dynamic_shared_memory_type") == "posix"  # it has a /dev/shm
        run("pgbench", "--initialize", "--quiet", "postgres")
        told = run("pgbench", "--client=8", "--jobs=2", "--transactions=50", "postgres")
        assert "number of transactions actually processed: 400/400" in told
        assert sql("select count(*) from pgbench_history") == "400"

        Path(DATA, "postgresql.auto.conf").write_text("work_mem = '5MB'\n")
        stack.call("Reload", units=[NAME], wait=True)
        stack.until(lambda: sql("show work_mem") == "5MB", "the new configuration")

        stack.call("Restart", units=[NAME], wait=True)
        assert stack.wait(NAME, "running")["pid"] != pid
        assert sql("select count(*) from pgbench_history") == "400"
        real.stopped_cleanly(stack, NAME)
        assert not Path(SOCKETS).exists()

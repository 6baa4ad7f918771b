"""gunicorn under its preset: it serves from a socket that is held for it, reloads and restarts."""
from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenario.sandbox import real
from tests.stack import Stack

NAME = f"{real.PREFIX}gunicorn"
APP = """
import os, tempfile

def app(environ, start):
    with tempfile.TemporaryFile() as file:  # a place of its own to write to
        file.write(environ["PATH_INFO"].encode())
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"{version} from " + str(os.getuid() != 0).encode()]
"""
pytestmark = real.needs_root
place = pytest.fixture(real.place)


@pytest.fixture
def shop(place: Path) -> Path:
    """A virtual environment with gunicorn in it, as an application has one, and an application."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(place / "venv")], check=True
    )
    (packages,) = (place / "venv" / "lib").glob("python3*/site-packages")
    for name in ("gunicorn", "packaging"):
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            pytest.skip(f"{name} is not installed")
        shutil.copytree(Path(found.origin).parent, packages / name)
    write(place, "one")
    subprocess.run(["chmod", "-R", "go+rX", str(place)], check=True)
    return place


def write(shop: Path, version: str) -> None:
    (shop / "shop.py").write_text(APP.format(version=version))
    (shop / "shop.py").chmod(0o644)


def test_it_serves_under_load_reloads_restarts_and_stops(tmp_path: Path, shop: Path) -> None:
    port = real.free_port()
    unit = (
        f'command = "{shop}/venv/bin/python -m gunicorn --workers 2 --threads 4 shop:app"\n'
        f'directory = "{shop}"\n[[listen]]\naddress = "tcp:127.0.0.1:{port}"\n'
    )
    real.preset(tmp_path, NAME, "gunicorn")
    with Stack(tmp_path, {NAME: unit}) as stack:
        arbiter = stack.wait(NAME, "running")["pid"]
        real.confined(arbiter)
        real.http_load(port, "/", b"one from True")

        write(shop, "two")
        stack.call("Reload", units=[NAME], wait=True)
        stack.until(lambda: real.get(port, "/") == b"two from True", "the new application")
        assert stack.row(NAME)["pid"] == arbiter

        stack.call("Restart", units=[NAME], wait=True)
        assert stack.row(NAME)["pid"] != arbiter
        real.http_load(port, "/", b"two from True")
        real.stopped_cleanly(stack, NAME)

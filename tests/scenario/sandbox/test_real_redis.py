"""Redis under its preset: it answers many clients at once, and keeps its data over restarts."""
from __future__ import annotations

import socket
from pathlib import Path
from typing import Self

import pytest

from tests.scenario.sandbox import real
from tests.stack import Stack

NAME = f"{real.PREFIX}redis"
PAIRS = 100  # of each client
place = pytest.fixture(real.place)


class Client:
    """The protocol of Redis (RESP), as far as it is needed here."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def __call__(self, *words: str) -> str:
        parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
        self._socket.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
        kind, rest = self._line()
        assert kind != "-", rest
        if kind != "$":
            return rest
        return self._file.read(int(rest) + 2)[:-2].decode()

    def _line(self) -> tuple[str, str]:
        line = self._file.readline().decode().rstrip("\r\n")
        return line[:1], line[1:]


@real.needs_root
def test_it_answers_under_load_keeps_its_data_restarts_and_stops(
    tmp_path: Path, place: Path
) -> None:
    port = real.free_port()
    words = [real.program("redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    real.preset(tmp_path, NAME, "redis")

    def load(number: int) -> None:
        with Client(port) as redis:
            for turn in range(PAIRS):
                assert redis("SET", f"key:{number}:{turn}", f"value {turn}") == "OK"
                assert redis("GET", f"key:{number}:{turn}") == f"value {turn}"

    with Stack(tmp_path, {NAME: f"command = {words}\n"}) as stack:
        first = stack.wait(NAME, "running")["pid"]
        real.confined(first)
        real.at_once(load)
        with Client(port) as redis:
            assert redis("EVAL", "return redis.call('DBSIZE')", "0") == str(real.CLIENTS * PAIRS)
            assert redis("BGSAVE").startswith("Background saving")
            stack.until(lambda: "rdb_bgsave_in_progress:0" in redis("INFO"), "a child to save")
            assert "rdb_last_bgsave_status:ok" in redis("INFO")
        stack.call("Restart", units=[NAME], wait=True)
        second = stack.wait(NAME, "running")["pid"]
        assert second != first
        with Client(port) as redis:
            assert redis("DBSIZE") == str(real.CLIENTS * PAIRS)
        real.stopped_cleanly(stack, NAME)
    assert Path(f"/var/lib/private/{NAME}/dump.rdb").exists()


def test_it_keeps_its_data_under_a_supervisor_without_root(tmp_path: Path) -> None:
    port, home = real.free_port(), tmp_path / "home"
    words = [real.program("redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    here = f'directory = "{home}/{NAME}"\n[sandbox]\nrequire = "best"\n'  # instead of /var/lib
    real.preset(tmp_path, NAME, "redis", here)
    home.mkdir()
    prefix = real.ordinary(tmp_path)
    env = {"XDG_STATE_HOME": str(home)}
    with Stack(tmp_path, {NAME: f"command = {words}\n"}, env=env, prefix=prefix) as stack:
        row = stack.wait(NAME, "running")
        if row["missing_sandbox"]:
            pytest.skip(f"not all of it can be had without root here: {row['missing_sandbox']}")
        real.confined(row["pid"], user=(home / NAME).stat().st_uid)
        with Client(port) as redis:
            assert redis("SET", "who", "Ada") == "OK"
        stack.call("Restart", units=[NAME], wait=True)
        with Client(port) as redis:
            assert redis("GET", "who") == "Ada"
        real.stopped_cleanly(stack, NAME)
    assert (home / NAME / "dump.rdb").exists()


@real.needs_root
def test_configuration_that_wants_other_directories_is_told_why(
    tmp_path: Path, place: Path
) -> None:
    log = place / "redis.log"
    words = [real.program("redis-server"), "--port", "0", "--logfile", str(log)]
    real.preset(tmp_path, NAME, "redis", '[restart]\nwhen = "never"\n')
    with Stack(tmp_path, {NAME: f"command = {words}\n"}) as stack:
        stack.wait(NAME, "failed")
        said = "".join(path.read_text() for path in sorted((stack.log / NAME).glob("*.log")))
        assert f"Can't open the log file: {'Read-only file system'}" in said
        assert not log.exists()

"""The keeper as the first process of a machine: real PID 1, pure cgroup v2, Ctrl-Alt-Del.

It does not boot machines: a script mounts what there must be before it. Its end is therefore what
the end of PID 1 is to a kernel, a panic, which says with which status it came.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.keeper.keeperclient import small_program
from tests.vm.machine import HOST, Machine, failures, inside, names, needs_machine

INSIDE = Path(__file__).with_name("inside_first_process.py")
ONE = """
command = ["/bin/sh", "-c", '''
trap 'echo one heard it' USR1
echo one says hello
while :; do sleep 1; done''']
"""
DAEMON = """
autostart = false
command = ["/bin/sh", "-c", '''
(setsid sh -c 'trap "" TERM HUP; setsid sleep 1001 & exec sleep 1002' &)
trap "" TERM
exec sleep 1003''']
[stop]
ladder = ["TERM", "1s", "KILL"]
"""
UNITS = {
    "one": ONE,
    "two": 'command = ["/bin/sleep", "1000"]\n[needs]\nrequires = ["one"]\n',
    "daemon": DAEMON,
}
# `beside` runs beside PID 1, which the shell becomes, and is none of its session. The kernel's own
# answer to Ctrl-Alt-Del would be a reset.
SCRIPT = f"""
echo 0 >/proc/sys/kernel/ctrl-alt-del
setsid sh {HOST}/beside </dev/null &
export UNBOXED_STATE_DIR=/run/state UNBOXED_LOG_DIR=/run/log
exec "$PYTHON" -m supervisor.cli run --plain --units {HOST}/units
"""
ENDED = "Attempted to kill init! exitcode=0x00000000"  # as the kernel words status 0


def machine(home: Path, beside: str) -> Machine:
    (home / "units").mkdir()
    for name, text in UNITS.items():
        (home / "units" / f"{name}.toml").write_text(text)
    shutil.copy(small_program(), home / "small")
    (home / "beside").write_text(f"{beside}\n")
    return Machine(home, SCRIPT)


def assert_stopped_in_order(console: str) -> None:
    assert ENDED in console
    assert console.index("two: down") < console.index("one: down")


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], str]]:
    """How the tests inside went, and the console of a machine that ended with Ctrl-Alt-Del."""
    home = tmp_path_factory.mktemp("first")
    with machine(home, f"{inside(INSIDE)}; echo tests are done >/dev/console") as made:
        made.until("tests are done")
        made.ctrl_alt_del()
        yield failures(home), made.ended()


@needs_machine
@pytest.mark.parametrize("name", names(INSIDE))
def test_inside(life: tuple[dict[str, str], str], name: str) -> None:
    found = {key: words for key, words in life[0].items() if key.partition("[")[0] == name}
    assert found
    assert not "".join(found.values())


@needs_machine
def test_ctrl_alt_del_stops_everything_in_order(life: tuple[dict[str, str], str]) -> None:
    assert "SIGINT to the supervisor from the keyboard" in life[1]
    assert_stopped_in_order(life[1])


@needs_machine
def test_a_shutdown_stops_everything_in_order(tmp_path: Path) -> None:
    ask = "from tests.vm.inside_first_process import *; Here().call('Shutdown')"
    with machine(tmp_path, f'"$PYTHON" -c "{ask}" >/dev/console 2>&1') as made:
        assert_stopped_in_order(made.ended())

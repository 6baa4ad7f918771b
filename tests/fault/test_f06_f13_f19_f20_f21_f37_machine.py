"""Faults 6, 13, 19, 20, 21 and 37 once more, where the keeper is a machine's first process and
cgroups are v2 alone. They run inside, one after the other, in one machine."""
from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.booted import Booted
from tests.vm.machine import HOST, failures, inside, names, needs_machine, variables_inside

INSIDE = Path(__file__).with_name("inside_machine.py")
# As long as there is that file, a manager that begins is one of that group.
JOIN = '[ ! -e /run/tiny ] || echo 0 >/sys/fs/cgroup/tiny/cgroup.procs; exec "$0" "$@"'

EACH_S = 240  # a test in it: some seconds, unless the host is very busy

pytestmark = [needs_machine, pytest.mark.slow, pytest.mark.timeout(700)]


def joining(lines: list[str]) -> list[str]:
    return ["--", "/bin/sh", "-c", JOIN, *lines[1:]]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], str]:
    """How the tests inside went, and the console."""
    home = tmp_path_factory.mktemp("faults")
    variables = "\n".join(f"export {name}='{what}'" for name, what in variables_inside().items())
    with Booted(home, {}, edit=joining, mebibytes=512, patience_s=600) as machine:
        machine.sh(f"""mkdir -m 1777 /run/tmp; mkdir {HOST}
            mount -t hostfs -o {home} hostfs {HOST}
            {variables}
            {inside(INSIDE, f"--timeout={EACH_S}")}""")
        found = failures(home)
        console = machine.power("off")
    return found, console


@pytest.mark.parametrize("name", names(INSIDE))
def test_inside(life: tuple[dict[str, str], str], name: str) -> None:
    found = {key: words for key, words in life[0].items() if key.partition("[")[0] == name}
    assert found
    assert not "".join(found.values())


def test_f20_where_no_manager_can_be_started_there_is_a_shell_on_the_console(
    life: tuple[dict[str, str], str],
) -> None:
    assert "rescue shell: the manager " in life[1]

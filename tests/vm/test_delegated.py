"""An ordinary user's supervisor on a pure cgroup v2 host, below a group that root gave to them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from stat import S_IXOTH

import pytest

from tests.stack import ROOT, keeper_binary
from tests.vm.machine import POWER_OFF, Machine, failures, inside, names, needs_machine

INSIDE = Path(__file__).with_name("inside_delegated.py")
USER = 1000
# What a system manager does that delegates, as the kernel's cgroup-v2.rst asks: the directory and
# these files, nothing else in it.
SCRIPT = f"""
group=/sys/fs/cgroup/user
mkdir $group $group/session
for each in $group $group/session; do
    chown {USER} $each $each/cgroup.procs $each/cgroup.threads $each/cgroup.subtree_control
done
(echo 0 >$group/session/cgroup.procs
exec setpriv --reuid={USER} --regid={USER} --clear-groups --inh-caps=-all \\
    sh -c '{{inside}}') </dev/null
{POWER_OFF}
"""


def out_of_reach() -> str:
    """A directory of ours that others may not enter, "" if there is none."""
    paths = (ROOT, Path(sys.executable), Path(keeper_binary()))
    closed = (str(at) for path in paths for at in path.parents if not at.stat().st_mode & S_IXOTH)
    return next(closed, "")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    closed = out_of_reach()
    if closed:
        pytest.skip(f"an ordinary user may not enter {closed}")
    home = tmp_path_factory.mktemp("delegated")
    home.chmod(0o777)
    with Machine(home, SCRIPT.format(inside=inside(INSIDE))) as made:
        made.ended()
        yield failures(home)


@needs_machine
@pytest.mark.parametrize("name", names(INSIDE))
def test_inside(results: dict[str, str], name: str) -> None:
    assert not results[name]

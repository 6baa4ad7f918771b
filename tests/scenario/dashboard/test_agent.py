"""The dashboard as an agent: its unit file as it is shipped, started and fed by the supervisor."""
from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import let_in, remove_state
from tests.scenario.dashboard.kit import Visitor, reachable
from tests.stack import ROOT, Stack

SHIPPED = (ROOT / "units/agents/dashboard.toml").read_text()
SAYS = 'command = ["/bin/sh", "-c", "echo begun; exec sleep 1000"]'

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="level app gives it a user of its own")


@pytest.fixture
def state() -> Iterator[str]:
    """The name of a directory in /var/lib, of which nothing is left."""
    name = f"unboxed-dashboard-{os.getpid()}"
    yield name
    remove_state(name)


def unit(state: str) -> str:
    """With another port and directory, and with the program of this tree."""
    command = json.dumps([sys.executable, "-m", "supervisor.cli", "agent", "dashboard"])
    text = SHIPPED.replace('"unboxed agent dashboard"', command).replace(":9465", ":0")
    text = text.replace('"unboxed-dashboard"', f'"{state}"')
    return text + f'\n[env]\nPYTHONPATH = "{ROOT}"\nPYTHONDONTWRITEBYTECODE = "1"\n'


def visitor(stack: Stack, state: str) -> Visitor:
    """Whom the address lets in, with the token that is in its directory only."""
    stack.until(lambda: "to whoever has the token" in printed(stack), "the address")
    [address] = re.findall(r"serving (http://\S+) ", printed(stack))
    token = Path("/var/lib", state, "token").read_text().strip()
    assert token not in printed(stack)
    return Visitor(f"{address}?token={token}")


def printed(stack: Stack) -> str:
    return "".join(path.read_text() for path in stack.log.glob("dashboard*/*.log"))


def test_it_shows_the_units_and_their_lines_and_operates_none(
    tmp_path: Path, state: str
) -> None:
    if not reachable(sys.prefix):
        pytest.skip(f"{sys.prefix} is closed to other users")
    let_in(tmp_path)
    with Stack(tmp_path, {"dashboard": unit(state), "web": SAYS}) as stack:
        browser = visitor(stack, state)
        seen = browser.until("web", lambda seen: (
            "begun" in seen["lines"] and seen["rows"].get("web", {}).get("state") == "running"))
        assert seen["link"]["socket"] == "status"
        assert not any(row["act"] for row in seen["rows"].values())
        assert set(seen["rows"]) == {"dashboard", "web"}
        assert seen["rows"]["dashboard"]["attached"] == ["web"]
        assert seen["rows"]["web"]["agents"] == ["dashboard"]
        browser.until("", lambda seen: seen["rows"].get("dashboard", {}).get("behind") == 0)
        assert Path(f"/proc/{stack.row('dashboard')['pid']}").stat().st_uid != 0

        stack.call("Restart", units=["dashboard"])
        stack.until(lambda: printed(stack).count("to whoever has the token") == 2, "it to be back")
        browser.until("web", lambda seen: "web" in seen["rows"])


def test_a_drop_in_gives_it_the_control_socket_and_so_what_its_user_may(
    tmp_path: Path, state: str
) -> None:
    let_in(tmp_path)
    stack = Stack(tmp_path, {"dashboard": unit(state), "web": SAYS})
    drop_in = stack.units / "dashboard.toml.d" / "operate.toml"
    drop_in.parent.mkdir()
    drop_in.write_text(f'user = "root"\n[sandbox]\nwrite = ["{stack.runtime}/control"]\n')
    with stack:
        seen = visitor(stack, state).until("web", lambda seen: "web" in seen["rows"])
        assert seen["link"]["socket"] == "control"
        assert seen["rows"]["web"]["act"] is True

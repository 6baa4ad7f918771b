"""Fault 42, the unit file's part: what is no user name is refused, wherever a name may stand.

A name that looks right and is unknown is refused at launch, where users are looked up.
"""
from __future__ import annotations

import pytest

from supervisor.config.load import load_text
from supervisor.config.problem import Broken
from supervisor.model.unit import Unit

NO_NAMES = [
    '"0day"', '"0x0"', '"-1"', '"4294967295"', '""', '"dynamic"', '"0"', '"+0"', '"00"', '"1000"',
    '"r\u00f6\u00f6t"', '"\uff52oot"', '"root\u200b"', '"\u0660"', '"root "', '" root"', '"#0"',
    '"root\\n"', '"root\\u0000"', '"root:x"', '"../root"', "0", "-1", "4294967295", "0x0", "0.0",
    "true", "[]", "{}", "1979-05-27", "nan",
]  # fmt: skip
PLACES = {
    "user": "user = {}",
    "group": "group = {}",
    "groups": 'groups = ["ok", {}]',
    "listen[0].user": '[[listen]]\naddress = "unix:/x"\nuser = {}',
    "listen[0].group": '[[listen]]\naddress = "unix:/x"\ngroup = {}',
}


@pytest.mark.parametrize(
    "place, value",
    [(place, value) for place in PLACES for value in NO_NAMES
     if (place, value) != ("user", '"dynamic"')],  # the one place where it is a word, not a name
)
def test_what_is_no_user_name_is_refused(place: str, value: str) -> None:
    text = 'command = "/bin/x"\n' + PLACES[place].replace("{}", value) + "\n"
    found = load_text("web", text, "web.toml")
    assert isinstance(found, Broken)
    assert len(found.problems) == 1
    assert found.problems[0].key.startswith(place)
    assert found.problems[0].message.startswith("cannot use ")
    assert str(found.problems[0]).isprintable()


@pytest.mark.parametrize("name", ["root", "www-data", "_apt", "first.last", "HOST$", "A1"])
def test_ordinary_names_are_accepted(name: str) -> None:
    found = load_text("web", f'command = "/bin/x"\nuser = "{name}"\n', "web.toml")
    assert isinstance(found, Unit)
    assert found.user == name

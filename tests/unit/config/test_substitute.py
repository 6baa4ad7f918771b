"""Where substitutions may stand, and which ports they name."""
from __future__ import annotations

from supervisor.config.substitute import ports_named, texts
from supervisor.model.sandbox import Network, Opened, Sandbox, Secret
from supervisor.model.unit import Reload, Start, Stop, Unit


def test_ports_named() -> None:
    assert ports_named("a{port:x}{port:y}b{port:z") == ["x", "y", "z"]
    assert ports_named("{port}{unit}") == []


def test_every_text_that_is_filled_in_is_looked_at() -> None:
    unit = Unit(
        "web",
        command=("a", "b"),
        directory="/d",
        env=(("E", "e"),),
        env_files=("/f",),
        start=Start(before=(("g",), ("h", "i")), after=(("j",),)),
        stop=Stop(command=("k",)),
        reload=Reload("command", command=("l",)),
        root="/m",
        secrets=(Secret("db", "/n"),),
        sandbox=Sandbox(
            read=("/o", "/p"), write=("/q",), exec=("/r",), open=(Opened("/s", 3),)
        ),
        network=Network(unix=("/t",)),
    )
    assert list(texts(unit)) == [
        ("command", "a"),
        ("command", "b"),
        ("directory", "/d"),
        ("env.E", "e"),
        ("env_files", "/f"),
        ("start.before", "g"),
        ("start.before", "h"),
        ("start.before", "i"),
        ("start.after", "j"),
        ("stop.command", "k"),
        ("reload.command", "l"),
        ("root", "/m"),
        ("secrets.db", "/n"),
        ("sandbox.read", "/o"),
        ("sandbox.read", "/p"),
        ("sandbox.write", "/q"),
        ("sandbox.exec", "/r"),
        ("sandbox.open", "/s"),
        ("network.unix", "/t"),
    ]

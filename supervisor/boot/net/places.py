"""Where the steps of the network read and write."""
from __future__ import annotations

import os

from msgspec import Struct

from supervisor.boot import _console
from supervisor.boot.net import resolver, udev
from supervisor.config import machine_file


class Places(Struct, frozen=True):
    """`folder`: what is known until the machine goes down. `last`: the copy of the file; `runtime`:
    where the supervisor is found whose units follow. "" for none of these, nor a console."""

    file: str
    folder: str
    resolv: str = resolver.PATH
    udev: str = udev.FOLDER
    last: str = ""
    runtime: str = ""
    console: str = ""


def places(file: str = machine_file.PATH) -> Places:
    from supervisor.model.paths import paths

    found = paths(os.environ, os.geteuid())
    if file != machine_file.PATH:  # the units know of no other
        return Places(file, f"{found.runtime}/network")
    return Places(
        file, f"{found.runtime}/network", last=f"{found.state}/network.last.toml",
        runtime=found.runtime, console=_console.PATH,
    )

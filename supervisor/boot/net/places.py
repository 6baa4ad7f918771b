"""Where the steps of the network read and write."""
from __future__ import annotations

import os

from msgspec import Struct

from supervisor.boot.net import resolver, udev
from supervisor.config import machine_file


class Places(Struct, frozen=True):
    """`folder`: what is known until the machine goes down."""

    file: str
    folder: str
    resolv: str = resolver.PATH
    udev: str = udev.FOLDER


def places(file: str = machine_file.PATH) -> Places:
    from supervisor.model.paths import paths

    return Places(file, paths(os.environ, os.geteuid()).runtime + "/network")

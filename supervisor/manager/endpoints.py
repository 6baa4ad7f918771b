"""The file that says which instances there are and where they listen, for agents and for people.

Law: a reader sees the old or the new, never half of one; and what it says of an instance is true
after SETTLE_NS at the latest. A thousand units that start at once are a few writes.
"""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct, json

from supervisor.kernel.listen import label
from supervisor.manager.given import shared
from supervisor.manager.reports import state
from supervisor.model.state import Instance
from supervisor.model.unit import SECOND_NS, Listen

if TYPE_CHECKING:
    from supervisor.manager.supervisor import Supervisor

SETTLE_NS = SECOND_NS // 20
RETRY_NS = 5 * SECOND_NS


class Listener(Struct, frozen=True, gc=False):
    name: str
    address: str


class Endpoint(Struct, frozen=True, gc=False):
    key: str
    unit: str
    instance: int
    state: str
    pid: int
    ready: bool
    listeners: tuple[Listener, ...]


class Endpoints:
    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup
        self._said = False  # that it cannot be written

    def changed(self) -> None:
        self._sup.endpoints_ns = self._sup.endpoints_ns or self._sup.now() + SETTLE_NS

    def write(self) -> None:
        """Now. Raises nothing: what went wrong is said, and tried again."""
        sup = self._sup
        sup.endpoints_ns = 0
        found = [
            self._endpoint(inst)
            for inst in sup.world.instances.values()
            if sup.world.unit_of(inst).kind != "group"
        ]
        data = json.encode({"units": found}) + b"\n"
        try:
            _replace(f"{shared(sup.paths)}/endpoints.json", data)
            _link(sup.paths.runtime)
            self._said = False
        except OSError as exc:
            if not self._said:
                words = f"cannot write endpoints.json: {exc.strerror}; what is there may be old"
                sup.report(words)
            self._said = True
            sup.endpoints_ns = sup.now() + RETRY_NS

    def _endpoint(self, inst: Instance) -> Endpoint:
        unit = self._sup.launched.get(inst.key) or self._sup.world.unit_of(inst)
        rows = [Listener(one.name, self._address(inst, one)) for one in unit.listen]
        return Endpoint(
            inst.key, inst.unit, inst.index, state(inst), inst.pid, inst.phase == "up", tuple(rows)
        )

    def _address(self, inst: Instance, one: Listen) -> str:
        """With the port that the kernel chose, where that is its."""
        words = label(one)
        if one.port or one.path:
            return words
        unit = self._sup.world.unit_of(inst)
        port = self._sup.launcher.descriptors.port(unit, inst, one)
        return f"{words.rpartition(':')[0]}:{port or 0}"


def _replace(path: str, data: bytes) -> None:
    """Raises OSError."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    fresh = f"{path}.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(fd, 0o644)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
    os.rename(fresh, path)


def _link(runtime: str) -> None:
    try:
        os.symlink("shared/endpoints.json", f"{runtime}/endpoints.json")
    except FileExistsError:
        pass  # from the last time

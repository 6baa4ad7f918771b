"""Descriptors that the keeper holds for units: kept, let go, bound and passed to services.

Law: an address is bound once and outlives who serves it: the keeper holds the socket, under a name
that says whose it is and by which definition. What has another definition is another listener.
"""
from __future__ import annotations

import os
from binascii import crc32
from errno import EADDRINUSE

from supervisor.kernel import listen as sockets
from supervisor.kernel.keeper import Keeper
from supervisor.kernel.users import UnknownName
from supervisor.model.state import Instance
from supervisor.model.unit import Listen, Unit


class Descriptors:
    def __init__(self, keeper: Keeper, stored: set[str]) -> None:
        """`stored`: names that the keeper holds."""
        self._keeper = keeper
        self.stored = stored

    def keep(self, name: str, fd: int) -> None:
        self._keeper.put(name, fd)
        self.stored.add(name)

    def drop(self, name: str) -> None:
        if name in self.stored:
            self.stored.discard(name)
            self._keeper.named("DROP", name)

    def passed(self, unit: Unit, inst: Instance, *, dry: bool) -> list[tuple[str, str]]:
        """Stored name, and the name for the service: listeners first, then what it parked by
        FDSTORE, as systemd passes them. Raises CannotLaunch."""
        found = []
        for one in unit.listen:
            base = self._base(unit, inst, one)
            found.append((self._find(base) or (base if dry else self._bind(one, base)), one.name))
        parked = sorted(s for s in self.stored if s.startswith(f"fdstore:{inst.key}:"))
        return [*found, *((stored, stored.split(":", 3)[3]) for stored in parked)]

    def _base(self, unit: Unit, inst: Instance, one: Listen) -> str:
        """The stored name of a listener: another one once its definition changes."""
        owner = inst.key if one.reuse_port else unit.name
        return f"listen:{owner}:{one.name}:{crc32(repr(one).encode()):08x}"

    def _find(self, base: str) -> str:
        """The listener as it is stored, "" if it is not. One of port 0 has the port that the kernel
        chose behind its name."""
        if base in self.stored:
            return base
        return next((s for s in self.stored if s.startswith(base + ":")), "")

    def drop_stale(self, unit: Unit, inst: Instance) -> None:
        """Let go of the listeners that the unit's definition has no more, or their addresses could
        be given to nobody else. What runs has its own descriptors and goes on with them."""
        keep = tuple(self._base(unit, inst, one) for one in unit.listen)
        whose = (f"listen:{inst.key}:", f"listen:{unit.name}:")
        for name in [s for s in self.stored if s.startswith(whose) and not s.startswith(keep)]:
            self.drop(name)

    def port(self, unit: Unit, inst: Instance, one: Listen) -> str:
        if one.port:
            return str(one.port)
        return self._find(self._base(unit, inst, one)).rpartition(":")[2]

    def _bind(self, one: Listen, base: str) -> str:
        prefix = base.rpartition(":")[0] + ":"
        for old in [s for s in self.stored if s.startswith(prefix)]:
            self.drop(old)
        self._keeper.flush()
        try:
            fd = sockets.bind(one)
        except (OSError, UnknownName) as exc:
            from supervisor.manager.launcher import CannotLaunch  # which imports this

            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            if isinstance(exc, OSError) and exc.errno == EADDRINUSE and one.port:
                reason = f"{reason}; `unboxed ports` shows by whom"
            raise CannotLaunch(
                f"cannot bind {sockets.label(one)} (listener {one.name}): {reason}"
            ) from exc
        stored = base if one.port or one.path else f"{base}:{sockets.port_of(fd)}"
        self.keep(stored, fd)
        os.close(fd)
        return stored

"""What was seen of a service so far: the notes that the result is made of. No effects.

Law: a note is made once for what differs, so that they stay as few as what the service can do, not
as many as what it did.
"""
from __future__ import annotations

from typing import NamedTuple

from supervisor.kernel.seccomp.least import Seen, shape

_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10


class Found(NamedTuple):
    """A path as the service sees it. `kind`: "file", "directory", "socket", "device", "other", or
    "" where nothing is. `real`: the same without links; of one that is not there, as far as its
    directory."""

    path: str
    real: str
    kind: str


class Address(NamedTuple):
    """Of a socket. `protocol`: "tcp", "udp", "unix", "abstract", or "" for all that no rule is
    about. `name`: path, or host."""

    protocol: str
    name: str = ""
    port: int = 0


class Notes:
    def __init__(self) -> None:
        self.calls: dict[Seen, int] = {}
        self.uses: dict[str, set[str]] = {}  # path -> of meaning.USES
        self.kinds: dict[str, str] = {}
        self.absent: set[str] = set()
        self.refused: set[str] = set()  # by owners and modes, whatever its sandbox is
        self.listens: set[Address] = set()
        self.connects: set[Address] = set()
        self.processes: set[int] = set()
        self.asked = 0

    def call(self, name: str, args: tuple[int, ...], family: int = 0) -> None:
        seen = Seen(name, shape(name, args), family)
        self.calls[seen] = self.calls.get(seen, 0) + 1

    def path(self, found: Found, use: str) -> None:
        if use == "make":
            self._make(found)
        elif found.kind:
            self._use(found.path, found.kind, use)
        elif use != "write":  # "make" tells of a file that comes into being
            self.absent.add(found.path)

    def _make(self, found: Found) -> None:
        self.absent.discard(found.path)
        where = found.path.rstrip("/").rpartition("/")[0] or "/"
        self._use(where, "directory", "write")

    def _use(self, path: str, kind: str, use: str) -> None:
        self.uses.setdefault(path, set()).add(use)
        self.kinds[path] = kind

    def address(self, address: Address, use: str, *, there: bool = True) -> None:
        """`there`: of a unix socket to which it connects, whether it exists."""
        if address.protocol == "unix" and use == "connect" and not there:
            self.absent.add(address.name)
        elif address.protocol:
            (self.listens if use == "bind" else self.connects).add(address)

    def unix_is_needed(self) -> bool:
        """Whether anybody was reached, or was to be: a C library asks for nscd and goes on."""
        return any(one.protocol in ("unix", "abstract") for one in self.listens | self.connects)

    def needed(self) -> list[Seen]:
        """The calls that promises have to allow."""
        unix = self.unix_is_needed()
        return [
            one for one in self.calls
            if unix or not (
                one.family == _AF_UNIX or (one.call == "socket" and one.shape[0] == _AF_UNIX)
            )
        ]  # fmt: skip

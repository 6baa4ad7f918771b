"""From a question of the kernel to notes: which words, paths and addresses the call is about."""
from __future__ import annotations

from supervisor.cli.learning import meaning
from supervisor.cli.learning.notes import Address, Found, Notes
from supervisor.kernel.seccomp.filter import ARCHES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.cli.learning.process import Process

_AT_FDCWD = 2**32 - 100
_INT = 2**32 - 1
_TAKES = ("unlink", "unlinkat", "rmdir")  # entries that are there
_RIGHTS = {"read": 4, "write": 2}
_REPLACES = ("rename", "renameat", "renameat2")


class Watch:
    def __init__(self, arch: str, notes: Notes) -> None:
        self._arch = arch
        self._names = {number: name for name, number in ARCHES[arch].calls.items()}
        self._notes = notes

    def see(self, process: Process, number: int, args: tuple[int, ...]) -> None:
        """One call, which waits meanwhile."""
        call = self._names.get(number)
        if call is None:
            return
        notes = self._notes
        notes.asked += 1
        for place in meaning.places(call, args, self._arch):
            found = self._find(process, place, args)
            if found is not None:
                use = self._use(call, place.use, found)
                if self._may(process, found, use):
                    notes.path(found, use)
                else:
                    notes.refused.add(found.path)
        family, there = self._socket(process, call, args)
        if there:
            notes.call(call, args, family)

    def _find(
        self, process: Process, place: meaning.Place, args: tuple[int, ...]
    ) -> Found | None:
        if place.path == meaning.HERE:
            return process.descriptor(args[place.directory])
        text = process.text_at(args[place.path])
        if text is None:
            return None
        here = place.directory == meaning.HERE
        at = _AT_FDCWD if here else args[place.directory] & _INT
        if not text and not here and at != _AT_FDCWD:
            return process.descriptor(at)
        return process.path(None if at == _AT_FDCWD else at, text, follow=place.follow)

    def _may(self, process: Process, found: Found, use: str) -> bool:
        """Whether it can come off at all, as far as owners and modes are concerned."""
        if use == "make":
            return process.may(found.real.rpartition("/")[0] or "/", _RIGHTS["write"])
        return not found.kind or use not in _RIGHTS or process.may(found.real, _RIGHTS[use])

    def _use(self, call: str, use: str, found: Found) -> str:
        """What is there already is not made, and what is not there not taken away."""
        if use == "make" and bool(found.kind) != (call in _TAKES) and call not in _REPLACES:
            return "look"
        return use

    def _socket(self, process: Process, call: str, args: tuple[int, ...]) -> tuple[int, bool]:
        """The family of the socket that a call is about, and whether the call counts."""
        if call in meaning.MESSAGES:
            family, address = process.message_address(args[0], args[1])
            return family, self._address(process, address, meaning.MESSAGES[call])
        if call in meaning.ON_SOCKETS:
            return process.family(args[0]), True
        named = meaning.named(call)
        if named is None or not args[named.address]:
            return 0, True
        family, address = process.address(args[0], args[named.address], args[named.size] & _INT)
        return family, self._address(process, address, named.use)

    def _address(self, process: Process, address: Address | None, use: str) -> bool:
        """Whether it leads anywhere: looking for a socket that is not there takes no promise."""
        if address is None:
            return True
        if address.protocol != "unix":
            self._notes.address(address, use)
            return True
        found = process.path(None, address.name)
        if found is None:
            return True
        there = use == "bind" or bool(found.kind)
        self._notes.address(address._replace(name=found.path), use, there=there)
        if use == "bind":
            self._notes.path(found, "make")
        return there

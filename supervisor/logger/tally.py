"""The file of kernel.log_figures, written: a row for each stream, mapped, so that counting is one
store into memory.

Law: figures are for those who look, and no line ever waits for them: without a runtime directory,
or space in it, nothing is counted. Space is taken before it is mapped, as a page that has none is
a SIGBUS.
"""
from __future__ import annotations

import posix

from supervisor.kernel.log_figures import COUNTERS, COUNTERS_AT, NAME, ROW_BYTES
from supervisor.logger.form import key_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap

GROW_ROWS = 32  # a page
OPEN = posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC


class Tally:
    """`runtime` is the runtime directory, "" for none."""

    __slots__ = ("_map", "_rows", "_runtime")

    def __init__(self, runtime: str) -> None:
        self._runtime = runtime
        self._map: mmap | None = None
        self._rows: list[str] = []  # the key of each, "" for a free one

    def row(self, name: str) -> tuple[int, int, int, int, int]:
        """(number or -1, stored, lost, losses, last ns) of a stream, by its directory's name. A row
        with zeros if it had none."""
        try:
            return self._row(key_of(name))
        except (OSError, ValueError):
            return -1, 0, 0, 0, 0

    def end(self) -> None:
        """Nobody is left who would look. The manager has tidied up before, perhaps too early."""
        if self._map is not None:
            try:
                posix.unlink(f"{self._runtime}/{NAME}")
                posix.rmdir(self._runtime)
            except OSError:
                pass  # it had not been too early, or others have something there

    def _row(self, key: str) -> tuple[int, int, int, int, int]:
        rows = self._map or self._begin()
        if key in self._rows:
            number = self._rows.index(key)
        else:
            if "" not in self._rows:
                self._take((len(self._rows) + GROW_ROWS) * ROW_BYTES)
                rows.resize((len(self._rows) + GROW_ROWS) * ROW_BYTES)
                self._rows += [""] * GROW_ROWS
            number = self._rows.index("")
            self._rows[number] = key
            text = key.encode()[:COUNTERS_AT].ljust(ROW_BYTES, b"\0")
            rows[number * ROW_BYTES : (number + 1) * ROW_BYTES] = text
        stored, lost, losses, last = COUNTERS.unpack_from(rows, number * ROW_BYTES + COUNTERS_AT)
        return number, stored, lost, losses, last

    def _begin(self) -> mmap:
        from mmap import mmap

        if not self._runtime:
            raise FileNotFoundError

        whole = self._take(GROW_ROWS * ROW_BYTES)
        fd = posix.open(f"{self._runtime}/{NAME}", OPEN)
        try:
            rows = self._map = mmap(fd, whole)
        finally:
            posix.close(fd)
        self._rows = [
            rows[at : at + COUNTERS_AT].rstrip(b"\0").decode(errors="replace")
            for at in range(0, whole, ROW_BYTES)
        ]
        return rows

    def _take(self, least: int) -> int:
        """The size of the file, after giving it space for at least so many bytes. Raises
        OSError."""
        fd = posix.open(f"{self._runtime}/{NAME}", OPEN, 0o600)
        try:
            size = posix.fstat(fd).st_size
            whole = max(size - size % (GROW_ROWS * ROW_BYTES), least)
            posix.posix_fallocate(fd, 0, whole)
            posix.ftruncate(fd, whole)
        finally:
            posix.close(fd)
        return whole

    def count(self, number: int, stored: int, lost: int, losses: int, last_ns: int) -> None:
        if self._map is not None and number >= 0:
            COUNTERS.pack_into(
                self._map, number * ROW_BYTES + COUNTERS_AT, stored, lost, losses, last_ns
            )

    def free(self, number: int) -> None:
        """The stream is no more."""
        if self._map is not None and number >= 0:
            self._map[number * ROW_BYTES : (number + 1) * ROW_BYTES] = bytes(ROW_BYTES)
            self._rows[number] = ""

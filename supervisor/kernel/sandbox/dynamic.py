"""Ids that nobody else on this host has: one for a unit with user = "dynamic", 65,536 for one with
users = "auto".

One record a unit, a file with its name, in a directory that all supervisors of the host share: it
outlives the manager, so whoever comes after it finds the id of a unit that runs. Ids are dealt out
in turn, from another one on with each boot, so none comes back soon after it was given up. Those of
/etc/passwd, /etc/group, /etc/subuid and those that systemd deals out at the moment are left alone.
"""
from __future__ import annotations

import os
from binascii import crc32
from collections.abc import Iterator
from functools import cache
from select import poll

from supervisor.kernel.host import read, read_long
from supervisor.kernel.plan import Identity
from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.kernel.spare import use

DIRECTORY = "/run/unboxed-ids"
FIRST, LAST = 61184, 65519  # systemd's range for the same purpose
BLOCK = 65536
FIRST_BLOCK, LAST_BLOCK = 0x24000000, 0x6FFE0000  # of systemd-nspawn's, what no useradd deals out
_CHANGES = 1 << 6 | 1 << 7  # CAP_SETGID, CAP_SETUID
_NOLOGIN = "/usr/sbin/nologin"
_SYSTEMD = "/run/systemd/dynamic-uid"
_LOOKS, _LOOK_MS = 200, 10  # at a lock that is held for the time of a few system calls


class Ids:
    """`size` ids a piece, from `first` up to one that begins at `last`."""

    def __init__(
        self, runtime: str, first: int, last: int, size: int = 1, *, directory: str = DIRECTORY,
        etc: str = "/etc", proc: str = "/proc",
    ) -> None:  # fmt: skip
        """`runtime`: the supervisor's runtime directory, whose lock tells that it lives."""
        self._runtime = runtime
        self._range = range(first, last + 1, size)
        self._directory = f"{directory}/{size}"
        self._etc = etc
        self._proc = proc
        self._known: dict[str, int] | None = None

    def take(self, unit: str) -> int:
        """The unit's first id: the one it has, or a new one. Raises CannotConfine."""
        if unit in self._mine():
            return self._mine()[unit]
        try:
            os.makedirs(self._directory, mode=0o755, exist_ok=True)
            lock = self._lock()
            try:
                number = next(self._free(), None)
                if number is None:
                    raise CannotConfine(_all_used(self._range))
                self._write("last", str(number))  # first: then no failure leaves half of it
                self._write(str(number), f"{unit}\n{self._runtime}\n")
            finally:
                os.close(lock)
        except PermissionError as exc:
            raise CannotConfine(
                "cannot take an id: only a supervisor that runs as root can give it one"
            ) from exc
        except OSError as exc:
            raise CannotConfine(
                f"cannot keep a record of its ids in {self._directory}: {exc.strerror}"
            ) from exc
        self._mine()[unit] = number
        return number

    def of(self, unit: str) -> int:
        """The unit's first id, or the one it would be given now. Raises CannotConfine."""
        known = self._mine().get(unit)
        number = next(self._free(), None) if known is None else known
        if number is None:
            raise CannotConfine(_all_used(self._range))
        return number

    def release(self, unit: str) -> int | None:
        """Nothing of the unit runs any more, and it will not start soon. The id that it had."""
        number = self._mine().pop(unit, None)
        if number is not None:
            try:
                os.unlink(f"{self._directory}/{number}")
            except FileNotFoundError:
                pass  # the directory was cleaned out
        return number

    def _mine(self) -> dict[str, int]:
        """Read once; from then on nobody else writes ours."""
        if self._known is None:
            self._known = {}
            for number in self._numbers():
                unit, runtime = self._record(number)
                if runtime == self._runtime:
                    self._known[unit] = number
        return self._known

    def _numbers(self) -> list[int]:
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        return [int(name) for name in names if name.isdigit()]

    def _record(self, number: int) -> tuple[str, str]:
        lines = read(f"{self._directory}/{number}").splitlines()
        return (lines[0], lines[1]) if len(lines) == 2 else ("", "")

    def _free(self) -> Iterator[int]:
        """Ids that can be given, the next in turn first."""
        used, count = self._used(), len(self._range)
        last = read(f"{self._directory}/last")
        if last.isdigit() and int(last) in self._range:
            at = self._range.index(int(last)) + 1
        else:
            boot = read(f"{self._proc}/sys/kernel/random/boot_id")
            at = crc32(boot.encode()) % count
        size = self._range.step
        for turn in range(count):
            number = self._range[(at + turn) % count]
            if any(start < number + size and number < start + width for start, width in used):
                continue
            if not self._recorded(number) and not os.path.exists(f"{_SYSTEMD}/{number}"):
                yield number

    def _recorded(self, number: int) -> bool:
        """Whether a unit of a supervisor that lives has it."""
        unit, runtime = self._record(number)
        return bool(unit) and (runtime == self._runtime or _lives(runtime))

    def _used(self) -> list[tuple[int, int]]:
        """First and count of what others have, and of what this user namespace has not."""
        found = []
        for name in ("passwd", "group"):
            for line in read_long(f"{self._etc}/{name}").splitlines():
                fields = line.split(":")
                if len(fields) > 2 and fields[2].isdigit():
                    found.append((int(fields[2]), 1))
        for name in ("subuid", "subgid"):
            for line in read_long(f"{self._etc}/{name}").splitlines():
                fields = line.split(":")
                if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
                    found.append((int(fields[1]), int(fields[2])))
        for kind in ("uid", "gid"):
            end = 0
            for line in read(f"{self._proc}/self/{kind}_map").splitlines():
                first, _, count = map(int, line.split())
                found.append((end, first - end))
                end = first + count
            found.append((end, 2**32 - end))
        return [(first, count) for first, count in found if count]

    def _lock(self) -> int:
        from fcntl import LOCK_EX, LOCK_NB, flock

        fd = os.open(f"{self._directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for _ in range(_LOOKS):
            try:
                flock(fd, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                poll().poll(_LOOK_MS)
            else:
                return fd
        os.close(fd)
        raise CannotConfine(f"cannot take an id: another supervisor keeps {self._directory}/lock")

    def _write(self, name: str, text: str) -> None:
        """Whole or not at all, whenever this process is killed."""
        path = f"{self._directory}/{name}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        fd = use(os.open, path + ".new", flags, 0o644)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        os.rename(path + ".new", path)


@cache
def lacks(capabilities: int) -> str:
    """Why a supervisor with these cannot give a unit a user of its own; "" if it can."""
    if os.geteuid():
        return "only a supervisor that runs as root can give it a user of its own"
    if capabilities & _CHANGES != _CHANGES:
        return "a user of its own takes CAP_SETUID and CAP_SETGID, which the supervisor has not"
    for kind in ("uid", "gid"):
        rows = [line.split() for line in read(f"/proc/self/{kind}_map").splitlines()]
        if not any(int(row[0]) <= FIRST and int(row[0]) + int(row[2]) > LAST for row in rows):
            return f"the supervisor's user namespace has not the ids {FIRST} to {LAST}"
    return ""


@cache
def users(runtime: str) -> Ids:
    """For user = "dynamic"."""
    return Ids(runtime, FIRST, LAST)


@cache
def blocks(runtime: str) -> Ids:
    """For users = "auto"."""
    return Ids(runtime, FIRST_BLOCK, LAST_BLOCK, BLOCK)


def identity(unit: str, number: int, shell: str = _NOLOGIN) -> Identity:
    """Who a unit with a dynamic id is: a user and a group of its own that no file knows."""
    return Identity(unit, number, number, (), "/", shell)


def _all_used(numbers: range) -> str:
    last = numbers[-1] + numbers.step - 1
    return f"cannot take an id: none from {numbers[0]} to {last} is free and the supervisor's"


def _lives(runtime: str) -> bool:
    """Whether a supervisor, or its keeper, holds the lock of that runtime directory."""
    from fcntl import LOCK_NB, LOCK_SH, flock

    try:
        fd = use(os.open, f"{runtime}/lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        flock(fd, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)

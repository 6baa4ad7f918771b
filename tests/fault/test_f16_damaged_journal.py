"""Fault 16: the state that a manager hands to the next one is truncated, flipped, of another
version, or full of text that looks like structure (CVE-2018-15686).

What it cannot be believed about is rebuilt from the unit files and from what the keeper knows to be
running; services are not touched.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, pairwise
from pathlib import Path

import msgspec
import pytest

from supervisor.manager.journal import VERSION, Header, Journal, load
from supervisor.model.state import Instance
from supervisor.model.unit import Unit
from tests.fault.witness import check, replaced, witness
from tests.stack import Stack

Damage = Callable[[bytes], bytes]
HEAD = 8  # bytes before a record: length and checksum
LIVES = 3  # at a time
DEATHS = 3  # damages in one life: the keeper waits longer before each further manager
NAMES = ("a", "b", "c", "resting", "quiet")


# --- what the bytes are ---------------------------------------------------------------------------


def records(data: bytes) -> list[int]:
    """Where each record begins, and the end."""
    places, at = [0], 0
    while at < len(data):
        at += HEAD + int.from_bytes(data[at : at + 4], "little")
        places.append(at)
    return places


def truncate(share: float) -> Damage:
    return lambda data: data[: int(len(data) * share)]


def flip(share: float) -> Damage:
    def damage(data: bytes) -> bytes:
        at = min(int(len(data) * share), len(data) - 1)
        return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]

    return damage


def cut_at_record(number: int) -> Damage:
    return lambda data: data[: records(data)[number]]


def version(number: int) -> Damage:
    """As another program version would have written it, checksums right."""

    def damage(data: bytes) -> bytes:
        end = records(data)[1]
        header = msgspec.msgpack.decode(data[HEAD + 1 : end])
        header |= {"version": number, "what_is_new": ["in", {"this": "one"}]}
        return rewritten([(b"H", header)]) + data[end:]

    return damage


def fields_missing(data: bytes) -> bytes:
    """Records of an earlier version that lacked some fields."""
    return b"".join(
        rewritten([(b"I", {"key": value["key"], "unit": value["unit"]})]) if kind == b"I" else raw
        for kind, value, raw in parsed(data)
    )


def wrong_types(data: bytes) -> bytes:
    return b"".join(
        rewritten([(b"I", {"key": 7, "phase": "asleep"})]) if kind == b"I" else raw
        for kind, _, raw in parsed(data)
    )


def parsed(data: bytes) -> Iterator[tuple[bytes, dict[str, object], bytes]]:
    places = records(data)
    for begin, end in pairwise(places):
        body = data[begin + HEAD : end]
        yield body[:1], msgspec.msgpack.decode(body[1:]), data[begin:end]


def rewritten(rows: list[tuple[bytes, object]]) -> bytes:
    """Records as the journal writes them."""
    journal = Journal.create()
    try:
        journal.append(rows)
        return os.pread(journal.fd, os.fstat(journal.fd).st_size, 0)
    finally:
        os.close(journal.fd)


DAMAGES: dict[str, Damage] = {
    "nothing": lambda data: data,
    "empty": lambda _data: b"",
    "zeros": lambda data: bytes(len(data)),
    "noise": lambda data: random.Random(16).randbytes(len(data)),
    "a long length": lambda data: b"\xff\xff\xff\x7f" + data[4:],
    "twice": lambda data: data + data,
    "an older version": version(VERSION - 1),
    "a newer version": version(VERSION + 1),
    "unknown fields": version(VERSION),
    "missing fields": fields_missing,
    "wrong types": wrong_types,
    **{f"cut after record {n}": cut_at_record(n) for n in (1, 3, 6, 8, -2)},
    **{f"cut at {share:.2f}": truncate(share) for share in (0.01, 0.2, 0.4, 0.6, 0.8, 0.97, 0.99)},
    **{f"flipped at {share:.2f}": flip(share) for share in (0, 0.05, 0.3, 0.5, 0.7, 0.9, 1)},
}  # fmt: skip
LAST = "cut after record -2"  # a manager that was killed a little earlier leaves the same
SEEN = {"nothing", "twice", "unknown fields"}  # nothing is wrong with these


# --- in a running supervisor ----------------------------------------------------------------------


def journal_of(stack: Stack) -> str:
    """The path by which the keeper's copy can be written to."""
    assert stack.process is not None
    directory = f"/proc/{stack.process.pid}/fd"
    for fd in os.listdir(directory):
        if os.readlink(f"{directory}/{fd}").startswith("/memfd:unboxed-state"):
            return f"{directory}/{fd}"
    raise AssertionError("the keeper holds no journal")


def doctor(stack: Stack, damage: Damage) -> None:
    """Kill the manager, and let the next one find the journal like that."""
    manager = stack.manager
    os.kill(manager, signal.SIGSTOP)
    path = Path(journal_of(stack))
    data = damage(path.read_bytes())
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(data)
    os.kill(manager, signal.SIGKILL)
    replaced(stack, manager)


def life(home: Path, damages: list[str]) -> None:
    home.mkdir()
    units = {
        "a": witness(home, "a") + "[restart]\ndelay = 0\n",
        "b": witness(home, "b") + '[needs]\nrequires = ["a"]\n',
        "c": witness(home, "c") + '[[listen]]\nname = "x"\naddress = "unix:' + f'{home}/s"\n',
        "resting": "autostart = false\n" + witness(home, "resting"),
        "quiet": witness(home, "quiet"),
    }
    running, stopped = ("running",), ("stopped",)
    wanted = {**dict.fromkeys(NAMES, running), "resting": stopped}
    with Stack(home, units) as stack:
        check(stack, wanted)
        for _ in range(3):  # so that the journal has a past
            stack.call("Restart", units=["c"])
        for name in damages:
            pids = {key: row["pid"] for key, row in stack.rows().items()}
            stack.call("Stop", units=["quiet"])
            before = len(stack.errors.read_text())
            doctor(stack, DAMAGES[name])
            try:
                check(stack, {**wanted, "quiet": running + stopped})
                now = {key: row["pid"] for key, row in stack.rows().items()}
                assert {**now, "quiet": 0} == {**pids, "quiet": 0}, "services were touched"
                said = stack.errors.read_text()[before:]
                if name != LAST:
                    assert ("journal" in said) == (name not in SEEN), said
                if name in SEEN:
                    assert now["quiet"] == 0
                for key in ("a", "c"):
                    stack.call("Restart", units=[key])
                stack.call("Start", units=["quiet"])
                check(stack, wanted)
            except Exception as exc:
                raise AssertionError(f"with {name}: {exc}") from exc


@pytest.mark.slow
def test_f16_services_outlive_a_damaged_journal(tmp_path: Path) -> None:
    names = iter(DAMAGES)
    with ThreadPoolExecutor(LIVES) as pool:
        lives: list[Future[None]] = []
        while some := list(islice(names, DEATHS)):
            lives.append(pool.submit(life, tmp_path / str(len(lives)), some))
        for one in lives:
            one.result()


HOSTILE = 'x = 1\nlaunch=7\n\nH\x0c\u2028[Service]\r"\\u0000\\" = {port}'


def test_f16_text_that_looks_like_structure_is_only_text(tmp_path: Path) -> None:
    """Names of units cannot hold such; what else people write goes through the journal."""
    text = msgspec.json.encode(HOSTILE).decode()
    unit = witness(tmp_path, "a") + f"[env]\nHOSTILE = {text}\n"
    with Stack(tmp_path, {"a": unit}) as stack:
        check(stack, {"a": ("running",)})
        pid = stack.row("a")["pid"]
        (tmp_path / "units" / "a.toml").unlink()  # its definition is in the journal alone
        doctor(stack, DAMAGES["nothing"])
        check(stack, {"a": ("running",)})
        assert stack.row("a")["pid"] == pid
        stack.call("Restart", units=["a"])
        check(stack, {"a": ("running",)})
        environ = Path(f"/proc/{stack.row('a')['pid']}/environ").read_bytes().split(b"\0")
        assert f"HOSTILE={HOSTILE}".encode() in environ


# --- alone ----------------------------------------------------------------------------------------


def journal() -> bytes:
    units: list[tuple[bytes, object]] = [(b"H", Header(next_launch=9))]
    for number in range(4):
        name = f"u{number}"
        units.append((b"U", Unit(name, command=("/bin/true",), env=(("A", HOSTILE),))))
        units.append((b"I", Instance(name, name, phase="up", launch=number + 1, cause=HOSTILE)))
    return rewritten([*units, (b"R", "u3"), (b"X", "u3"), (b"H", Header(next_launch=10))])


def loaded(data: bytes) -> tuple[object, bool, set[str], int]:
    fd = os.memfd_create("damaged")
    try:
        os.write(fd, data)
        snapshot, after = load(fd)
        if snapshot is None:
            assert os.fstat(fd).st_size == 0, "what is lost is not appended to"
            return None, False, set(), 0
        after.append([(b"I", Instance("new", "u0"))])
        again, _ = load(fd)
        assert again is not None
        assert again.whole, "what was appended can be read"
        assert again.instances.keys() == {*snapshot.instances, "new"}
        assert again.header.booted == snapshot.header.booted
        return snapshot.header, snapshot.whole, set(snapshot.instances), len(snapshot.units)
    finally:
        os.close(fd)


def test_f16_a_journal_cut_anywhere_is_read_up_to_there() -> None:
    data = journal()
    edges = records(data)
    assert loaded(data)[1:] == (True, {"u0", "u1", "u2"}, 3)
    for length in range(len(data)):
        header, whole, names, units = loaded(data[:length])
        whole_records = sum(edge <= length for edge in edges) - 1
        assert (header is not None) == (whole_records > 0)
        assert whole == (length in edges and whole_records > 0)
        assert names <= {"u0", "u1", "u2", "u3"}
        assert len(names) <= units or whole_records > 9


def test_f16_no_flipped_bit_goes_unnoticed() -> None:
    data = journal()
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not loaded(bytes(damaged))[1], f"bit {bit}"

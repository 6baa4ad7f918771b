"""unboxed-early: sends a plan that holds, to the byte; of any other nothing, and goes on.

Built with the sanitizers where the compiler has them: whatever a plan says, nothing of it is
read beyond its end.
"""
from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.manager.kernel_line import is_ours
from supervisor.manager.make_boot_plan import words_for_us
from tests.keeper.keeperclient import build
from tests.kernel.early_kit import (
    HOLDS,
    MAGIC,
    PROGRAM,
    Early,
    Record,
    arguments,
    end,
    entries,
    packed,
    plan,
    received,
)
from tests.kernel.kit import NOBODY
from tests.stack import ROOT

SOURCE = ROOT / "supervisor" / "programs" / "early.c"
SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
MOST = 16 << 20  # bytes of a plan
OURS = bytes((is_ours(),))  # a test's parent is not PID 1
MUTATIONS = 250
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled(tmp_path_factory.mktemp("early"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> str:
    """On a machine whose PID 1 is our keeper, as far as it can see."""
    header = Path(__file__).with_name("early_ours.h")
    return compiled(tmp_path_factory.mktemp("early"), "-include", str(header))


def compiled(directory: Path, *options: str) -> str:
    try:
        return build(directory, *SANITIZERS, *options, sources=[SOURCE], name="unboxed-early")
    except subprocess.CalledProcessError:  # a compiler without sanitizers
        return build(directory, "-O2", *options, sources=[SOURCE], name="unboxed-early")


@pytest.fixture
def early(tmp_path: Path, program: str) -> Early:
    units = tmp_path / "units"
    units.mkdir()
    (units / "web.toml").write_bytes(b"command = []\n\0\xff")
    (units / "empty.toml").write_bytes(b"")
    (tmp_path / "there").touch()
    (tmp_path / "lines").write_bytes(b"first\n\nanother one\nlast")
    return Early(tmp_path, program)


def all_kinds(early: Early) -> list[Record]:
    """What was true when the plan was made, one record of each kind and more."""
    home = early.home
    return [
        ("A", "", arguments(*PROGRAM)),
        ("O", "", OURS),
        ("W", "", b""),  # of a container: the words are not ours
        ("D", f"{home}/units", entries(2)),
        ("D", f"{home}/absent", entries(-1)),
        ("F", f"{home}/units/web.toml", b"command = []\n\0\xff"),
        ("F", f"{home}/units/empty.toml", b""),
        ("L", f"{home}/lines", b"first"),
        ("L", f"{home}/lines", b""),
        ("L", f"{home}/lines", b"last"),
        ("P", f"{home}/there", b"\1"),
        ("P", f"{home}/absent", b"\0"),
    ]


def test_a_plan_that_holds_is_sent_to_the_byte_and_in_order(early: Early) -> None:
    before = time.monotonic_ns()
    found = early.begin(*all_kinds(early))
    assert before < found.sent_ns < time.monotonic_ns()
    assert found.path == str(early.path)
    assert found.frames == [
        (b"a frame that stores it", [str(early.base)]), (HOLDS, [str(early.path)]),
        *((one, []) for one in early.spawns),
    ]  # fmt: skip


LINE = 'BOOT_IMAGE=/vmlinuz\troot=/dev/vda1  "unboxed.target=a b" unboxed.units=/x quiet\n'


@pytest.mark.parametrize(
    "line, holds",
    [
        (LINE, True),
        ("", False),
        (LINE.rstrip(), True),
        (LINE.replace("/x", "/y"), False),
        (LINE.replace("/x", "/x unboxed.units=/y"), False),
        (LINE.replace('a b"', 'a c"'), False),  # what is quoted may have blanks
        (LINE.replace(" unboxed.units", " -- unboxed.units"), False),  # they are init's then
        (LINE.replace("quiet", "ro"), False),  # any word may be a part of what is quoted
        (LINE.replace('"', ""), False),
        ("  " + LINE.replace(" ", "  "), True),
    ],
)
def test_the_words_of_a_kernel_that_is_ours(
    tmp_path: Path, ours: str, line: str, *, holds: bool
) -> None:
    early = Early(tmp_path, ours)
    (tmp_path / "cmdline").write_text(line)
    found = early.begin(("O", "", b"\1"), ("W", "", words_for_us(LINE)))
    assert bool(found.sent_ns) is holds
    assert bool(found.frames) is holds


def test_words_that_are_not_for_us_may_change(tmp_path: Path, ours: str) -> None:
    early = Early(tmp_path, ours)
    before, now = "root=a unboxed.units=/x ro\n", "root=b quiet unboxed.units=/x\n"
    (tmp_path / "cmdline").write_text(now)
    assert early.begin(("W", "", words_for_us(before))).sent_ns


def test_a_kernel_that_is_ours_and_has_no_command_line(tmp_path: Path, ours: str) -> None:
    early = Early(tmp_path, ours)
    early.write(plan(*early.records(("W", "", b""))))
    early.nothing()
    early.write(plan(*early.records(("O", "", b"\0"))))
    early.nothing()


def test_more_launches_than_the_socket_holds_are_sent_as_the_keeper_takes_them(
    early: Early,
) -> None:
    early.spawns = [struct.pack("<I", number) * 10_000 for number in range(100)]
    early.write(plan(*early.records()))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        process = subprocess.Popen(
            early.words(*PROGRAM), stdin=theirs.fileno(), stdout=subprocess.PIPE, text=True
        )
        theirs.close()
        ours.settimeout(30)
        frames = []
        while frame := ours.recv(1 << 18):
            frames.append(frame)
        told, _ = process.communicate(timeout=30)
    assert frames[2:] == early.spawns
    assert not told.startswith("0 ")


@pytest.mark.parametrize(
    "words",
    [
        (*PROGRAM[:-2], "--machine", "x"),
        (*PROGRAM[:-2], "--machin", "e"),
        PROGRAM[:-1],
        (*PROGRAM, "--quiet"),
        (*PROGRAM, ""),
        (),
    ],
)  # fmt: skip
def test_other_arguments_do_not_hold(early: Early, words: tuple[str, ...]) -> None:
    early.write(plan(*early.records(("A", "", arguments(*words)))))
    early.nothing()


def test_arguments_without_their_last_nul_do_not_hold(early: Early) -> None:
    early.write(plan(*early.records(("A", "", arguments(*PROGRAM[:-1], "x")[:-1]))))
    early.nothing()


@pytest.mark.parametrize(
    "record",
    [
        ("O", "", bytes((not OURS[0],))),
        ("O", "", b""),
        ("O", "", OURS * 2),
        ("W", "", b"unboxed.target=rescue\n"),
        ("W", "", b"\0"),
        ("D", "{home}/units", entries(1)),
        ("D", "{home}/units", entries(3)),
        ("D", "{home}/units", entries(-1)),
        ("D", "{home}/units", entries(2)[:3]),
        ("D", "{home}/units", entries(2) + b"\0"),
        ("D", "{home}/units", b""),
        ("D", "{home}/absent", entries(0)),
        ("D", "{home}/there", entries(0)),
        ("D", "{home}/there", entries(-1)),
        ("D", "", entries(0)),
        ("F", "{home}/units/web.toml", b"command = []\n\0\xfe"),
        ("F", "{home}/units/web.toml", b"command = []\n\0"),
        ("F", "{home}/units/web.toml", b"command = []\n\0\xff\0"),
        ("F", "{home}/units/web.toml", b""),
        ("F", "{home}/units/empty.toml", b"x"),
        ("F", "{home}/absent", b""),
        ("L", "{home}/absent", b""),
        ("L", "{home}/units", b""),
        ("L", "{home}/lines", b"firs"),
        ("L", "{home}/lines", b"irst"),
        ("L", "{home}/lines", b"first\n"),
        ("L", "{home}/lines", b"another"),
        ("F", "{home}/units", b""),
        ("P", "{home}/there", b"\0"),
        ("P", "{home}/absent", b"\1"),
        ("P", "{home}/there", b"\2"),
        ("P", "{home}/there", b""),
        ("X", "", b""),
        ("H", "", HOLDS),
        ("E", "", b"\0\0\0\0"),
        ("G", "{home}/second/units", b"frame"),
        ("\0", "", b""),
    ],
)
def test_what_does_not_hold_keeps_everything_from_being_sent(early: Early, record: Record) -> None:
    kind, text, data = record
    untrue = (kind, str(text).format(home=early.home), data)
    for name, between in (
        ("first", [untrue, *all_kinds(early)]), ("last", [*all_kinds(early), untrue])
    ):  # fmt: skip
        early.base = early.home / name / "units"
        early.write(plan(*early.records(*between)))
        early.nothing()
        assert early.base.is_dir()  # it was looked at, and is not looked at again


def replace_by_link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES: list[tuple[str, Change]] = [
    ("units/web.toml", Path.unlink),
    ("units/web.toml", replace_by_link),
    ("units/web.toml", replace_by_fifo),
    ("units/web.toml", lambda path: path.write_bytes(b"command = []\n\0\xfe")),
    ("units/web.toml", lambda path: path.write_bytes(b"command = []\n\0\xff\n")),
    ("units/web.toml", lambda path: os.truncate(path, 5)),
    ("units/new.toml", Path.touch),
    ("units/.hidden", Path.touch),
    ("absent", Path.mkdir),
    ("absent", Path.touch),
    ("there", Path.unlink),
]


@pytest.mark.parametrize("path, change", CHANGES)
def test_a_change_since_the_plan_was_made_is_seen(
    early: Early, path: str, change: Change
) -> None:
    early.write(plan(*early.records(*all_kinds(early))))
    change(early.home / path)
    early.nothing()


def test_only_the_first_manager_of_a_boot_sends(early: Early) -> None:
    assert early.begin().frames
    early.nothing()


@pytest.mark.parametrize("there", ["groups", "groups/units"])
def test_groups_that_are_there_already_are_somebody_s(early: Early, there: str) -> None:
    (early.home / there).mkdir(parents=True)
    early.write(plan(*early.records()))
    early.nothing()


@pytest.mark.parametrize(
    "base",
    ["", "/", "units", "/units", "{home}/far/groups/units", "{home}/there/units", "/" + "x" * 300,
     "{home}/" + "d/" * 3000 + "units"],
)  # fmt: skip
def test_groups_that_cannot_be_made(early: Early, base: str) -> None:
    (_, _, frame), *rest = early.records()
    early.write(plan(("G", base.format(home=early.home), frame), *rest))
    early.nothing()


def test_no_plan(early: Early) -> None:
    early.nothing()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o622])
def test_a_plan_that_others_may_write_is_none(early: Early, mode: int) -> None:
    early.write(plan(*early.records()))
    early.path.chmod(mode)
    early.nothing()
    assert not early.base.exists()


def test_a_plan_that_is_somebody_else_s_is_none(early: Early) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    early.write(plan(*early.records()))
    os.chown(early.path, NOBODY, NOBODY)
    early.nothing()


def test_a_plan_is_a_file_and_nothing_else(early: Early) -> None:
    early.write(plan(*early.records()))
    replace_by_link(early.path)
    early.nothing()
    early.path.unlink()
    os.mkfifo(early.path)
    early.nothing()  # at once: nobody will ever write
    early.path.unlink()
    early.path.mkdir()
    early.nothing()


def test_a_plan_that_is_too_large_is_none(early: Early) -> None:
    whole = plan(*early.records())
    padding = MOST - len(whole) - len(packed("S"))
    early.write(plan(*early.records(("S", b"x" * (padding + 1), b""))))
    assert early.path.stat().st_size == MOST + 1
    early.nothing()
    early.write(plan(*early.records(("S", b"x" * padding, b""))))
    assert early.run().sent_ns


def test_a_plan_that_is_cut_off_anywhere_is_none(early: Early) -> None:
    early.spawns = [b"frame"]
    for size in range(MOST):
        early.base = early.home / f"groups-{size:04}" / "units"
        whole = plan(*early.records(("P", "/", b"\1")))
        early.write(whole[:size])
        if size == len(whole):
            break
        early.nothing()
    assert early.run().sent_ns


def head(kind: str, text: int, data: int) -> bytes:
    return struct.pack("<III", ord(kind), text, data)


HUGE = 0xFFFFFFFF


@pytest.mark.parametrize(
    "hostile",
    [
        b"\0",
        head("P", 1, 1)[:11],
        head("F", 0, 0),  # not even a NUL
        head("F", 1, 0) + b"x",  # text without one
        head("F", HUGE, 0) + b"\0",
        head("F", 1, HUGE) + b"\0",
        head("F", 2, HUGE) + b"/\0",
        head("F", HUGE, HUGE) + b"\0",
        head("F", 1 << 31, 1 << 31) + b"\0",
        head("S", 1, 2) + b"\0x",
        head("S", 1, 1 << 30) + b"\0",
        head("P", 7, 1) + b"/absent" + b"\0",  # whose NUL is what follows
        packed("S", "", b"x") + b"trailing",
    ],
)
@pytest.mark.parametrize("ended", [False, True])
def test_hostile_lengths(early: Early, hostile: bytes, ended: bool) -> None:
    first = packed("G", str(early.base), b"frame") + packed("H", "", HOLDS)
    early.write(MAGIC + first + hostile + (end(first + hostile) if ended else b""))
    early.nothing()
    early.base.rmdir()
    early.base.parent.rmdir()
    early.write(MAGIC + hostile + first + end(hostile + first))
    early.nothing()
    assert not early.base.exists()


def test_a_launch_of_which_a_byte_is_another_is_not_sent(early: Early) -> None:
    whole = plan(*early.records())
    at = whole.index(b"the launch of web")
    early.write(whole[:at] + b"T" + whole[at + 1 :])
    early.nothing()


def test_the_end_is_last(early: Early) -> None:
    records = early.records()
    early.write(plan(*records[:-1]))
    early.nothing()
    early.base = early.home / "others" / "units"
    early.write(plan(*early.records(), ("S", "", b"one more")))
    early.nothing()
    early.base = early.home / "more" / "units"
    early.write(plan(*early.records(), ("E", "", b"")))
    early.nothing()


def test_the_sum_is_four_bytes(early: Early) -> None:
    *body, _ = early.records()
    whole = plan(*body)
    right = struct.pack("<I", zlib.crc32(whole[len(MAGIC) :]))
    for wrong in (right[:3], right + b"\0", right[::-1]):
        early.write(whole + packed("E", "", wrong))
        early.nothing()
        early.base.rmdir()
        early.base.parent.rmdir()
    early.write(whole + packed("E", "", right))
    assert early.run().sent_ns


def test_a_plan_without_a_frame_for_itself_is_none(early: Early) -> None:
    first, _, *rest = early.records()
    early.write(plan(first, *rest))
    early.nothing()
    assert not early.base.exists()


@pytest.mark.parametrize("first", [b"", b"UBPLAN1", b"UBPLAN2\0", b"\0" * 8])
def test_another_magic(early: Early, first: bytes) -> None:
    early.write(first + plan(*early.records())[8:])
    early.nothing()
    early.write(first)
    early.nothing()


def test_without_a_keeper_the_program_is_executed_all_the_same(early: Early) -> None:
    early.write(plan(*early.records()))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        ours.close()
        done = early.process(theirs)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"0 {early.path}"


def test_the_program_has_the_socket_and_nothing_else_of_ours(early: Early) -> None:
    early.write(plan(*early.records()))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        done = early.process(theirs, ["/bin/sh", "-c", "ls /proc/$$/fd"])
        assert len(received(ours)) == 2 + len(early.spawns)
        assert set(done.stdout.split()) <= {"0", "1", "2", "3", "10"}


def test_a_program_that_is_not_there(early: Early) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        done = early.process(theirs, ["/absent/python", "-m", "manager"])
    assert done.returncode == 127
    assert done.stderr == (
        "unboxed-early: cannot execute /absent/python: No such file or directory\n"
    )


@pytest.mark.parametrize("words", [[], ["/plan"]])
def test_usage(program: str, words: list[str]) -> None:
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "usage: unboxed-early PLAN PROGRAM [ARGUMENT]...\n"


def test_whatever_a_plan_says_the_program_is_executed(early: Early) -> None:
    """Plans that hold, with bytes changed, taken out, doubled and put in; half of them with a sum
    that is right for all that."""
    rng = random.Random(5)
    early.spawns = [b"one", b"another"]
    sent = 0
    for number in range(MUTATIONS):
        early.base = early.home / f"groups-{number}" / "units"
        *body, last = early.records(*all_kinds(early))
        text = bytearray(plan(*body) if number % 2 else plan(*body, last))
        for _ in range(rng.randint(1, 3)):
            mutate(rng, text)
        early.write(bytes(text) + end(bytes(text[len(MAGIC) :])) * (number % 2))
        sent += bool(early.run().sent_ns)
    assert 0 < sent < MUTATIONS / 2  # most do not hold; in others it is a launch that changed


def mutate(rng: random.Random, text: bytearray) -> None:
    at = rng.randrange(len(text))
    end = min(len(text), at + rng.randint(1, 40))
    match rng.randrange(5):
        case 0:
            text[at] = rng.randrange(256)
        case 1:
            text[at] ^= 1 << rng.randrange(8)
        case 2:
            del text[at:end]
        case 3:
            text[at:at] = text[at:end]
        case _:
            text[at : at + 4] = struct.pack("<I", rng.choice([0, 1, HUGE, 1 << 31, len(text)]))

"""Launch plans: their order, their bytes (read by a decoder of our own), and their words."""

from __future__ import annotations

import os
import re
import runpy
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.kernel import plan, wire
from supervisor.kernel.plan import Identity, Launch, PlanTooLong, Step
from tests.stack import ROOT

SOMEBODY = Identity("web", 1000, 1001, (1001, 2000), "/srv/web", "/bin/sh")
OURSELVES = Identity("root", None, 0, (), "/root", "/bin/sh")
FULL = Launch(
    command=("serve", "--port", "80"),
    program="/usr/bin/serve",
    env=(("PATH", "/bin"), ("A", "x y")),
    identity=SOMEBODY,
    cgroup="web@0",
    stream="web/0",
    log_options="keep=1 segment=2",
    directory="/srv/web",
    umask=0o027,
    oom_score=100,
    rlimits=((7, 10, 20), (4, 0, (1 << 64) - 1)),
    nice=-5,
    cpu=1,
    fds=((3, "listen:web:main:00000000"), (4, "fdstore:web/0:00:x")),
    pid_vars=("LISTEN_PID", "WATCHDOG_PID"),
    sent=((5, "readiness pipe"),),
    close_from=6,
)
BARE = Launch(("true",), "/bin/true", (), OURSELVES)


def names(steps: list[Step]) -> list[str]:
    return [step.name for step in steps]


NAMED = {"OOM_SCORE", "RLIMIT", "NICE", "AFFINITY", "GROUPS"}  # made of WRITE and CALL

# --- the order ---

# Wrong order is how privileges leak: each group is done before the next one begins.
ORDER = (
    {"DATA"},  # of all calls
    {"ADDRESS"},
    {"CGROUP", "LOG"},  # by the keeper, before there is a child
    {"SIGNALS"},
    {"SESSION"},
    {"WRITE", "OOM_SCORE", "NICE", "AFFINITY", "UMASK"},  # some of it takes privileges
    {"CALL"},  # what a sandbox begins with
    {"HOLD"},
    {"FORK"},
    {"BOUND"},
    {"GROUPS"},  # before the uid goes, which may change them
    {"GID"},
    {"UID"},
    {"DIRECTORY"},  # as the user, who must be able to enter it
    {"ENV"},
    {"ENV_PID"},
    {"OPEN", "FD", "SENT_FD"},
    {"CLOSE_FROM"},  # when nothing is opened any more
    {"RLIMIT"},  # which could be in the way of all that
    {"NO_NEW_PRIVS"},
    {"CAPSET"},  # all before may take capabilities; with no_new_privs none comes back
    {"EXEC"},
)


def test_every_step_has_its_place_in_the_order() -> None:
    assert sorted(name for group in ORDER for name in group) == sorted({*plan.CODES, *NAMED})


@pytest.mark.parametrize("launch", [FULL, BARE])
def test_a_plan_keeps_the_order(launch: Launch) -> None:
    ranks = [
        next(rank for rank, group in enumerate(ORDER) if name in group)
        for name in names(plan.compile(launch))
    ]
    assert ranks == sorted(ranks)


def test_a_full_plan_has_all_that_a_unit_can_ask_for() -> None:
    assert plan.compile(FULL) == [
        Step("CGROUP", ("web@0",)),
        Step("LOG", ("web/0", "keep=1 segment=2", 1000, 1001)),
        Step("SIGNALS", (0,)),
        Step("SESSION"),
        Step("OOM_SCORE", (100,)),
        Step("NICE", (-5,)),
        Step("AFFINITY", (1,)),
        Step("UMASK", (0o027,)),
        Step("GROUPS", (1001, 2000)),
        Step("GID", (1001,)),
        Step("UID", (1000,)),
        Step("DIRECTORY", ("/srv/web",)),
        Step("ENV", ("PATH=/bin", "A=x y")),
        Step("ENV_PID", ("LISTEN_PID",)),
        Step("ENV_PID", ("WATCHDOG_PID",)),
        Step("OPEN", (0, 0, "/dev/null")),
        Step("FD", (3, "listen:web:main:00000000")),
        Step("FD", (4, "fdstore:web/0:00:x")),
        Step("SENT_FD", (5, 0, "readiness pipe")),
        Step("CLOSE_FROM", (6,)),
        Step("RLIMIT", (7, 10, 20)),
        Step("RLIMIT", (4, 0, (1 << 64) - 1)),
        Step("NO_NEW_PRIVS"),
        Step("EXEC", ("/usr/bin/serve", "serve", "--port", "80")),
    ]


def test_a_limit_that_takes_privileges_is_raised_while_it_has_them() -> None:
    steps = plan.compile(FULL._replace(raises=((7, 20, 20),)))
    assert steps.index(Step("RLIMIT", (7, 20, 20))) < names(steps).index("GROUPS")
    assert steps.index(Step("RLIMIT", (7, 10, 20))) > names(steps).index("CLOSE_FROM")


def test_a_bare_plan_still_cleans_up_and_gains_nothing() -> None:
    found = names(plan.compile(BARE))
    assert "CGROUP" not in found
    assert not {"GROUPS", "GID", "UID"} & set(found), "nobody else to become"
    assert {"SIGNALS", "SESSION", "DIRECTORY", "CLOSE_FROM", "NO_NEW_PRIVS"} <= set(found)
    assert found[-1] == "EXEC"
    assert Step("DIRECTORY", ("/",)) in plan.compile(BARE)


def test_one_without_groups_gets_an_empty_list_of_them_not_the_supervisors() -> None:
    launch = BARE._replace(identity=SOMEBODY._replace(groups=()))
    assert Step("GROUPS", ()) in plan.compile(launch)


def test_standard_error_may_have_a_stream_of_its_own() -> None:
    steps = plan.compile(FULL._replace(errors="web/0!err"))
    assert [step for step in steps if step.name == "LOG"] == [
        Step("LOG", ("web/0", "keep=1 segment=2", 1000, 1001)),
        Step("LOG", ("web/0!err", "keep=1 segment=2", 1000, 1001)),
    ]
    assert [plan.describe(step) for step in steps[1:3]] == [
        "descriptors 1 and 2 = log stream web/0", "descriptor 2 = log stream web/0!err",
    ]


def test_output_elsewhere_is_opened_first_and_an_error_names_it() -> None:
    steps = plan.compile(BARE._replace(output="/dev/console"))
    assert steps[:2] == [
        Step("OPEN", (fd, os.O_WRONLY | os.O_NOCTTY, "/dev/console")) for fd in (1, 2)
    ]
    known = plan.names(steps, plan.encode(steps))
    assert known[:2] == ("open /dev/console",) * 2
    assert known[2:] == tuple(names(steps[2:]))


def test_the_same_launch_has_the_same_bytes() -> None:
    assert plan.encode(plan.compile(FULL)) == plan.encode(plan.compile(FULL._replace()))


# --- the bytes ---

# Written out by hand from docs/keeper-protocol.md: struct letters, "s" a text with its NUL.
FIELDS = {
    "DATA": "b", "ADDRESS": "II",
    "CGROUP": "s", "LOG": "ssii", "SIGNALS": "Q", "SESSION": "", "WRITE": "ss", "UMASK": "I",
    "CALL": "IIIIQQQQQ", "HOLD": "Isss", "FORK": "", "BOUND": "Q", "CAPSET": "Q",
    "GID": "I", "UID": "I", "DIRECTORY": "s", "ENV": "I*s", "ENV_PID": "s", "OPEN": "iIs",
    "FD": "is", "SENT_FD": "iI", "CLOSE_FROM": "I", "NO_NEW_PRIVS": "", "EXEC": "Is*s",
}  # fmt: skip


def field(letter: str, data: bytes) -> tuple[Any, bytes]:
    """One value, and what follows it."""
    if letter == "b":
        return data, b""
    if letter == "s":
        text, nul, rest = data.partition(b"\0")
        assert nul, "a text without its end"
        return text.decode(errors="surrogateescape"), rest
    size = struct.calcsize(f"<{letter}")
    return struct.unpack(f"<{letter}", data[:size])[0], data[size:]


def decode(data: bytes) -> list[Step]:
    """A plan from its bytes, in the form that `compile` gives it, but for calls."""
    by_code = {code: name for name, code, _, _ in wire.STEPS}
    steps = []
    while data:
        code, zero, length = struct.unpack("<HHI", data[:8])
        payload, data = data[8 : 8 + length], data[8 + length :]
        assert zero == 0
        assert len(payload) == length
        name = by_code[code]
        single, _, repeated = FIELDS[name].partition("*")
        args = []
        for letter in single:
            value, payload = field(letter, payload)
            args.append(value)
        if repeated:
            for _ in range(args.pop(0)):
                value, payload = field(repeated, payload)
                args.append(value)
        assert payload == b"", f"{name} has more than its fields"
        if name == "LOG":  # -1 leaves an owner as it is
            args[2:] = [number & plan.NO_ID for number in args[2:]]
        steps.append(Step(name, tuple(args)))
    return steps


_TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
_U32 = st.integers(0, 2**32 - 1)
_U64 = st.integers(0, 2**64 - 1)
_I32 = st.integers(-(2**31), 2**31 - 1)
ARGUMENTS: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    "CGROUP": st.tuples(_TEXT),
    "LOG": st.tuples(_TEXT, _TEXT, _U32, _U32),
    "SIGNALS": st.tuples(_U64),
    "SESSION": st.just(()),
    "WRITE": st.tuples(_TEXT, _TEXT),
    "UMASK": st.tuples(_U32),
    "HOLD": st.tuples(_U32, _TEXT, _TEXT, _TEXT),
    "FORK": st.just(()),
    "BOUND": st.tuples(_U64),
    "CAPSET": st.tuples(_U64),
    "GID": st.tuples(_U32),
    "UID": st.tuples(_U32),
    "DIRECTORY": st.tuples(_TEXT),
    "ENV": st.lists(_TEXT).map(tuple),
    "ENV_PID": st.tuples(_TEXT),
    "OPEN": st.tuples(_I32, _U32, _TEXT),
    "FD": st.tuples(_I32, _TEXT),
    "SENT_FD": st.tuples(_I32, _U32),
    "CLOSE_FROM": st.tuples(_U32),
    "NO_NEW_PRIVS": st.just(()),
    "EXEC": st.lists(_TEXT, min_size=2).map(tuple),
}
_STEPS = st.sampled_from(sorted(ARGUMENTS)).flatmap(
    lambda name: ARGUMENTS[name].map(lambda args: Step(name, args))
)


def test_each_step_has_a_decoder_and_is_tried() -> None:
    assert set(FIELDS) == set(plan.CODES)
    assert set(ARGUMENTS) == set(plan.CODES) - {"DATA", "ADDRESS", "CALL"}  # those: test_calls.py


def test_a_bare_plan_is_made_of_no_call_and_survives_its_bytes() -> None:
    steps = plan.compile(BARE)
    assert decode(plan.encode(steps)) == steps
    assert plan.names(steps, plan.encode(steps)) == ()


def test_what_is_made_of_calls_and_files_keeps_its_name() -> None:
    steps = plan.compile(FULL)
    data = plan.encode(steps)
    found, known = decode(data), plan.names(steps, data)
    assert [step.name for step in found[: len(found) - len(steps)]] == ["DATA"]
    assert known == ("DATA", *names(steps))
    made = {"CALL": NAMED - {"OOM_SCORE"}, "WRITE": {"WRITE", "OOM_SCORE"}}
    for step, name in zip(found, known, strict=True):
        assert name in made.get(step.name, {step.name})
    assert Step("WRITE", ("/proc/self/oom_score_adj", "100")) in found


@given(st.lists(_STEPS))
def test_any_steps_survive_their_bytes(steps: list[Step]) -> None:
    assert decode(plan.encode(steps)) == steps


def test_bytes_of_a_path_that_are_no_text_survive() -> None:
    step = Step("DIRECTORY", ("/srv/\udcff",))
    assert plan.encode([step]).endswith(b"/srv/\xff\0")
    assert decode(plan.encode([step])) == [step]


def test_codes_and_formats_are_those_of_the_keepers_header() -> None:
    generator = runpy.run_path(str(ROOT / "supervisor/keeper/gen_wire.py"))
    header = generator["header"](runpy.run_path(str(ROOT / "supervisor/kernel/wire.py")))
    codes = {name: int(code) for name, code in re.findall(r"\bSTEP_(\w+) = (\d+),", header)}
    assert codes == plan.CODES
    assert len(set(codes.values())) == len(codes)
    formats = dict(re.findall(r'\[STEP_(\w+)\] = "(.*)",', header))
    letters = {"s": "t", "I": "u", "i": "i", "Q": "U", "b": "b"}
    for name, fields in FIELDS.items():
        single, star, repeated = fields.partition("*")
        expected = "".join(letters[letter] for letter in single)
        if star:  # "#" is the count of the texts that end it
            assert repeated == "s"
            expected = "#" + expected[1:] + "*"
        assert formats[name] == expected, name


# --- too long ---


def env_of(size: int) -> list[Step]:
    return [Step("ENV", ("x" * size,))]


def test_what_does_not_fit_a_frame_is_refused_before_it_is_sent() -> None:
    overhead = len(plan.encode(env_of(0)))
    limit = wire.MAX_FRAME - 256
    assert len(plan.encode(env_of(limit - overhead))) == limit
    with pytest.raises(PlanTooLong, match=f"takes {limit + 1} bytes, the limit is {limit}"):
        plan.encode(env_of(limit - overhead + 1))


def test_the_limit_is_that_of_the_socket_where_it_is_smaller() -> None:
    with pytest.raises(PlanTooLong, match="the limit is 744"):
        plan.encode(env_of(1000), 1000)


def test_a_frame_has_room_for_the_longest_key_beside_the_longest_plan() -> None:
    header, nul = 16, 1
    assert header + wire.MAX_KEY + nul <= 256


# --- the words ---


@given(_STEPS)
def test_each_step_has_words(step: Step) -> None:
    assert plan.describe(step)


WORDS = {
    Step("CGROUP", ("web@0",)): "clone3(CLONE_INTO_CGROUP) web@0",
    Step("LOG", ("web", "keep=1", 0, 0)): "descriptors 1 and 2 = log stream web",
    Step("SIGNALS", (0,)): "all signals to their default, none blocked",
    Step("SESSION"): "setsid()",
    Step("OOM_SCORE", (-5,)): "oom_score_adj = -5",
    Step("WRITE", ("/sys/fs/cgroup/cpu/a/cgroup.procs", "0")): (
        "write 0 to /sys/fs/cgroup/cpu/a/cgroup.procs"
    ),
    Step("RLIMIT", (7, 10, 20)): "setrlimit(RLIMIT_NOFILE, 10, 20)",
    Step("RLIMIT", (99, 10, 20)): "setrlimit(RLIMIT_99, 10, 20)",
    Step("NICE", (-1,)): "setpriority(-1)",
    Step("AFFINITY", (3,)): "sched_setaffinity(cpu 3)",
    Step("UMASK", (0o027,)): "umask(027)",
    Step("CALL", ("open_tree", (), "", 0, "take /srv")): "open_tree(2): take /srv",
    Step("HOLD", (0x20000000, "", "", "")): (
        "clone(2) of a holder in new namespaces: pid; setns(2)"
    ),
    Step("FORK"): "clone(2): the service's own process; setsid()",
    Step("CAPSET", (0x400,)): "capset(0x400), none inheritable",
    Step("BOUND", (0x400,)): "prctl(PR_CAPBSET_DROP), all but 0x400",
    Step("GROUPS", (1, 2)): "setgroups(1, 2)",
    Step("GROUPS", ()): "setgroups()",
    Step("GID", (7,)): "setresgid(7)",
    Step("UID", (7,)): "setresuid(7)",
    Step("DIRECTORY", ("/srv",)): "chdir /srv, without magic links, verified",
    Step("ENV", ("A=secret", "B=")): "environment: A B",
    Step("ENV_PID", ("LISTEN_PID",)): "LISTEN_PID = own pid",
    Step("OPEN", (0, 0, "/dev/null")): "descriptor 0 = open /dev/null",
    Step("FD", (3, "listen:x")): "descriptor 3 = listen:x, held by the keeper",
    Step("SENT_FD", (4, 0, "readiness pipe")): "descriptor 4 = readiness pipe",
    Step("CLOSE_FROM", (5,)): "close_range(5, ~0)",
    Step("NO_NEW_PRIVS"): "prctl(PR_SET_NO_NEW_PRIVS)",
    Step("EXEC", ("/bin/x", "x", "-y")): "execve x -y (/bin/x)",
}


def test_no_step_is_without_an_example() -> None:
    assert {step.name for step in WORDS} == {*plan.CODES, *NAMED} - {"DATA", "ADDRESS"}


@pytest.mark.parametrize("step", WORDS, ids=lambda step: step.name)
def test_a_step_is_described_by_the_kernels_own_names(step: Step) -> None:
    assert plan.describe(step) == WORDS[step]

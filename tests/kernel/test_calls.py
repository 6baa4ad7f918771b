"""Plans with system calls: their bytes, carried out by an interpreter of our own, reach what was
meant: numbers, texts, results of earlier calls, structures with both and with addresses."""

from __future__ import annotations

import struct
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.kernel import calls, plan, wire
from supervisor.kernel.calls import Address, Argument, Out, Struct, call
from supervisor.kernel.plan import Step

END = Step("EXEC", ("/bin/true", "true"))
BASE = 0x7F00_0000_0000  # where the data lie, for the interpreter
U64 = (1 << 64) - 1


class Made(NamedTuple):
    """A call as the kernel would have seen it: its arguments, and the data as they were then."""

    name: str
    arguments: tuple[int, ...]
    memory: bytes

    def at(self, index: int, size: int) -> bytes:
        return self.memory[self.arguments[index] - BASE :][:size]


def carry_out(data: bytes) -> list[Made]:
    """What the child does with a plan (docs/keeper-protocol.md). The n-th call returns 100 + n."""
    by_code = {code: name for name, code, _, _ in wire.STEPS}
    memory, found = bytearray(), []
    while data:
        code, _, length = struct.unpack_from("<HHI", data)
        payload, data = data[8 : 8 + length], data[8 + length :]
        if by_code[code] == "DATA":
            memory = bytearray(payload)
        elif by_code[code] == "ADDRESS":
            at, of = struct.unpack("<II", payload)
            assert max(at, of) + 8 <= len(memory)
            struct.pack_into("<Q", memory, at, BASE + of)
        elif by_code[code] == "CALL":
            row, _, result, kinds, *values = struct.unpack("<IIII5Q", payload)
            for i, value in enumerate(values):
                kind = kinds >> 2 * i & 3
                assert not kind or value + 8 <= len(memory)
                if kind == wire.CALL_KINDS["RESULT"]:
                    (values[i],) = struct.unpack_from("<i", memory, value)
                elif kind == wire.CALL_KINDS["ADDRESS"]:
                    values[i] = BASE + value
            found.append(Made(wire.CALLS[row], tuple(values), bytes(memory)))
            assert result + 8 <= len(memory)
            struct.pack_into("<i", memory, result, 100 + len(found) - 1)
    return found


def made_of(*steps: Step) -> list[Made]:
    return carry_out(plan.encode([*steps, END]))


def one(step: Step) -> Made:
    (found,) = made_of(step)
    return found


# --- what each argument becomes ---


def test_numbers_are_passed_as_they_are_and_the_rest_is_nought() -> None:
    assert one(call("unshare", 1 << 63, words="")).arguments == (1 << 63, 0, 0, 0, 0)
    assert one(call("openat", -100, words="")).arguments[0] == U64 - 99


def test_texts_are_passed_by_address_with_their_end() -> None:
    found = one(call("openat", -100, "/srv/ä\udcff", 5, words=""))
    expected = "/srv/ä".encode() + b"\xff\0"
    assert found.at(1, len(expected)) == expected
    assert found.arguments[2] == 5


def test_a_result_is_found_by_later_calls_and_in_their_structures() -> None:
    attr = Struct((b"\x01" * 8, Out("dir")))
    _, second, third = made_of(
        call("openat", -100, "/srv", result="dir", words=""),
        call("fchdir", Out("dir"), words=""),
        call("landlock_add_rule", 3, 1, attr, 0, words=""),
    )
    assert second.arguments[0] == 100
    assert third.at(2, 12) == b"\x01" * 8 + struct.pack("<i", 100)


def test_a_structure_has_the_addresses_of_its_bytes() -> None:
    program = b"\x06\0\0\0\0\0\xff\x7f"
    found = one(call("prctl", 22, 2, Struct((b"\x01\0", bytes(6), Address(program))), words=""))
    (address,) = struct.unpack("<Q", found.at(2, 16)[8:])
    assert found.memory[address - BASE :][:8] == program


def test_data_that_are_the_same_are_there_once() -> None:
    blob = bytes(range(200))
    once = len(plan.encode([call("keyctl", 1, blob, words=""), END]))
    twice = len(plan.encode([call("keyctl", 1, blob, words="")] * 2 + [END]))
    assert twice - once < len(blob)


@pytest.mark.parametrize("wrong", [Out("x"), Struct((Out("x"),))])
def test_a_result_that_no_earlier_call_has_is_an_error(wrong: Argument) -> None:
    later = call("openat", -100, "/", result="x", words="")
    for steps in ([call("close", wrong, words="")], [call("close", wrong, words=""), later]):
        with pytest.raises(ValueError, match="x is no result of an earlier call"):
            plan.encode([*steps, END])


def test_what_the_keeper_would_not_make_is_an_error() -> None:
    with pytest.raises(ValueError, match="execve with 0 arguments is no call of a plan"):
        call("execve", words="")
    with pytest.raises(ValueError, match="prctl with 6 arguments"):
        call("prctl", 1, 2, 3, 4, 5, 6, words="")


# --- steps with names of their own ---


def test_limits_and_groups_are_calls() -> None:
    limit = one(Step("RLIMIT", (7, 10, 20)))
    assert (limit.name, limit.arguments[:2]) == ("prlimit64", (0, 7))
    assert limit.at(2, 16) == struct.pack("<QQ", 10, 20)
    nice = one(Step("NICE", (-5,)))
    assert (nice.name, nice.arguments[:3]) == ("setpriority", (0, 0, U64 - 4))
    groups = one(Step("GROUPS", (1001, 2000)))
    assert (groups.name, groups.arguments[0]) == ("setgroups", 2)
    assert groups.at(1, 8) == struct.pack("<II", 1001, 2000)
    assert one(Step("GROUPS", ())).arguments[0] == 0


@pytest.mark.parametrize("cpu", [0, 7, 63, 64, 1023])
def test_a_cpu_is_one_bit_of_whole_words(cpu: int) -> None:
    found = one(Step("AFFINITY", (cpu,)))
    size = found.arguments[1]
    assert (found.name, found.arguments[0], size % 8) == ("sched_setaffinity", 0, 0)
    assert int.from_bytes(found.at(2, size), "little") == 1 << cpu


# --- any plan ---

_BYTES = st.binary(max_size=12)
_LABELS = st.sampled_from("abc")
_PARTS = st.one_of(_BYTES, _LABELS.map(Out), _BYTES.map(Address))
_ARGUMENTS = st.one_of(
    st.integers(-(1 << 31), U64),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8),
    _BYTES,
    _LABELS.map(Out),
    st.lists(_PARTS, max_size=4).map(lambda parts: Struct(tuple(parts))),
)
_CALLS = st.tuples(st.lists(_ARGUMENTS, max_size=5), st.one_of(st.just(""), _LABELS))


def labels_of(argument: Argument) -> list[str]:
    parts = argument.parts if isinstance(argument, Struct) else (argument,)
    return [part.label for part in parts if isinstance(part, Out)]


def check(found: Made, index: int, meant: Argument, results: dict[str, int]) -> None:
    if isinstance(meant, int):
        assert found.arguments[index] == meant & U64
    elif isinstance(meant, Out):
        assert found.arguments[index] == results[meant.label]
    elif isinstance(meant, (str, bytes)):
        data = meant if isinstance(meant, bytes) else meant.encode() + b"\0"
        assert found.at(index, len(data)) == data
    else:
        at = found.arguments[index] - BASE
        for part in meant.parts:
            if isinstance(part, bytes):
                assert found.memory[at : at + len(part)] == part
                at += len(part)
            elif isinstance(part, Out):
                assert struct.unpack_from("<i", found.memory, at)[0] == results[part.label]
                at += 4
            else:
                (address,) = struct.unpack_from("<Q", found.memory, at)
                assert found.memory[address - BASE :][: len(part.data)] == part.data
                at += 8


@given(st.lists(_CALLS, max_size=6))
def test_whatever_is_asked_for_is_what_the_kernel_sees(
    wanted: list[tuple[list[Argument], str]],
) -> None:
    results: dict[str, int] = {}
    steps: list[Step] = []
    meant: list[tuple[list[Argument], dict[str, int]]] = []
    owner: dict[str, Struct] = {}
    for arguments, label in wanted:
        usable = [
            argument
            for argument in arguments
            if set(labels_of(argument)) <= set(results)
            and len(set(labels_of(argument))) == len(labels_of(argument))
            and not (
                isinstance(argument, Struct)
                and any(owner.setdefault(one, argument) != argument for one in labels_of(argument))
            )
        ]
        meant.append((usable, dict(results)))
        if label and label not in results:  # a label is that of one call
            results[label] = 100 + len(steps)
        else:
            label = ""
        steps.append(call("ioctl", *usable, result=label, words=""))
    found = made_of(*steps)
    assert len(found) == len(steps)
    for made, (arguments, known) in zip(found, meant, strict=True):
        for index, argument in enumerate(arguments):
            check(made, index, argument, known)


@given(st.lists(_BYTES, min_size=1, max_size=5))
def test_steps_keep_their_numbers_behind_what_leads(blobs: list[bytes]) -> None:
    steps = [call("prctl", 22, 2, Struct((Address(blob),)), words=f"n {blob!r}") for blob in blobs]
    encoded = plan.encode([*steps, END])
    names = plan.names([*steps, END], encoded)
    assert names[calls.lead(encoded) :] == (*(f"n {blob!r}" for blob in blobs), "EXEC")
    assert set(names[: calls.lead(encoded)]) == {"DATA"}
    assert calls.lead(encoded) == 1 + len(set(blobs))


def test_a_plan_that_differs_anywhere_has_bytes_of_its_own() -> None:
    """Bytes are kept for a plan that is the same again; what only looks like it is another."""
    plans: list[list[Argument]] = [
        [1, "/a"], [2, "/a"], [1, "/b"], [1, b"/a\0x"], [1, Struct((b"/a",))],
        [1, Struct((b"/b",))], [1, Struct((Address(b"/a"),))], ["1", "/a"], [1, Out("it")],
        [1, Struct((Out("it"),))],
    ]  # fmt: skip
    first = call("openat", 0, result="it", words="")
    made = [[first, call("openat", *args, words=""), END] for args in plans]
    made += [[*made[0][:2], Step("EXEC", ("/bin/true", "true", "x"))], [*made[0][:1], END]]
    fresh = []
    for steps in made:
        calls._encoded.cache_clear()
        fresh.append(plan.encode(steps))
    assert len(set(fresh)) == len(made)
    for _ in range(2):
        assert [plan.encode(list(steps)) for steps in made[:5]] == fresh[:5]
    assert calls._encoded.cache_info().hits >= 5

"""[limits] to cgroup files: every key on v2 and v1, what is missing, and how one set follows
another. Pure: no cgroup is touched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.kernel import limits_v1
from supervisor.kernel.limits import (
    KEYS,
    RESETS,
    Compiled,
    Found,
    Unenforceable,
    Write,
    change,
    of_process,
    translate,
)
from supervisor.model.unit import IoLimit, Limits

FILES_V2 = frozenset(RESETS) - {"io.bfq.weight"}
FILES_V1 = frozenset(limits_v1.RESETS) - {"blkio.weight"}
IO = (IoLimit("/var", 1000, None, 5), IoLimit("/tmp", None, 70, 9, 4), IoLimit("/srv", 800))
DISKS = {"/var": "8:0", "/tmp": "8:16", "/srv": "8:0"}

# Key: value, field, writes on v2, writes on v1 (None: v1 cannot).
EXPECTED: dict[str, tuple[Any, list[tuple[str, str]], list[tuple[str, str]] | None]] = {
    "memory": (
        1 << 20, [("memory.max", "1048576")], [("memory.limit_in_bytes", "1048576")]),
    "memory_high": (1 << 20, [("memory.high", "1048576")], None),
    "memory_min": (4096, [("memory.min", "4096")], None),
    "swap": (0, [("memory.swap.max", "0")], None),  # on v1 with `memory` only: see below
    "oom": ("process", [("memory.oom.group", "0")], []),
    "cpu": (
        1500, [("cpu.max", "150000 100000")],
        [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "150000")]),
    "cpu_weight": (200, [("cpu.weight", "200")], [("cpu.shares", "2048")]),
    "cpus": ("0-3,8", [("cpuset.cpus", "0-3,8")], [("cpuset.cpus", "0-3,8")]),
    "io_weight": (10_000, [("io.weight", "default 10000")], [("blkio.bfq.weight", "1000")]),
    "io": (
        IO,
        [("io.max", "8:0 rbps=800 wbps=max riops=5 wiops=max"),
         ("io.max", "8:16 rbps=max wbps=70 riops=9 wiops=4")],
        [("blkio.throttle.read_bps_device", "8:0 800"),
         ("blkio.throttle.read_iops_device", "8:0 5"),
         ("blkio.throttle.write_bps_device", "8:16 70"),
         ("blkio.throttle.read_iops_device", "8:16 9"),
         ("blkio.throttle.write_iops_device", "8:16 4")]),
    "tasks": (10, [("pids.max", "10")], [("pids.max", "10")]),
}  # fmt: skip


def host(version: int, *, without: str = "", no_file: str = "") -> Any:
    """A host whose controllers are all of one version, but for one that is missing."""

    def find(controller: str) -> Found | str:
        if controller == without:
            return "no such controller"
        files = FILES_V2 if version == 2 else FILES_V1
        return Found(version, "/x", files - {no_file})

    return find


def only(key: str) -> Limits:
    """A section of this key alone: the default of the others is not in the way."""
    return Limits(**{KEYS[key][1]: EXPECTED[key][0]})


def compiled(limits: Limits, find: Any, **options: Any) -> Compiled:
    """Without the defaults, if the section does not say them."""
    made = translate(limits, find, DISKS.__getitem__, **options)
    asked = {key for key, (_, field) in KEYS.items() if getattr(limits, field) not in {None, ()}}
    return Compiled(tuple(one for one in made.writes if one.key in asked), made.missing)


def test_every_key_of_the_section_is_a_controllers_or_a_processs_or_a_word() -> None:
    fields = {field for _, field in KEYS.values()}
    of_each = {"oom_score_adjust", "nice", "files", "core", "rlimits"}
    assert set(Limits.__struct_fields__) == fields | of_each | {"slice", "require"}
    assert set(EXPECTED) == set(KEYS) == set(limits_v1.RULES)


@pytest.mark.parametrize("key", EXPECTED)
@pytest.mark.parametrize("version", [1, 2])
def test_a_key_is_these_writes(key: str, version: int) -> None:
    value, v2, v1 = EXPECTED[key]
    pairs = v2 if version == 2 else v1
    found = compiled(only(key), host(version))
    if pairs is None:
        assert found.writes == ()
        assert [one.key for one in found.missing] == [key]
        assert "cgroup v" in found.missing[0].why
    else:
        assert found == Compiled(tuple(Write(key, KEYS[key][0], *pair) for pair in pairs), ())
    assert value == getattr(only(key), KEYS[key][1])


@pytest.mark.parametrize("key", EXPECTED)
@pytest.mark.parametrize("version", [1, 2])
def test_a_key_without_its_controller_is_named(key: str, version: int) -> None:
    found = compiled(only(key), host(version, without=KEYS[key][0]))
    assert found.writes == ()
    assert [str(one) for one in found.missing] == [
        f"limits.{key} cannot be enforced here: no such controller"
    ]


@pytest.mark.parametrize(
    "key, version, file",
    [
        (key, version, file)
        for key, (_, *both) in EXPECTED.items()
        for version, pairs in zip((2, 1), both, strict=True)
        for file, _ in pairs or ()
    ],
)
def test_a_key_whose_file_the_kernel_does_not_have_is_named(
    key: str, version: int, file: str
) -> None:
    found = compiled(only(key), host(version, no_file=file))
    assert found.writes == ()
    assert [one.key for one in found.missing] == [key]
    assert found.missing[0].why == f"its {KEYS[key][0]} controller has no {file}"


def test_all_keys_together_are_the_writes_of_each() -> None:
    whole = Limits(**{KEYS[key][1]: value for key, (value, _, _) in EXPECTED.items()})
    pairs = [(one.file, one.value) for one in compiled(whole, host(2)).writes]
    assert pairs == [pair for key in KEYS for pair in EXPECTED[key][1]]
    on_v1 = compiled(whole, host(1))
    assert [one.key for one in on_v1.missing] == ["memory_high", "memory_min"]
    pairs = [(one.file, one.value) for one in on_v1.writes]
    expected = [pair for key in KEYS for pair in EXPECTED[key][2] or ()]
    expected.insert(1, ("memory.memsw.limit_in_bytes", "1048576"))
    assert pairs == expected


def test_controllers_may_be_of_both_versions_on_one_host() -> None:
    def mixed(controller: str) -> Found | str:
        found: Found | str = host(2 if controller == "pids" else 1)(controller)
        return found

    found = translate(Limits(memory_bytes=1 << 20, tasks=5), mixed, DISKS.__getitem__)
    assert [one.file for one in found.writes] == ["memory.limit_in_bytes", "pids.max"]


@pytest.mark.parametrize("version", [1, 2])
def test_defaults_hold_where_the_host_can_and_are_missing_nowhere(version: int) -> None:
    def pairs(limits: Limits, find: Any, **options: Any) -> list[tuple[str, str]]:
        found = translate(limits, find, DISKS.__getitem__, **options)
        assert found.missing == ()
        return [(one.file, one.value) for one in found.writes]

    oom = [("memory.oom.group", "1")] if version == 2 else []
    assert pairs(Limits(), host(version)) == [*oom, ("pids.max", "4096")]
    assert pairs(Limits(), host(version, without="pids")) == oom
    assert pairs(Limits(), host(version, without="memory")) == [("pids.max", "4096")]
    assert pairs(Limits(), host(version), group=True) == []
    assert pairs(Limits(), lambda _: "none at all") == []


def test_a_budget_that_is_used_up_takes_all_of_a_group_on_v2_only() -> None:
    limits = Limits(oom="unit")
    on_v2 = translate(limits, host(2), DISKS.__getitem__, group=True)
    assert [(one.file, one.value) for one in on_v2.writes] == [("memory.oom.group", "1")]
    on_v1 = translate(limits, host(1), DISKS.__getitem__, group=True)
    assert [one.key for one in on_v1.missing] == ["oom"]


@pytest.mark.parametrize(
    "milli, v2, v1",
    [
        (1, "1000 1000000", ("1000000", "1000")),
        (9, "9000 1000000", ("1000000", "9000")),
        (10, "1000 100000", ("100000", "1000")),
        (1000, "100000 100000", ("100000", "100000")),
        (1024_000, "102400000 100000", ("100000", "102400000")),
    ],
)
def test_a_small_part_of_a_core_has_a_long_period(
    milli: int, v2: str, v1: tuple[str, str]
) -> None:
    limits = Limits(cpu_milli=milli)
    assert compiled(limits, host(2)).writes[0].value == v2
    assert tuple(one.value for one in compiled(limits, host(1)).writes) == v1


@pytest.mark.parametrize(
    "weight, shares, bfq", [(1, "10", "1"), (100, "1024", "100"), (10_000, "102400", "1000")]
)
def test_weights_keep_their_middle(weight: int, shares: str, bfq: str) -> None:
    limits = Limits(cpu_weight=weight, io_weight=weight)
    assert [one.value for one in compiled(limits, host(1)).writes] == [shares, bfq]

    def with_bfq(_: str) -> Found:
        return Found(2, "/x", frozenset(("io.weight", "io.bfq.weight", "cpu.weight")))

    pairs = [(one.file, one.value) for one in compiled(limits, with_bfq).writes]
    assert pairs == [
        ("cpu.weight", str(weight)),
        ("io.weight", f"default {weight}"),
        ("io.bfq.weight", f"default {bfq}"),
    ]

    def with_cfq(_: str) -> Found:
        return Found(1, "/x", frozenset(("blkio.weight", "blkio.bfq.weight", "cpu.shares")))

    last = compiled(limits, with_cfq).writes[-1]
    assert last.file == "blkio.weight"
    assert 10 <= int(last.value) <= 1000


def test_swap_on_v1_is_counted_with_memory() -> None:
    limits = Limits(memory_bytes=10 << 20, swap_bytes=5 << 20)
    pairs = [(one.file, one.value) for one in compiled(limits, host(1)).writes]
    assert pairs[1] == ("memory.memsw.limit_in_bytes", str(15 << 20))
    (alone,) = compiled(Limits(swap_bytes=1), host(1)).missing
    assert "set limits.memory as well" in alone.why


def test_a_path_on_no_disk_names_its_key_only() -> None:
    def device(path: str) -> str:
        raise Unenforceable(f"{path} is on no disk")

    found = translate(Limits(io=IO, tasks=5), host(2), device)
    assert [str(one) for one in found.missing] == [
        "limits.io cannot be enforced here: /var is on no disk"
    ]
    assert [one.key for one in found.writes] == ["oom", "tasks"]


def test_what_holds_for_each_process() -> None:
    limits = Limits(
        files=(10, 20), core=(0, 0), rlimits=(("as", 5, 6), ("stack", 1, 2)), nice=-3,
        oom_score_adjust=100,
    )  # fmt: skip
    found = of_process(limits)
    assert found.rlimits == ((3, 1, 2), (4, 0, 0), (7, 10, 20), (9, 5, 6))
    assert (found.nice, found.oom_score) == (-3, 100)
    assert of_process(Limits()) == ((), None, None)


# --- from one set to another ---

_FIGURES = st.none() | st.integers(1, 9)
LIMITS = st.builds(
    Limits,
    memory_bytes=_FIGURES,
    swap_bytes=_FIGURES,
    memory_high_bytes=_FIGURES,
    memory_min_bytes=_FIGURES,
    cpu_milli=st.none() | st.sampled_from([1, 500, 1000]),
    cpu_weight=_FIGURES,
    cpus=st.sampled_from(["", "0", "0-1"]),
    io_weight=_FIGURES,
    io=st.lists(
        st.builds(IoLimit, st.sampled_from(sorted(DISKS)), *[_FIGURES] * 4), max_size=3
    ).map(tuple),
    tasks=_FIGURES,
    oom=st.sampled_from([None, "unit", "process"]),
)


def state(*writes: Write) -> dict[tuple[str, str], str]:
    """What the files say after these writes: figures by file and device, none where it is the
    default."""
    resets = {**limits_v1.RESETS, **RESETS}
    found: dict[tuple[str, str], str] = {}
    for one in writes:
        device, _, rest = one.value.partition(" ")
        if ":" not in device:
            device, rest = "", one.value
        if rest == resets[one.file]:
            found.pop((one.file, device), None)
        else:
            found[one.file, device] = rest
    return found


@given(LIMITS, LIMITS, st.sampled_from([1, 2]))
def test_after_a_change_it_is_as_if_the_new_ones_had_been_there_from_the_start(
    old: Limits, new: Limits, version: int
) -> None:
    before, after = (
        translate(limits, host(version), DISKS.__getitem__).writes for limits in (old, new)
    )
    resets = {**limits_v1.RESETS, **RESETS}
    changes = change(before, after, resets)
    assert state(*before, *changes) == state(*after)
    assert not set(changes) & set(before), "what holds is not written again"


def test_an_equal_set_is_no_change() -> None:
    writes = translate(Limits(memory_bytes=1 << 20, io=IO), host(2), DISKS.__getitem__).writes
    assert change(writes, writes, RESETS) == []

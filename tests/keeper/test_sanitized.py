"""The keeper under AddressSanitizer and UBSan: in earnest, and its decoder fuzzed.

Built dynamically, since the sanitizers allow no other way; what is tested is the same source.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fault import test_f15_reexec, test_f23_hostile_frames
from tests.keeper import (
    keeperclient,
    test_calls,
    test_launch,
    test_manager_life,
    test_mini,
    test_plan,
    test_store,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SANITIZERS = (
    "-O1",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)
DECODER = ("bytes.c", "manager.c", "plan.c", "system.c", "tables.c")
DATAGRAMS = 60_000


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="keeper-build-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def sanitized(directory: Path) -> str:
    probe = directory / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    if subprocess.run(
        ["cc", *SANITIZERS, probe, "-o", directory / "probe"], check=False
    ).returncode:
        pytest.skip("this compiler has no AddressSanitizer")
    return keeperclient.build(directory, *SANITIZERS)


@pytest.fixture
def under_sanitizers(sanitized: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(keeperclient, "keeper_binary", lambda: sanitized)
    monkeypatch.setattr(test_f15_reexec, "keeper_binary", lambda: sanitized)
    monkeypatch.setattr(test_mini, "keeper_binary", lambda: sanitized)
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")
    said: list[str] = []
    close = keeperclient.Keeper.close

    def close_and_remember(keeper: keeperclient.Keeper) -> None:
        said.append(keeper.said())
        close(keeper)

    monkeypatch.setattr(keeperclient.Keeper, "close", close_and_remember)
    yield
    assert not [words for words in said if "Sanitizer" in words or "runtime error" in words]


IN_EARNEST: list[Callable[[], None]] = [
    test_plan.test_each_step_has_its_effect,
    test_plan.test_environment_is_exactly_what_the_plan_says,
    test_plan.test_malformed_plans_are_refused_whole,
    test_plan.test_standard_error_may_have_a_stream_of_its_own,
    test_plan.test_both_streams_stay_clear_of_targets,
    test_launch.test_killed_before_exec_is_a_failed_launch,
    test_launch.test_adopted_process_becomes_the_main_one,
    test_manager_life.test_next_manager_finds_children_exit_records_and_descriptors,
    test_manager_life.test_what_a_manager_had_asked_before_it_died_is_done,
    test_manager_life.test_third_stop_signal_stops_everything,
    test_manager_life.test_exit_kills_what_is_left_and_gives_the_status,
    test_manager_life.test_logger_gets_all_streams_and_its_time_to_drain_at_exit,
    test_manager_life.test_manager_that_does_not_read_gets_everything_later_and_in_order,
    test_calls.test_results_go_where_later_calls_find_them,
    test_calls.test_addresses_in_structures_reach_what_they_are_of,
    test_calls.test_calls_that_could_reach_beyond_their_data_are_refused,
    test_calls.test_a_step_after_the_birth_is_counted_on,
    test_calls.test_maps_of_a_user_namespace_are_written_from_outside,
    test_store.test_put_get_and_drop,
    test_store.test_new_logger_is_sent_every_stream_again,
    test_store.test_dropped_stream_is_kept_until_it_is_empty,
    test_f15_reexec.test_what_is_no_keeper_is_refused_and_nothing_changes,
    test_f23_hostile_frames.test_each_kind_of_wrong_frame_is_answered,
]


@pytest.mark.usefixtures("under_sanitizers")
@pytest.mark.parametrize("test", IN_EARNEST, ids=lambda test: test.__name__)
def test_nothing_is_found_in_earnest(test: Callable[[], None]) -> None:
    test()


@test_calls.needs_root
@pytest.mark.usefixtures("under_sanitizers")
def test_nothing_is_found_in_a_pid_namespace() -> None:
    test_calls.test_in_a_pid_namespace_status_and_signals_are_exact()
    test_calls.test_what_a_service_leaves_behind_lives_on_and_is_reaped()


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_found_by_fuzzing_the_decoder(
    directory: Path, sanitized: str, seed: int
) -> None:
    assert sanitized
    program = directory / "decoder"
    if not program.exists():
        own = Path(__file__).parent / "fuzz" / "decoder.c"
        sources = [own, *(keeperclient.SOURCES / name for name in DECODER)]
        keeperclient.build(directory, *SANITIZERS, sources=sources, name="decoder")
    result = subprocess.run(
        [program, str(seed), str(DATAGRAMS)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{DATAGRAMS} datagrams")
    assert int(result.stdout.split(" calls")[0].split()[-1]) > 20

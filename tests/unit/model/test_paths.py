"""Every process of a supervisor finds the same directories, and two supervisors share none."""
from __future__ import annotations

from supervisor.model.paths import paths

HOME = {"HOME": "/home/ada"}
USER = {**HOME, "XDG_RUNTIME_DIR": "/run/user/7"}


def test_root_gets_the_system_directories() -> None:
    found = paths({}, 0)
    assert (found.runtime, found.state, found.log) == (
        "/run/unboxed", "/var/lib/unboxed", "/var/log/unboxed")
    assert found.units == ("/etc/unboxed/units", "/run/unboxed/units", "/usr/lib/unboxed/units")
    assert not found.shared_tmp


def test_a_user_gets_the_xdg_directories() -> None:
    found = paths(USER, 7)
    assert (found.runtime, found.state, found.log) == (
        "/run/user/7/unboxed", "/home/ada/.local/state/unboxed",
        "/home/ada/.local/state/unboxed/log")
    assert found.units == (
        "/home/ada/.config/unboxed/units", "/run/user/7/unboxed/units",
        "/home/ada/.local/share/unboxed/units")


def test_xdg_variables_are_followed_only_when_absolute() -> None:
    found = paths({**USER, "XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "/cfg/"}, 7)
    assert found.state == "/home/ada/.local/state/unboxed"
    assert found.admin_units == "/cfg/unboxed/units"


def test_without_a_runtime_directory_tmp_is_used_and_marked_as_not_to_be_trusted() -> None:
    found = paths(HOME, 7)
    assert found.runtime == "/tmp/unboxed-7"
    assert found.shared_tmp
    assert not paths(HOME, 7, runtime_dir="/srv/rt").shared_tmp


def test_without_a_home_directory_state_stays_beside_the_sockets_and_no_unit_directory_is_guessed(
) -> None:
    found = paths({}, 7)
    assert found.state == "/tmp/unboxed-7/state"
    assert found.units == ("/tmp/unboxed-7/units",)


def test_flags_win_over_variables_and_variables_over_defaults() -> None:
    env = {"UNBOXED_RUNTIME_DIR": "/e/rt", "UNBOXED_STATE_DIR": "/e/st", "UNBOXED_LOG_DIR": "/e/lg"}
    assert [paths(env, 0).runtime, paths(env, 0).state, paths(env, 0).log] == [
        "/e/rt", "/e/st", "/e/lg"]
    found = paths(env, 0, "/f/rt/", "/f/st", "/f/lg")
    assert [found.runtime, found.state, found.log] == ["/f/rt", "/f/st", "/f/lg"]


def test_two_supervisors_of_one_user_share_neither_state_nor_logs() -> None:
    for env, uid in ((USER, 7), ({}, 0)):
        first, second, third = (paths(env, uid, runtime_dir=d) for d in ("", "/run/b", "/run@b"))
        assert len({first.state, second.state, third.state}) == 3
        assert len({first.log, second.log, third.log}) == 3
    assert paths({}, 0, runtime_dir="/run/b").log == "/var/lib/unboxed/at/run@b/log"


def test_a_given_state_directory_takes_the_logs_along() -> None:
    assert paths({}, 0, state_dir="/srv/state").log == "/srv/state/log"


def test_units_replace_the_admin_and_vendor_directories_but_not_the_transient_one() -> None:
    found = paths({}, 0, units=["/a/", "/b"])
    assert found.units == ("/a", "/b", "/run/unboxed/units")
    assert (found.admin_units, found.vendor_units) == ("", "")


def test_the_default_named_in_full_is_the_default() -> None:
    assert paths({}, 0, runtime_dir="/run/unboxed/").state == "/var/lib/unboxed"


def test_sockets_lie_in_the_runtime_directory() -> None:
    found = paths({}, 0)
    assert (found.control, found.status, found.nudge) == (
        "/run/unboxed/control", "/run/unboxed/status", "/run/unboxed/nudge")

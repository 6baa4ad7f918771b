"""What `explain` tells of the system calls of a plan."""
from __future__ import annotations

from supervisor.kernel.calls import Out, Struct, call
from supervisor.kernel.plan import Step
from supervisor.kernel.summary import summary


def test_calls_on_one_thing_are_one_line_and_its_closing_is_none() -> None:
    steps = [
        call("openat2", -100, "/srv", result="at", words="find /srv"),
        call("open_tree", Out("at"), "", result="srv", words="take /srv"),
        call("close", Out("at"), words="done"),
        call("mount_setattr", Out("srv"), "", words="make it read-only"),
        call("close", Out("srv"), words="done"),
    ]
    words = "openat2(2), open_tree(2), mount_setattr(2): find /srv; take /srv; make it read-only"
    assert summary(steps) == [("CALL", words)]


def test_a_result_inside_a_structure_counts_too() -> None:
    steps = [
        call("openat2", -100, "/srv", result="at", words="find /srv"),
        call("landlock_add_rule", 3, 1, Struct((bytes(8), Out("at"))), words="allow /srv"),
    ]
    assert summary(steps) == [("CALL", "openat2(2), landlock_add_rule(2): find /srv; allow /srv")]


def test_what_has_nothing_to_do_with_the_line_before_begins_another() -> None:
    steps = [
        call("unshare", 1, words="a mount namespace"),
        call("mkdirat", -100, "a", 0o755, words="make a"),
        call("mkdirat", -100, "b", 0o755, words="make b"),
        Step("UMASK", (0o77,)),
        call("mkdirat", -100, "c", 0o755, words="make c"),
    ]
    assert summary(steps) == [
        ("CALL", "unshare(2): a mount namespace"),
        ("CALL", "mkdirat(2): make a; make b"),
        ("UMASK", "umask(077)"),
        ("CALL", "mkdirat(2): make c"),
    ]

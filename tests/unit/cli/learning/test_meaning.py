"""What calls mean for paths: the tables against the kernel's own argument order."""
from __future__ import annotations

import pytest

from supervisor.cli.learning.meaning import HERE, Place, named, opening, places
from supervisor.kernel.seccomp.filter import ARCHES
from supervisor.kernel.seccomp.words import WORDS

AT_FDCWD = 2**64 - 100


def args(*values: int) -> tuple[int, ...]:
    return (*values, *(0 for _ in range(6 - len(values))))


@pytest.mark.parametrize(
    "flags, uses",
    [
        (0, ("read",)),
        (1, ("write",)),
        (2, ("read", "write")),
        (0o101, ("write", "make")),
        (0o1000, ("read", "write")),
        (0o10000000, ("look",)),
        (0o10000000 | 2, ("look",)),
    ],
)
def test_open_flags_say_what_is_done_to_the_path(flags: int, uses: tuple[str, ...]) -> None:
    assert opening(flags) == uses


def test_open_has_its_path_first_and_openat_second() -> None:
    assert places("open", args(1, 0)) == (Place(HERE, 0, "read"),)
    assert places("openat", args(3, 1, 0)) == (Place(0, 1, "read"),)
    assert places("creat", args(1)) == (Place(HERE, 0, "write"), Place(HERE, 0, "make"))


def test_a_link_at_the_end_is_not_followed_where_the_kernel_does_not() -> None:
    assert not places("openat", args(3, 1, 0o400000))[0].follow
    assert not places("openat", args(3, 1, 0o301))[0].follow  # O_CREAT | O_EXCL
    assert places("openat", args(3, 1, 0o101))[0].follow
    assert not places("newfstatat", args(3, 1, 2, 0x100))[0].follow
    assert places("newfstatat", args(3, 1, 2, 0))[0].follow
    assert not places("openat", args(3, 1, 0o100000), "aarch64")[0].follow
    assert not places("linkat", args(3, 1, 4, 2, 0))[0].follow
    assert places("linkat", args(3, 1, 4, 2, 0x400))[0].follow


def test_both_names_of_a_rename_are_entries() -> None:
    assert [(one.directory, one.path, one.use) for one in places("renameat2", args())] == [
        (0, 1, "make"), (2, 3, "make")]


def test_every_call_on_paths_that_a_word_about_paths_has_means_something() -> None:
    """Or a file that a service needs would be missing from what is learned."""
    without = {  # no path, or only of descriptors
        "inotify_init", "inotify_init1", "inotify_rm_watch", "getcwd", "mknod", "mknodat",
    }
    for word in ("rpath", "wpath", "cpath", "fattr", "chown"):
        for call in WORDS[word].calls - without:
            assert places(call, args()), call


def test_all_calls_of_the_tables_exist() -> None:
    known = {name for arch in ARCHES.values() for name in arch.calls}
    for call in ("open", "execveat", "fchmodat2", "setxattrat", "bind", "connect", "sendto"):
        assert call in known
    assert named("bind") is not None
    assert named("read") is None

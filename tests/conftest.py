"""Each run of the tests has a directory for `tmp_path` to itself.

pytest's own, pytest-of-USER, is shared by all runs of a user, and each that begins takes from it
what others were let in by: then a supervisor or unit of another user, in a test of a run that is
under way, could not even remove its own socket.
"""
from __future__ import annotations

import shutil
import tempfile

import pytest

_own: list[str] = []


@pytest.hookimpl(tryfirst=True)  # before `tmp_path_factory` is made
def pytest_configure(config: pytest.Config) -> None:
    if config.option.basetemp is None:
        _own.append(tempfile.mkdtemp(prefix="unboxed-tests-"))
        config.option.basetemp = _own[0]


def pytest_sessionfinish(exitstatus: int) -> None:
    """What a test that failed left is kept, for whoever looks into it."""
    if exitstatus != pytest.ExitCode.TESTS_FAILED:
        for path in _own:
            shutil.rmtree(path, ignore_errors=True)

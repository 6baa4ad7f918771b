"""Start-up time is a feature: what the long-lived processes load before they work is a short list.

Measured in the interpreter that really runs them (`-I -S`), as the difference to a bare one. The
two libraries may bring what they bring; of our own code and the standard library, only modules
written in C are let in.
"""
from __future__ import annotations

import subprocess
import sys
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.law.source import ROOT, layer, modules

MANAGER = "supervisor.manager.main"  # up to the first services
SERVICE = "supervisor.manager.service"  # right after them
LOGGER = "supervisor.logger.main"
FEED = "supervisor.logger.feeder"
CLIENT = "supervisor.cli.main"
LIBRARIES = ("msgspec", "tomli")

# Not even by way of a library: each costs milliseconds, or starts threads.
NEVER = {"asyncio", "socket", "subprocess", "logging", "threading", "argparse", "pathlib", "json",
         "ctypes", "tempfile", "random", "click", "rich", "psutil", "structlog"}

# Ours, for units that have [limits], [logs], isolation or are agents.
RARE = {"supervisor.config.limits", "supervisor.model.rlimits", "supervisor.kernel.limits",
        "supervisor.kernel.limits_v1", "supervisor.kernel.limiter", "supervisor.kernel.usage",
        "supervisor.kernel.limit_groups", "supervisor.kernel.controllers",
        "supervisor.kernel.disks", "supervisor.kernel.retune", "supervisor.core.slices",
        "supervisor.core.ports", "supervisor.manager.limiting", "supervisor.manager.figures",
        "supervisor.manager.set_limits", "supervisor.config.sandbox", "supervisor.config.network",
        "supervisor.config.isolation", "supervisor.config.promises", "supervisor.config.logs",
        "supervisor.config.agent",
        # Of machines.
        "supervisor.core.boot_order", "supervisor.manager.machine",
        "supervisor.manager.kernel_line"}


@cache
def loaded(*names: str) -> frozenset[str]:
    """The modules that importing `names` adds to a bare interpreter."""
    spec = find_spec("msgspec")
    assert spec is not None
    assert spec.origin is not None
    site = str(Path(spec.origin).parent.parent)
    code = (
        "import sys; before = set(sys.modules); sys.path[:0] = [sys.argv[1], sys.argv[2]]\n"
        "for name in sys.argv[3:]: __import__(name)\n"
        "print(' '.join(set(sys.modules) - before))"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT), site, *names],
        check=True, capture_output=True, text=True)
    return frozenset(result.stdout.split())


@cache
def in_c() -> frozenset[str]:
    """Standard library modules that are compiled in or are extension modules."""
    extensions = Path(sysconfig.get_path("platstdlib"), "lib-dynload").glob("*.so")
    return frozenset(sys.builtin_module_names) | {path.name.split(".")[0] for path in extensions}


def ours(names: frozenset[str]) -> set[str]:
    return {name for name in names if name.partition(".")[0] == "supervisor"}


def test_the_manager_starts_with_c_modules_and_its_two_libraries_only() -> None:
    found = loaded(MANAGER)
    surplus = found - ours(found) - in_c() - loaded(*LIBRARIES, "__future__")
    assert not surplus, f"the manager also loads {sorted(surplus)}"


def test_the_logger_starts_with_c_modules_only() -> None:
    found = loaded(LOGGER)
    surplus = found - ours(found) - in_c() - loaded("os", "__future__")
    assert not surplus, f"the logger also loads {sorted(surplus)}"


def test_the_logger_knows_nothing_of_units_and_policy() -> None:
    assert {layer(name) for name in ours(loaded(LOGGER))} <= {"", "logger", "kernel", "model"}


def test_a_feed_starts_with_little_more() -> None:
    found = loaded(FEED)
    library = loaded("heapq", "bisect", "collections", "ctypes", "_json", "os", "__future__")
    surplus = found - ours(found) - in_c() - library  # ctypes is for inotify
    assert not surplus, f"a feed also loads {sorted(surplus)}"


@pytest.mark.parametrize("module", [MANAGER, SERVICE, LOGGER, CLIENT])
def test_what_costs_milliseconds_is_not_loaded_at_start(module: str) -> None:
    assert not loaded(module) & (NEVER - loaded(*LIBRARIES))


@pytest.mark.parametrize("module", [MANAGER, SERVICE, LOGGER])
def test_what_few_units_ask_for_is_loaded_when_one_does(module: str) -> None:
    assert not loaded(module) & RARE
    assert set(modules()) >= RARE


def test_every_entry_point_exists() -> None:
    assert {MANAGER, SERVICE, LOGGER, FEED, CLIENT} <= set(modules())
    assert {"supervisor.manager.__main__", "supervisor.logger.__main__"} <= set(modules())

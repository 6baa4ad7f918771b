"""A folder is a layer, and imports go down only. On failure the graph as it is gets drawn."""
from __future__ import annotations

import sys

import pytest

from tests.law.source import imports, layer, modules, where

# Each folder and what it may import beside itself. The drawing is in docs/architecture.md.
MAY_IMPORT: dict[str, set[str]] = {
    "model": set(),
    "config": {"model"},
    "core": {"model"},
    "kernel": {"config", "model"},
    "logger": {"kernel", "model"},
    "manager": {"core", "kernel", "config", "model"},
    "control": {"kernel", "config", "model"},
    "agents": {"control", "model"},
    "boot": {"control", "config", "kernel", "model"},
    "cli": {"control", "config", "core", "kernel", "logger", "model"},
}

# Control knows no manager: it is handed an object that answers (model.request.Requests). These two
# put them together.
COMPOSITION = {
    "supervisor.manager.service": {"control"},
    "supervisor.manager.supervisor": {"control"},  # a type: who holds the server
}

# Modules that another process, or a stranger, uses on its own: narrower than their folder.
NARROWER = {"supervisor.control.client": {"control", "model"}}

PURE = ("core", "model")
IMPURE = {"os", "io", "socket", "select", "subprocess", "signal", "time", "threading", "logging",
          "random", "posix", "_socket", "_signal", "_io", "_thread", "_random", "asyncio",
          "tempfile", "pathlib", "shutil"}

# Third-party libraries, and the only folders that may use them (docs/architecture.md).
LIBRARIES = {
    "tomli": {"config", "control"},  # unit files; access.toml
    "msgspec": {"model", "config", "core", "kernel", "control", "manager", "boot", "cli"},
    "click": {"cli"},
    "zstandard": {"logger"},  # to pack segments and to read them, late
    "prometheus_client": {"agents"},
    "starlette": {"agents"},
    "uvicorn": {"agents"},
    "h11": {"agents"},  # which uvicorn speaks HTTP with
    "textual": {"cli"},  # of `top`, if it is installed
    "rich": {"cli"},  # what textual draws with
    "pyroute2": {"kernel", "boot"},  # of a private network, if there is one; of the machine's
}


def drawing() -> str:
    """Every edge between folders, with how often it is used and one place where."""
    edges: dict[tuple[str, str], list[str]] = {}
    for module in modules():
        for found in imports(module):
            if found.top == "supervisor" and layer(found.name) not in {"", layer(module)}:
                edge = (layer(module), layer(found.name))
                edges.setdefault(edge, []).append(where(module, found.line))
    rows = []
    for (above, below), places in sorted(edges.items()):
        allowed = below in MAY_IMPORT.get(above, set())
        mark = "-->" if allowed else "==X"
        rows.append(f"  {above:8} {mark} {below:8} {len(places):3} x, first at {places[0]}")
    return "\n".join(["the layers as they are:", *rows])


def test_every_folder_is_a_known_layer() -> None:
    assert {layer(module) for module in modules()} - {""} <= set(MAY_IMPORT)


def test_imports_go_down_only() -> None:
    upward = []
    for module in modules():
        allowed = {layer(module), *MAY_IMPORT[layer(module)]} if layer(module) else set()
        allowed |= COMPOSITION.get(module, set())
        allowed = NARROWER.get(module, allowed)
        upward += [
            f"{where(module, found.line)}: {module} imports {found.name}"
            for found in imports(module)
            if found.top == "supervisor" and layer(found.name) not in {"", *allowed}
        ]
    assert not upward, "\n".join([*upward, "", drawing()])


def test_no_module_imports_itself_in_a_circle() -> None:
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module):], module])
        if module not in done:
            for target in imports(module):
                if target.name in modules() and not target.late and target.name != "supervisor":
                    walk(target.name, (*path, module))
            done.add(module)

    for module in modules():
        walk(module, ())


@pytest.mark.parametrize("folder", PURE)
def test_pure_layers_can_neither_look_nor_act(folder: str) -> None:
    impure = [
        f"{where(module, found.line)}: {module} imports {found.name}"
        for module in modules() if layer(module) == folder
        for found in imports(module) if found.top in IMPURE
    ]
    assert not impure, "\n".join(impure)


def test_libraries_stay_in_their_layers() -> None:
    strangers = [
        f"{where(module, found.line)}: {module} imports {found.name}"
        for module in modules() for found in imports(module)
        if found.top not in {"supervisor", *sys.stdlib_module_names}
        and layer(module) not in LIBRARIES.get(found.top, set())
    ]
    assert not strangers, "\n".join(strangers)

"""network.toml to a MachineNetwork, or to all that is wrong with it; and its JSON Schema."""
from __future__ import annotations

import os
from typing import Any

from supervisor.config.build import BadText, document
from supervisor.config.files import Unreadable, read_file, reason
from supervisor.config.machine_network import NETWORK, MachineNetwork
from supervisor.config.machine_rules import check
from supervisor.config.problem import Problem

PATH = "/etc/unboxed/network.toml"


class Wrong(Exception):
    """A file that is not used, with its problems: never none."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(str(problems[0]))
        self.problems = problems


def read(path: str) -> MachineNetwork | None:
    """What the file says; None: there is none. Raises Wrong."""
    data = load(path)
    return None if data is None else parse(path, data)


def load(path: str) -> bytes | None:
    """Its bytes; None: there is none. Only root and we ourselves can have written it, as with unit
    files. Raises Wrong."""
    folder = None
    try:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if not os.access(os.path.basename(path), os.F_OK, dir_fd=folder, follow_symlinks=False):
            return None
        return read_file(folder, os.path.basename(path))
    except FileNotFoundError:
        return None
    except Unreadable as error:
        raise Wrong((Problem(path, 0, "", str(error)),)) from None
    except OSError as error:
        raise Wrong((Problem(path, 0, "", f"cannot read it: {reason(error)}"),)) from None
    finally:
        if folder is not None:
            os.close(folder)


def parse(path: str, data: bytes) -> MachineNetwork:
    """Raises Wrong."""
    try:
        doc = document(data)
    except BadText as bad:
        raise Wrong((Problem(path, bad.line, "", str(bad)),)) from None
    fields, faults = NETWORK.fields(doc)
    network = MachineNetwork(**fields) if not faults else MachineNetwork()
    faults = faults or check(network)
    if faults:
        from supervisor.config.report import Layer, problems

        raise Wrong(problems(faults, [Layer(path, data.decode(), doc)]))
    return network


def json_schema() -> dict[str, Any]:
    """For editors. It knows forms and names; `unboxed boot network --check` knows all."""
    from supervisor.config.json_schema import fragment

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The network of a machine: /etc/unboxed/network.toml",
        **fragment(NETWORK),
    }

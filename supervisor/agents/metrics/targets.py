"""Which listeners of which units a Prometheus is to scrape, and the list that it reads. Pure.

A target is a tcp listener of an instance that is to run: while it is down without having been
stopped, the scrape fails, and that is what an alert is for. An address that all instances of a unit
share is one target, of the unit.
"""
from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from supervisor.model.pattern import matches

_TARGET = re.compile(r"(?P<unit>[^:/\s]+)(?::(?P<listener>[^:/\s]+))?(?P<path>/\S*)?")
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - to be asked, not to listen on
_DEFAULT_PATH = "/metrics"


class Target(NamedTuple):
    """`listener` "": any. `path` "": the usual one."""

    unit: str
    listener: str
    path: str


class Listener(NamedTuple):
    """Of one instance. `address`: HOST:PORT."""

    key: str
    unit: str
    name: str
    address: str


def target(text: str) -> Target:
    """Of a command line. Raises ArgumentTypeError."""
    found = _TARGET.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not UNIT[:LISTENER][/PATH]")
    return Target(found["unit"], found["listener"] or "", found["path"] or "")


def tcp_listeners(description: Mapping[str, Any]) -> list[Listener]:
    """Of the answer to `Describe`; none of what is not to run."""
    status = description["status"]
    if status["goal"] != "up":
        return []
    found = []
    for one in description["listeners"]:
        family, _, address = one["address"].partition(":")
        host, _, port = address.rpartition(":")
        if family in {"tcp", "tcp6"}:
            address = f"{_ANYWHERE.get(host, host)}:{port}"
            found.append(Listener(status["key"], status["unit"], one["name"], address))
    return found


def document(wanted: Iterable[Target], listeners: Iterable[Listener]) -> str:
    """The list as file_sd_configs reads it; the same text for the same targets."""
    wanted = list(wanted)
    users: dict[tuple[str, str], set[str]] = {}  # unit and address -> keys
    labels: dict[tuple[str, str], dict[str, str]] = {}
    for one in listeners:
        spec = next((spec for spec in wanted if _fits(spec, one)), None)
        if spec is None:
            continue
        place = one.unit, one.address
        users.setdefault(place, set()).add(one.key)
        labels[place] = {"unit": one.unit, "__metrics_path__": spec.path or _DEFAULT_PATH}
    groups = []
    for (unit, address), keys in sorted(users.items()):
        told = labels[unit, address]
        if len(keys) == 1:
            told["replica"] = next(iter(keys)).partition("/")[2] or "0"
        groups.append({"targets": [address], "labels": told})
    return json.dumps(groups, indent=1, sort_keys=True) + "\n"


def _fits(spec: Target, one: Listener) -> bool:
    named = matches(spec.unit, one.unit) or spec.unit == one.key
    return named and spec.listener in {"", one.name}

"""Families of samples as text: the Prometheus format and OpenMetrics, byte for byte as the library
prometheus-client writes them (a test compares), but at a tenth of its cost.

A sample is the same line in both formats, so lines are made once, by `families.py`; what differs
is what stands around them.
"""
from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

Kind = Literal["gauge", "counter", "info", "histogram"]
_SUFFIX = {"gauge": "", "counter": "_total", "info": "_info", "histogram": ""}  # of a sample's name
# Escapings that would change names which need none, so that no query would find them.
_ODD_ESCAPING = re.compile(r"escaping\s*=\s*(dots|values)\b")
_OPEN = "application/openmetrics-text"


class Family(NamedTuple):
    """`lines`: its samples. `unit`: the word for it in its name, "" for none."""

    name: str
    kind: Kind
    help: str
    unit: str
    lines: list[str]


def render(families: Iterable[Family], *, is_open: bool) -> bytes:
    """`is_open`: OpenMetrics. Families without samples are left out."""
    parts: list[str] = []
    for name, kind, text, unit, lines in families:
        if not lines:
            continue
        told = name if is_open else name + _SUFFIX[kind]
        parts.append(f"# HELP {told} {text}\n")
        parts.append(f"# TYPE {told} {'gauge' if kind == 'info' and not is_open else kind}\n")
        if is_open and unit:
            parts.append(f"# UNIT {told} {unit}\n")
        parts += lines
    if is_open:
        parts.append("# EOF\n")
    return "".join(parts).encode()


def negotiate(accept: str) -> tuple[bool, str]:
    """Whether OpenMetrics is asked for, and the content type, as the library decides it."""
    try:
        _, content_type = choose_encoder(_ODD_ESCAPING.sub("escaping=underscores", accept))
    except TypeError:  # a version that is no number
        _, content_type = choose_encoder("")
    return content_type.startswith(_OPEN), content_type


@lru_cache(maxsize=8192)
def number(value: float) -> str:
    """As Go writes it."""
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def escaped(value: str) -> str:
    """A label's value."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

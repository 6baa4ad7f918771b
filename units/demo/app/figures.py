"""Figures in OpenMetrics text: made, read back, and merged from several sources."""
from __future__ import annotations

import re
from typing import Literal

KIND = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")


class Figures:
    """Families in order of first use, each with its samples. A counter's samples end in _total."""

    def __init__(self) -> None:
        self._heads: dict[str, tuple[str, str]] = {}
        self._samples: dict[str, list[str]] = {}

    def add(
        self, family: str, kind: Literal["counter", "gauge"], text: str, value: float, /,
        **labels: str,
    ) -> None:
        self._heads.setdefault(family, (kind, text))
        name = family + "_total" if kind == "counter" else family
        inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        number = f"{value:.6f}".rstrip("0").rstrip(".")
        self._samples.setdefault(family, []).append(
            f"{name}{{{inside}}} {number}" if inside else f"{name} {number}")

    def merge(self, text: str) -> None:
        """Take in what another source rendered; a line that is no sample is left out."""
        family = ""
        for line in text.splitlines():
            words = line.split(" ", 3)
            if words[:2] == ["#", "TYPE"] and len(words) == 4:
                family = words[2]
                self._heads.setdefault(family, (words[3], ""))
            elif words[:2] == ["#", "HELP"] and len(words) == 4:
                kind = self._heads.get(words[2], ("gauge", ""))[0]
                self._heads[words[2]] = (kind, words[3])
            elif family and line.startswith(family) and _SAMPLE.match(line):
                self._samples.setdefault(family, []).append(line)

    def render(self) -> str:
        lines = []
        for family, (kind, text) in self._heads.items():
            lines.append(f"# TYPE {family} {kind}")
            if text:
                lines.append(f"# HELP {family} {text}")
            lines += self._samples.get(family, [])
        return "\n".join([*lines, "# EOF", ""])


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

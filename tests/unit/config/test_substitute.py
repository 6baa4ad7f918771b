"""Three substitutions, and every other brace is text."""
from __future__ import annotations

import pytest

from supervisor.config.substitute import expand, ports_named

PORTS = {"http": 8080, "dns": 53}


@pytest.mark.parametrize(
    "text, meant",
    [
        ("", ""),
        ("plain", "plain"),
        ("{unit}-{instance}", "web-3"),
        ("0.0.0.0:{port:http}/{port:dns}", "0.0.0.0:8080/53"),
        ("{port:other} {port:", "{port:other} {port:"),
        ('{"unit": "{unit}", "a": {}}', '{"unit": "web", "a": {}}'),
        ("{ unit } {Unit} {{unit}}", "{ unit } {Unit} {web}"),
        ("find -exec rm {} ;", "find -exec rm {} ;"),
    ],
)
def test_expand(text: str, meant: str) -> None:
    assert expand(text, "web", 3, PORTS) == meant


def test_ports_named() -> None:
    assert ports_named("a{port:x}{port:y}b{port:z") == ["x", "y", "z"]
    assert ports_named("{port}{unit}") == []

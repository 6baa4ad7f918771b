"""`unboxed agent shipper`: sends logs to Loki, to a syslog server or to an OTLP collector.

Law: nothing is held but one batch. A line is acknowledged when its receiver has it, so what waits
for a receiver that is away waits in the log files, and a killed shipper goes on where it was. What
a receiver refuses for good is counted and told, never dropped in silence.

    settings    the TOML file that says where to
    intake      JSON Lines from the feed, without what was had already; acknowledgements
    severity    what a line says of its own urgency
    loki, otlp, syslog   one batch as each of them wants it
    post        one HTTP connection
    delivery    tries until a batch is delivered or refused
    say         to its own log, and for `unboxed status`
    work        the loop
"""
from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Exit status: 0 done, 2 bad usage or settings."""
    from supervisor.agents.shipper.work import run

    return run(argv)

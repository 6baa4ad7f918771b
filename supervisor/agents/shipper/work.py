"""The shipper's loop: read, collect a batch, deliver it, acknowledge it.

Law: one thread, one connection, one batch at a time, so lines stay in order and memory is bounded:
while a batch is not delivered nothing is read. At the end of input, or on SIGTERM, what was read is
delivered if that can be done in `end_seconds`; what is not is not acknowledged, and comes again.
"""
from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Sequence

from supervisor.agents.shipper.delivery import Delivery, Target
from supervisor.agents.shipper.intake import READ_BYTES, Intake, Line
from supervisor.agents.shipper.say import say, tell
from supervisor.agents.shipper.settings import BadSettings, Settings, load

USAGE = "usage: unboxed agent shipper [--check] [SETTINGS]"
ACK_SECONDS = 1.0  # until acknowledgements that found no room are tried again
LINE_BYTES = 200  # that a line costs beside its text, about


class Shipper:
    def __init__(self, settings: Settings, target: Target, lines: int, acks: int) -> None:
        self._settings = settings
        self._input = lines
        self._intake = Intake(acks)
        self._delivery = Delivery(settings, target, self._pause)
        self._batch: list[Line] = []
        self._batch_bytes = 0
        self._batch_until = 0.0
        self._ending = False
        self._wake_up, signalled = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        signal.signal(signal.SIGINT, lambda *_: self._end())

    def run(self) -> None:
        while not self._ending and self._read():
            if self._due() and not self._ship():
                return
        self._end()
        self._ship()

    def totals(self) -> str:
        return f"delivered {self._delivery.delivered} lines; {self._delivery.refused} were refused"

    def _end(self) -> None:
        if not self._ending:
            self._ending = True
            self._delivery.deadline = time.monotonic() + self._settings.end_seconds

    def _read(self) -> bool:
        """Wait for lines, and take some; False: there will be no more."""
        left = ACK_SECONDS if self._intake.owes() else None
        if self._batch:
            left = max(0.0, self._batch_until - time.monotonic())
        ready, _, _ = select.select([self._input, self._wake_up], [], [], left)
        if self._input not in ready:
            if not self._batch:
                self._intake.acknowledge()
            return True
        data = os.read(self._input, READ_BYTES)
        lines = self._intake.parse(data)
        if lines and not self._batch:
            self._batch_until = time.monotonic() + self._settings.batch_seconds
        self._batch += lines
        self._batch_bytes += sum(len(line.message) + LINE_BYTES for line in lines)
        if not self._batch:
            self._intake.acknowledge()  # of lines that were had before
        return bool(data)

    def _due(self) -> bool:
        settings = self._settings
        return bool(self._batch) and (
            self._batch_bytes >= settings.batch_bytes
            or len(self._batch) >= settings.batch_lines
            or time.monotonic() >= self._batch_until
        )

    def _ship(self) -> bool:
        if self._batch and not self._delivery.deliver(self._batch):
            say(f"{len(self._batch)} lines were not delivered; they are sent at the next start")
            return False
        self._batch.clear()
        self._batch_bytes = 0
        self._intake.acknowledge()
        return True

    def _pause(self, seconds: float) -> bool:
        """Sleep, less long if the end comes."""
        if self._ending:
            time.sleep(seconds)
        else:
            select.select([self._wake_up], [], [], seconds)
        return self._ending


def target_of(settings: Settings) -> Target:
    """Raises OSError if its TLS files cannot be used."""
    if settings.to == "loki":
        from supervisor.agents.shipper.loki import Loki

        return Loki(settings)
    if settings.to == "otlp":
        from supervisor.agents.shipper.otlp import Otlp

        return Otlp(settings)
    from supervisor.agents.shipper.syslog import Syslog

    return Syslog(settings)


def default_settings() -> str:
    """The unit's secret of that name, the user's own file, or the host's: the first there is."""
    home = os.environ.get("HOME") or "/nonexistent"
    secrets = os.environ.get("CREDENTIALS_DIRECTORY") or "/nonexistent"
    own = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    for directory in (secrets, f"{own}/unboxed"):
        if os.path.exists(f"{directory}/shipper.toml"):
            return f"{directory}/shipper.toml"
    return "/etc/unboxed/shipper.toml"


def run(argv: Sequence[str]) -> int:
    words = [word for word in argv if word != "--check"]
    if len(words) > 1 or (words and words[0].startswith("-")):
        say(USAGE)
        return 2
    try:
        settings = load(words[0] if words else default_settings(), socket.gethostname())
    except BadSettings as error:
        say(str(error))
        return 2
    try:
        target = target_of(settings)
    except OSError as error:
        say(f"cannot use the TLS files: {error.strerror or error}; nothing is shipped")
        return 2
    if "--check" in argv:
        return 0
    acks = os.environ.get("UNBOXED_ACK_FD", "")
    shipper = Shipper(settings, target, 0, int(acks) if acks.isdecimal() else -1)
    tell(f"delivers to {settings.url}", ready=True)
    shipper.run()
    target.close()
    say(shipper.totals())
    return 0

"""The logger process: descriptor 3 is the keeper's socket, `--log-dir` where segments go.

`--runtime-dir` is where losses are counted and figures are; without it nothing can be dropped.
`--budget` is how many bytes all logs may take (0: any number; without it, a share of the file
system), `--site` where zstandard is.

Its life ends when that socket is closed, or by SIGKILL at any instant; no other signal ends it, as
units may still have something to say while a terminal or a machine goes down.
"""
from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` itself imports enum: 3 ms
import posix
from _socket import AF_UNIX, SOCK_SEQPACKET, socket

from supervisor.logger.directory import LogDirectory
from supervisor.logger.loop import Logger
from supervisor.logger.notice import reason, say

KEEPER = 3
OPTIONS = ("--log-dir", "--runtime-dir", "--budget", "--site")
WANTED_FILES = 16384


def main(argv: list[str]) -> int:
    """Exit status: 0 all stored, 1 not all, 2 bad usage."""
    given = dict(zip(argv[::2], argv[1::2], strict=False))
    log_dir, runtime, budget, site = (given.pop(name, "") for name in OPTIONS)
    if given or len(argv) % 2 or not log_dir or (budget and not budget.isdecimal()):
        say("usage: --log-dir DIR [--runtime-dir DIR] [--budget BYTES] [--site DIR:DIR], with the"
            " keeper's socket as descriptor 3")
        return 2
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT):
        _signal.signal(number, _signal.SIG_IGN)
    try:
        keeper = socket(AF_UNIX, SOCK_SEQPACKET, 0, KEEPER)
    except OSError as error:
        say(f"cannot use descriptor {KEEPER}: {reason(error)}; it must be the keeper's socket")
        return 2
    directory = LogDirectory(_absolute(log_dir))
    logger = Logger(
        directory, keeper, _file_limit(), runtime=_absolute(runtime) if runtime else "",
        budget=int(budget or -1), site=site,
    )
    return logger.run()


def _absolute(path: str) -> str:
    path = path.rstrip("/") or "/"  # with a "/" at its end, a link would be followed
    return path if path.startswith("/") else posix.getcwd() + "/" + path


def _file_limit() -> int:
    """How many descriptors there may be, after asking for more if that is not many."""
    limit = posix.sysconf("SC_OPEN_MAX")
    if 0 <= limit < WANTED_FILES:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = WANTED_FILES if hard < 0 else min(hard, WANTED_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit if limit >= 0 else WANTED_FILES

"""`ready = {log = "REGEX"}`: ends with status 0 when a stream says it.

    python3 -I -S supervisor/logger/await_line.py [--site DIRS] --log-dir DIR KEY SINCE_NS REGEX

A process of its own, so that no slow disk or expression ever holds the manager up. It
follows the stored log from SINCE_NS (realtime), when the program was launched; the manager kills it
when the start ends in any other way. `--site` is where zstandard is, for compressed segments.
"""
import os
import re
import sys

if not __package__:
    sys.path.insert(0, __file__.rpartition("/supervisor/")[0] or ".")

from supervisor.logger.read import records  # found only after the line above


def main(argv: list[str]) -> int:
    """Exit status: 0 it was said, 1 it can be said no more, 2 bad usage."""
    if len(argv) == 7 and argv[0] == "--site":
        sys.path += filter(None, argv[1].split(":"))
        del argv[:2]
    if len(argv) != 5 or argv[0] != "--log-dir":
        os.write(2, b"usage: [--site DIRS] --log-dir DIR KEY SINCE_NS REGEX\n")
        return 2
    _, logdir, key, since, pattern = argv
    said = re.compile(pattern.encode(errors="surrogateescape"))
    for record in records(logdir, [key], since_ns=int(since), follow=True):
        if said.search(record[3]):
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

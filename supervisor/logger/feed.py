"""`python3 -I -S supervisor/logger/feed.py ...`: the process that feeds an agent its logs.

Python compiles this file anew at every start, so it only finds the package and hands over.
"""
import sys


def _import_path() -> None:
    here = __file__.rpartition("/supervisor/")[0] or "."
    extra = []
    if "--site" in sys.argv:
        extra = sys.argv[sys.argv.index("--site") + 1].split(":")
    sys.path[0:0] = [here, *extra]


if __name__ == "__main__":
    _import_path()
    from supervisor.logger.feeder import main

    sys.exit(main(sys.argv[1:]))

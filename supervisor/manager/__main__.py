"""`python -I -S .../manager/__main__.py --site DIRS --units DIR... `: started by the keeper.

Run by path and without `site`, because both cost start-up time; so the import path is set here.
"""
import sys
from time import monotonic_ns

_BEGAN_NS = monotonic_ns()


def _import_path() -> None:
    here = __file__.rpartition("/supervisor/")[0] or "."
    extra = []
    if "--site" in sys.argv:
        extra = sys.argv[sys.argv.index("--site") + 1].split(":")
    sys.path[0:0] = [here, *extra]


if __name__ == "__main__":
    _import_path()
    from supervisor.manager.bundle import use

    use(__file__.rpartition("/manager/")[0])
    from supervisor.manager.main import main

    sys.exit(main(sys.argv[1:], _BEGAN_NS))

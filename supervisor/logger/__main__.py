"""`python3 -I -S supervisor/logger/__main__.py --log-dir DIR`: what the keeper runs.

Python compiles this file anew at every start, so it only finds the package and hands over.
"""
import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/supervisor/")[0] or ".")
    from supervisor.logger.main import main

    sys.exit(main(sys.argv[1:]))

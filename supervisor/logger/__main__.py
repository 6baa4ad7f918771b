"""`python3 -I -S supervisor/logger/__main__.py --log-dir DIR`: what the keeper runs.

Python compiles this file anew at every start, so it only finds the package and hands over.
"""
import sys

if not __package__:
    sys.path.insert(0, __file__.rpartition("/supervisor/")[0] or ".")

from supervisor.logger.main import main  # found only after the line above

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python3 -I -S .../manager/make_bundle.py [--site DIRS]`: make the bundle that bundle.py uses.

For packages, when they are installed: by the interpreter that will run the manager. In it is what
the manager really imports here, but for what the interpreter has built in. Without docstrings and
assertions: what is never read takes no memory.
"""
from __future__ import annotations

import marshal
import os
import sys  # and nothing more: what is imported already is taken for built in

# The first two always, the rest where it is a machine or units ask for it: read only then.
MODULES = (
    "supervisor.manager.main", "supervisor.manager.service", "supervisor.manager.machine",
    "supervisor.manager.boot_plan",
    "supervisor.config.consoles", "supervisor.core.boot_order", "supervisor.config.limits",
    "supervisor.manager.limiting", "supervisor.config.sandbox", "supervisor.config.network",
    "supervisor.manager.sandboxing", "supervisor.config.logs",
)  # fmt: skip


def main() -> int:
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sites = sys.argv[2].split(":") if sys.argv[1:2] == ["--site"] else []
    ours = [os.path.dirname(package), *sites]
    sys.path[:1] = ours  # in place of this file's own directory
    from supervisor.manager.bundle import NAME

    before = set(sys.modules)
    for name in MODULES:
        __import__(name)
    path = f"{package}/{NAME}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{path}.new", "wb") as file:
            file.write(_bundle(sorted(set(sys.modules) - before), ours))
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)
    except OSError as error:
        sys.stderr.write(f"cannot write {path}: {error.strerror}; the manager starts without\n")
        return 1
    return 0


def _bundle(names: list[str], ours: list[str]) -> bytes:
    """`ours`: what is searched first. A file that is new in the interpreter's own directories, as
    other packages bring them, takes nobody's place."""
    from supervisor.manager.bundle import HEAD, Entry, directory, version

    table: dict[str, Entry] = {}
    code, directories = b"", set()
    for name in names:
        module = sys.modules[name]
        spec = getattr(module, "__spec__", None)
        file = getattr(module, "__file__", None)
        if spec is None or spec.origin in ("frozen", "built-in") or not file:
            continue
        if any(file.startswith(f"{path}/") for path in ours):
            directories.add(os.path.dirname(file))
        package = hasattr(module, "__path__")
        if not file.endswith(".py"):
            table[name] = 0, 0, file, package, (0, 0)
            continue
        made_from = version(file)
        with open(file, "rb") as source:
            compiled = compile(source.read(), file, "exec", dont_inherit=True, optimize=2)
        part = marshal.dumps(compiled)
        table[name] = len(code), len(part), file, package, made_from
        code += part
    folders = [directory(path) for path in sorted(directories)]
    head = marshal.dumps((sys.version, folders, table, len(code)))
    return str(len(head)).encode().ljust(HEAD) + head + code


if __name__ == "__main__":
    sys.exit(main())

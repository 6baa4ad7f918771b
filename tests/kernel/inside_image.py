"""Run in a mount namespace of its own: the step filesystems of a machine whose root is an image.

Arguments: the device of the root file system, a directory to mount it on, and further block devices
that are in its /dev. Answers on standard output, as JSON: the exit code, what was said, what is
mounted then, and what is in some files. Of the host, only /usr is in there, read-only.
"""
from __future__ import annotations

import importlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from supervisor.boot import filesystems
from supervisor.boot._machine import Machine
from supervisor.boot._mounted import mounts
from supervisor.boot._tools import Child, Tools

for late in ("shutil", "shlex", "signal"):  # there is no library to import from inside
    importlib.import_module(late)


class Safe(Tools):
    """The kernel is the host's: its settings and modules are left alone."""

    def find(self, name: str) -> str:
        return "" if name == "sysctl" else super().find(name)

    def start(
        self, *words: str, timeout_s: float | None = None, extra: Mapping[int, int] | None = None,
    ) -> Child:
        assert words[0] not in ("sysctl", "modprobe"), words
        return super().start(*words, timeout_s=timeout_s, extra=extra)


class Inside(Machine):
    def __init__(self) -> None:
        super().__init__(tools=Safe())
        self.told: list[str] = []

    def tell(self, line: str) -> None:
        self.told.append(line)

    def warn(self, line: str) -> None:
        self.told.append(line)

    def reboot(self) -> None:
        raise AssertionError("this is a real machine")

    def set_wall_s(self, seconds: float) -> None:
        raise AssertionError("this is a real clock")


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def node(root: Path, path: str) -> None:
    found = os.stat(path)
    kind = stat.S_IFMT(found.st_mode)
    os.mknod(f"{root}{path}", kind | 0o666, found.st_rdev)


def main(device: str, root: Path, *others: str) -> None:
    mount("-o", "ro", device, str(root))
    mount("--bind", "/usr", f"{root}/usr")
    mount("-o", "remount,bind,ro", f"{root}/usr")
    mount("--bind", "/proc", f"{root}/proc")
    mount("--bind", "/sys", f"{root}/sys")
    mount("-o", "remount,bind,ro", f"{root}/sys")
    mount("-o", "remount,bind,ro", f"{root}/proc")
    for name in ("dev", "run"):
        mount("-t", "tmpfs", "tmpfs", f"{root}/{name}")
    for path in ("/dev/null", "/dev/urandom", device, *others):
        node(root, path)
    os.chroot(root)
    os.chdir("/")
    os.environ["PATH"] = "/usr/sbin:/usr/bin"
    machine = Inside()
    code = filesystems._both(machine)
    files = ("/srv/kept", "/mnt/kept", "/etc/machine-id", "/var/lib/unboxed/random-seed")
    print(json.dumps({
        "code": code, "said": "\n".join(machine.told),
        "mounts": {each.target: sorted(each.options) for each in mounts(machine)},
        "files": {path: Path(path).read_text(errors="replace")
                  for path in files if os.path.exists(path)},
    }))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])

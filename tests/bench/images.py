"""Images for boot.py: an archive for the kernel's initramfs for each init, with 20 services.

Law: made of this machine's own binaries and their libraries, so every init is as its distribution
(or its author's build) has it; all have the same first program (c/stage0.c) and the same services.
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.bench.ours import EARLY, KEEPER, package
from tests.bench.peers import DEPS, write_script

COUNT = 20
SERVICE = "/svc /run/fifo"
PLAN = "/var/lib/unboxed/boot-plan"
PYTHON = Path("/usr/bin/python3").resolve()
_DIRECTORIES = ("proc", "sys", "dev", "run", "tmp", "etc", "bin", "sbin", "var", "root")
_UNUSED = ("test", "idlelib", "lib2to3", "ensurepip", "distutils", "config-*", "*.a", "turtledemo")
_LIBRARIES = ("msgspec", "tomli", "*__mypyc*.so", "zstandard")
_UDEV = DEPS / "udev" / "x"
_DLOPENED = ("libnss_files", "libkmod", "libip4tc", "libacl", "libseccomp", "libblkid")


def add(root: Path, *binaries: str | Path) -> None:
    """Copy binaries with every library they need, at their own paths."""
    for binary in map(str, binaries):
        for file in {binary, *_libraries_of(binary)}:
            to = root / file.lstrip("/")
            to.parent.mkdir(parents=True, exist_ok=True)
            if not to.exists():
                shutil.copy2(file, to)


def _libraries_of(binary: str | Path) -> list[str]:
    linked = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(?:=> |^\s)(/\S+)", linked, re.MULTILINE)


def _scan(root: Path, where: str) -> None:
    for i in range(COUNT):
        service = root / where / f"s{i}"
        service.mkdir(parents=True)
        write_script(service / "run", f"#!/bin/sh\nexec {SERVICE}\n")


def _limit(root: Path) -> list[str]:
    shutil.copy2(root.parent / "probes" / "ref", root / "ref")
    return ["/ref", str(COUNT), *SERVICE.split()]


def _busybox(root: Path) -> list[str]:
    names = [f"/s{i}" for i in range(COUNT)]  # identical lines are one line to busybox init
    for name in names:
        (root / name[1:]).symlink_to("svc")
    (root / "etc/inittab").write_text("".join(f"::respawn:{n} /run/fifo\n" for n in names))
    return ["/bin/busybox", "init"]


def _runit(root: Path) -> list[str]:
    add(root, "/sbin/runit", "/usr/bin/runsvdir", "/usr/bin/runsv")
    _scan(root, "service")
    (root / "etc/runit").mkdir()
    for stage, text in (("1", ""), ("2", "exec /usr/bin/runsvdir -P /service\n"), ("3", "")):
        path = "PATH=/usr/bin:/bin\nexport PATH\n"
        write_script(root / "etc/runit" / stage, f"#!/bin/sh\n{path}{text}")
    return ["/sbin/runit"]


def _s6(root: Path) -> list[str]:
    add(root, "/usr/bin/s6-svscan", "/usr/bin/s6-supervise")
    _scan(root, "service")
    return ["/usr/bin/s6-svscan", "-t0", "/service"]


def _nitro(root: Path) -> list[str]:
    add(root, DEPS / "nitro")
    _scan(root, "etc/nitro")
    return [str(DEPS / "nitro"), "/etc/nitro"]


def _dinit(root: Path) -> list[str]:
    add(root, DEPS / "dinit")
    where = root / "etc/dinit.d"
    (where / "boot.d").mkdir(parents=True)
    (where / "boot").write_text("type = internal\nwaits-for.d: /etc/dinit.d/boot.d\n")
    for i in range(COUNT):
        (where / f"s{i}").write_text(f"type = process\ncommand = {SERVICE}\nrestart = yes\n")
        (where / "boot.d" / f"s{i}").write_text("")
    return [str(DEPS / "dinit"), "-m", "-q", "-d", "/etc/dinit.d"]


def _systemd(root: Path, wants: str = "", output: str = "null") -> list[str]:
    extra = [path for path in ("/lib/systemd/systemd-executor",) if Path(path).exists()]
    add(root, "/lib/systemd/systemd", *extra)
    for library in Path("/usr/lib/x86_64-linux-gnu").glob("lib*.so.*"):
        if library.name.startswith(_DLOPENED):
            add(root, library)
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/os-release").write_text("ID=bench\n")
    for i in range(COUNT):
        (units / f"s{i}.service").write_text(
            f"[Unit]\nDefaultDependencies=no\n[Service]\nExecStart={SERVICE}\nRestart=always\n"
            f"StandardOutput={output}\n")
    wanted = wants.split() + [f"s{i}.service" for i in range(COUNT)]
    (units / "default.target").write_text(
        "[Unit]\nDefaultDependencies=no\n" + "".join(f"Wants={name}\n" for name in wanted))
    return ["/lib/systemd/systemd", "--log-target=null", "--show-status=no"]


def _systemd_logs(root: Path) -> list[str]:
    """With journald, in memory, where the services' output goes; and udevd."""
    add(root, "/lib/systemd/systemd-journald")
    _udev(root)
    units = root / "lib/systemd/system"
    units.mkdir(parents=True)
    for name in ("systemd-journald.service", "systemd-journald.socket",
                 "systemd-journald-dev-log.socket"):
        shutil.copy2(Path("/lib/systemd/system") / name, units)
    for path in (_UDEV / "lib/systemd/system").glob("systemd-udevd*"):
        shutil.copy2(path, units)
    (root / "etc/systemd").mkdir(parents=True)
    (root / "etc/systemd/journald.conf").write_text("[Journal]\nStorage=volatile\n")
    words = "systemd-journald.socket systemd-journald.service systemd-udevd.service"
    return _systemd(root, words, "journal")


def _udev(root: Path) -> None:
    add(root, _UDEV / "bin/udevadm")
    shutil.copytree(_UDEV / "lib/udev", root / "lib/udev", symlinks=True)
    (root / "lib/systemd").mkdir(parents=True, exist_ok=True)
    shutil.copy2(_UDEV / "bin/udevadm", root / "bin/udevadm")
    (root / "lib/systemd/systemd-udevd").symlink_to("/bin/udevadm")
    (root / "etc/group").write_text("".join(
        f"{name}:x:{gid}:\n" for gid, name in enumerate(
            ("root", "tty", "disk", "kmem", "input", "kvm", "render", "audio", "video", "cdrom",
             "dialout", "tape", "sgx", "lp"))))
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")


def _unboxed(root: Path) -> list[str]:
    """As packages install it: the interpreter with its library, and ours in dist-packages."""
    add(root, PYTHON)
    name = PYTHON.name
    shutil.copytree(f"/usr/lib/{name}", root / "usr/lib" / name, symlinks=False,
                    ignore_dangling_symlinks=True, ignore=shutil.ignore_patterns(*_UNUSED))
    site = root / "usr/lib/python3/dist-packages"
    site.mkdir(parents=True)
    home = package()
    shutil.copytree(home, site / home.name)
    for pattern in _LIBRARIES:
        for path in home.parent.glob(pattern):
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, site / path.name)
            for extension in [path, *path.rglob("*.so")]:
                add(root, *_libraries_of(extension))
    shutil.copy2(KEEPER, root / "bin/unboxed-init")
    shutil.copy2(EARLY, root / "bin/unboxed-early")
    (root / "bin/busybox").replace(root / "bin/sh")  # no getty: the others have none
    units = root / "etc/unboxed/units"
    units.mkdir(parents=True)
    command = ", ".join(f'"{word}"' for word in SERVICE.split())
    for i in range(COUNT):
        (units / f"s{i}.toml").write_text(f'command = [{command}]\n[restart]\nwhen = "always"\n')
    there, python = f"/{site.relative_to(root)}", [f"/usr/bin/{name}", "-I", "-S"]
    maker = f"{there}/supervisor/manager/make_bundle.py"
    subprocess.run(["chroot", root, *python, maker], check=True)  # as the Debian package does
    where = ["--runtime-dir", "/run/unboxed", "--log-dir", "/var/log/unboxed"]
    manager = [f"{there}/supervisor/manager/__main__.py", "--machine", "--site", there, *where]
    logger = [f"{there}/supervisor/logger/__main__.py", *where]
    words = ["--", "/bin/unboxed-early", PLAN, *python, *manager, "--", *python, *logger]
    (root / "etc/unboxed/boot.args").write_text("".join(f"{word}\n" for word in words))
    return ["/bin/unboxed-init"]


def _unboxed_udev(root: Path) -> list[str]:
    _udev(root)
    found = _unboxed(root)
    (root / "etc/unboxed/units/udev.toml").write_text('command = ["/lib/systemd/systemd-udevd"]\n')
    return found


class Init(NamedTuple):
    name: str
    make: Callable[[Path], list[str]]  # fills a root file system; the init's command line
    needs: str | Path  # what must be there
    whole: bool = False  # with logs and udev: for comparisons of memory
    keeps: str = ""  # a file that a boot leaves for the next one: only second boots are timed


INITS = (
    Init("unboxed", _unboxed, KEEPER, keeps=PLAN),
    Init("unboxed, first boot", _unboxed, KEEPER),
    Init("systemd", _systemd, "/lib/systemd/systemd"),
    Init("(limit)", _limit, "/bin/true"),
    Init("busybox", _busybox, "/bin/busybox"),
    Init("dinit", _dinit, DEPS / "dinit"),
    Init("nitro", _nitro, DEPS / "nitro"),
    Init("runit", _runit, "/sbin/runit"),
    Init("s6", _s6, "/usr/bin/s6-svscan"),
    Init("unboxed, udev", _unboxed_udev, _UDEV, whole=True, keeps=PLAN),
    Init("systemd, journald, udev", _systemd_logs, _UDEV, whole=True),
)


def image(work: Path, init: Init, kept: bytes = b"") -> Path:
    """The archive of an init; `work` has the probes in `probes`. `kept`: by an earlier boot."""
    root = work / "root"
    shutil.rmtree(root, ignore_errors=True)
    for name in _DIRECTORIES:
        (root / name).mkdir(parents=True)
    shutil.copy2("/bin/busybox", root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    shutil.copy2(work / "probes" / "stage0", root / "init")
    shutil.copy2(work / "probes" / "svc", root / "svc")
    (root / "init.args").write_text("\n".join(init.make(root)) + "\n")
    if kept:
        (root / init.keeps[1:]).parent.mkdir(parents=True)
        (root / init.keeps[1:]).write_bytes(kept)
    os.mknod(root / "dev/console", 0o600 | 0o020000, os.makedev(5, 1))
    os.mknod(root / "dev/null", 0o666 | 0o020000, os.makedev(1, 3))
    out = work / (re.sub(r"\W+", "-", init.name).strip("-") + ".cpio")
    with out.open("wb") as archive:
        names = subprocess.run(["find", "."], cwd=root, check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["busybox", "cpio", "-o", "-H", "newc"], input=names, cwd=root, check=True,
                       stdout=archive, stderr=subprocess.DEVNULL)
    return out

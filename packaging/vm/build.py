#!/usr/bin/env python3
"""Build the root file system of a Debian machine that boots with us, and a disk image of it.

    packaging/vm/build.py [--packages NAME,...] [--add FILE:PLACE]... [--password WORD]
                          [--root DIR] [--image FILE [--size 1G]] [--kernel DIR]

Needs root, mmdebstrap, e2fsprogs, and a Debian mirror (UNBOXED_MIRROR) for what is not cached yet.
Nothing is installed or started on this host, and nothing stays mounted.

The tree is made in layers, each kept in build/vm under a name that is the checksum of what went
into it: a minimal Debian (no docs, no other languages); the packages asked for; unboxed and
unboxed-sysv as packaging/deb/build.py makes them. The same call again costs a copy.
--kernel DIR writes `linux` and `initrd` there, for QEMU; their modules are then in the tree.
--add FILE:PLACE copies a file or folder of this host over it; --password is root's, "-": read it
from standard input, where no other user sees it (without one, root can log in with a key only).
"""
from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / "build" / "vm"
SUITE = "bookworm"
MIRROR = os.environ.get("UNBOXED_MIRROR", "http://deb.debian.org")
SOURCES = (
    f"deb {MIRROR}/debian {SUITE} main\n"
    f"deb {MIRROR}/debian {SUITE}-updates main\n"
    f"deb {MIRROR}/debian-security {SUITE}-security main\n"
)
# What a machine has beside Debian's essential packages: udev, and tools that boot steps call.
BASE = (
    "ca-certificates", "dhcpcd-base", "iproute2", "kmod", "less", "login", "netbase", "procps",
    "python3", "systemd-standalone-sysusers", "systemd-standalone-tmpfiles", "udev",
    "util-linux-extra",
)
EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
INCLUDED = ("/usr/share/doc/*/copyright",)
KERNEL = "linux-image-cloud-amd64"
BUSYBOX = "busybox-static"
# Without these the kernel of QEMU's machine finds no disk.
DISK_MODULES = ("virtio_pci", "virtio_mmio", "virtio_blk")
MACHINE, SCRATCH = "machine", "scratch-"
KEPT_S = 1800.0  # how long that layer is kept when nobody asks for it: each of our builds makes one


class CannotBuild(Exception):
    """Why there is no machine, in words for people."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Build a Debian machine that boots with unboxed.")
    parser.add_argument("--packages", default="", metavar="NAME,...",
                        help="Debian packages that it has")
    parser.add_argument("--add", action="append", default=[], metavar="FILE:PLACE",
                        help="copy a file or folder of this host over it; repeatable")
    parser.add_argument("--password", metavar="WORD",
                        help="root's; -: read it from standard input, where no other user sees it;"
                        " without one, root can log in with a key only")
    parser.add_argument("--root", type=Path, metavar="DIR", help="write the tree there")
    parser.add_argument("--image", type=Path, metavar="FILE", help="write a disk image there")
    parser.add_argument("--size", default="1G", metavar="SIZE",
                        help="of the image (default: %(default)s)")
    parser.add_argument("--kernel", type=Path, metavar="DIR",
                        help="write linux and initrd there, for QEMU; their modules are then in"
                        " the tree")
    given = parser.parse_args()
    os.umask(0o022)
    try:
        if os.geteuid():
            raise CannotBuild("files of a machine belong to its root: needs root")
        packages = sorted(filter(None, given.packages.split(",")))
        build(given, packages)
    except (CannotBuild, OSError) as error:
        print(f"cannot build a machine: {error}; nothing was left behind", file=sys.stderr)
        return 1
    return 0


def build(given: argparse.Namespace, packages: Sequence[str]) -> None:
    tree = installed(packages)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=CACHE) as scratch:
        root = given.root or Path(scratch, "root")
        if given.root and given.root.exists():
            raise CannotBuild(f"{given.root} is there already")
        run("cp", "-a", "--reflink=auto", tree, root)
        if given.kernel:
            add_kernel(root, given.kernel)
        configure(root, given)
        if given.image:
            image(root, given.image, given.size)


def configure(root: Path, given: argparse.Namespace) -> None:
    for words in given.add:
        source, _, place = words.rpartition(":")
        if not source or not place.startswith("/"):
            raise CannotBuild(f"--add {words}: not FILE:/PLACE")
        target = root / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        run("cp", "-a", "--no-preserve=ownership", "-T", source, target)
    if given.password:
        said = given.password
        word = sys.stdin.read().strip() if said == "-" else said
        inside(root, "chpasswd", text=f"root:{word}\n")


def image(root: Path, file: Path, size: str) -> None:
    """An ext4 file system with that tree, sparse. No loop device is needed for it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    run("/usr/sbin/mkfs.ext4", "-q", "-F", "-L", "root", "-m", "1", "-E", "root_owner=0:0",
        "-O", "^metadata_csum_seed", "-d", root, file, size)


# --- The layers ----------------------------------------------------------------------------------


def base() -> Path:
    """A minimal Debian."""
    def make(place: Path) -> None:
        if not shutil.which("mmdebstrap"):
            raise CannotBuild("there is no mmdebstrap; `apt-get install mmdebstrap`")
        options = [
            *(f"--dpkgopt=path-exclude={path}" for path in EXCLUDED),
            *(f"--dpkgopt=path-include={path}" for path in INCLUDED),
            "--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"',
            '--aptopt=Acquire::GzipIndexes "true"', '--aptopt=APT::Install-Recommends "false"',
        ]
        run("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *options,
            "--skip=cleanup/apt/lists", f"--include={','.join(BASE)}", SUITE, place, "-",
            text=SOURCES)

    return layer("base", [SOURCES, *BASE, *EXCLUDED, *INCLUDED], make)


def installed(packages: Sequence[str]) -> Path:
    """With these packages of Debian, and ours on top."""
    below = base()
    if packages:
        below = layer("packages", [below.name, *packages], lambda place: more(place, packages))
    ours = our_packages()
    return layer(MACHINE, [below.name, *(path.read_bytes() for path in ours)],
                 lambda place: finish(place, below, ours))


def more(place: Path, packages: Sequence[str]) -> None:
    run("cp", "-a", "--reflink=auto", base(), place)
    policy = place / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")  # no daemon is started (Debian Policy 9.3.3.1)
    policy.chmod(0o755)
    install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    try:
        inside(place, *install)
    except CannotBuild:  # the lists are as old as the layer below
        inside(place, "apt-get", "update", "-qq")
        inside(place, *install)
    policy.unlink()


def finish(place: Path, below: Path, ours: Sequence[Path]) -> None:
    run("cp", "-a", "--reflink=auto", below, place)
    there = place / "tmp" / "ours"
    there.mkdir()
    for path in ours:
        shutil.copy(path, there)
    inside(place, "sh", "-c", "dpkg --install --force-depends /tmp/ours/*.deb")
    shutil.rmtree(there)
    for path in (place / "var/lib/apt/lists").glob("*_*"):
        path.unlink()
    (place / "etc/hostname").write_text("machine\n")
    (place / "etc/hosts").write_text("127.0.0.1 localhost machine\n::1 localhost\n")
    (place / "etc/machine-id").write_text("")  # each machine makes its own, at its first boot
    (place / "etc/fstab").write_text("LABEL=root / ext4 errors=remount-ro 0 1\n")
    shutil.copytree(ROOT / "packaging/vm/etc", place / "etc", dirs_exist_ok=True)


def our_packages() -> list[Path]:
    output = CACHE / "deb"
    made = run(sys.executable, ROOT / "packaging/deb/build.py", "--output", output)
    return [Path(line) for line in made.splitlines() if line.endswith(".deb")]


# --- The kernel ----------------------------------------------------------------------------------


def add_kernel(root: Path, output: Path) -> None:
    """`linux` and `initrd` into that directory, and the modules into the tree."""
    place = kernel()
    (release,) = os.listdir(place / "lib/modules")
    output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(place / f"boot/vmlinuz-{release}", output / "linux")
    run("cp", "-a", place / "lib/modules", root / "lib/modules")
    inside(root, "depmod", release)
    names = root / "lib/modules" / release / "modules.dep"
    modules = in_order(names.read_text(), DISK_MODULES)
    adds = [f"--add={root}/lib/modules/{release}/{name}:/modules/{Path(name).name}"
            for name in modules]
    (output / "order").write_text("".join(f"/modules/{Path(name).name}\n" for name in modules))
    run(sys.executable, ROOT / "packaging/initramfs/cpio.py", output / "initrd", "--compress=gzip",
        *adds,
        f"--add={place}/bin/busybox:/bin/busybox", f"--add={HERE}/initrd-init:/init",
        f"--add={output}/order:/modules/order")
    (output / "order").unlink()


def in_order(table: str, wanted: Sequence[str]) -> list[str]:
    """Files of these modules and of what they need, each after what it needs (modules.dep lists
    those the other way round)."""
    needs = {name: rest.split() for name, _, rest in
             (line.partition(":") for line in table.splitlines())}
    found: list[str] = []
    for name, others in needs.items():
        if Path(name).stem.replace("-", "_") in wanted:
            found += [*reversed(others), name]
    return list(dict.fromkeys(found))


def kernel() -> Path:
    """Debian's kernel and its modules, unpacked; and a static busybox for the initrd."""
    def make(place: Path) -> None:
        below = base()
        place.mkdir()
        names = inside(below, "sh", "-c",
                       f"apt-cache depends --no-recommends --no-suggests {KERNEL}")
        (image_package,) = {line.split()[-1] for line in names.splitlines() if "Depends:" in line}
        for package in (image_package, BUSYBOX):
            inside(below, "sh", "-c", "cd /var/cache/apt/archives &&"
                   f" apt-get download -qq {package} && dpkg-deb -x {package}_*.deb /mnt",
                   mounts={"/mnt": place})

    return layer("kernel", [base().name, KERNEL, BUSYBOX], make)


# --- How a layer is made -------------------------------------------------------------------------


def layer(kind: str, inputs: Sequence[str | bytes], make: Callable[[Path], None]) -> Path:
    """The directory of that layer, made now if it is not there. One at a time makes it."""
    digest = hashlib.sha256()
    for one in inputs:
        data = one.encode() if isinstance(one, str) else one
        digest.update(b"%d:%b" % (len(data), data))
    place = CACHE / f"{kind}-{digest.hexdigest()[:16]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / f".{kind}.lock"):
        if not place.is_dir():
            unfinished = place.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            try:
                make(unfinished)
                unfinished.rename(place)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        place.touch()
        if kind == MACHINE:
            # And what a build that was killed left.
            for other in (*CACHE.glob(f"{kind}-*"), *CACHE.glob(f"{SCRATCH}*")):
                if other.stat().st_mtime < time.time() - KEPT_S:
                    shutil.rmtree(other, ignore_errors=True)
    return place


@contextmanager
def locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def inside(root: Path, *command: str, text: str = "", mounts: dict[str, Path] | None = None) -> str:
    """Run a command with that root, in namespaces of its own: no process and no mount of it stays.
    Packages that it fetches are kept for the next tree."""
    archives = CACHE / "archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    binds = {"/var/cache/apt/archives": archives, **(mounts or {})}
    script = "".join(f"mount --bind '{there}' '{root}{here}'\n" for here, there in binds.items())
    script += f"""
        mount -t proc proc '{root}/proc'
        mount -t tmpfs tmpfs '{root}/run'
        ! [ -f /etc/resolv.conf ] || cp /etc/resolv.conf '{root}/etc/resolv.conf'
        exec chroot '{root}' "$@"
    """
    try:
        return run(
            "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script, "sh",
            *command, text=text, env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive",
                "LC_ALL": "C.UTF-8", "HOME": "/root",
                **{name: value for name, value in os.environ.items() if "proxy" in name.lower()},
            })
    finally:
        (root / "etc/resolv.conf").unlink(missing_ok=True)


def run(*command: str | Path, text: str = "", env: dict[str, str] | None = None) -> str:
    """What it says on standard output; what else it said is told when it fails."""
    done = subprocess.run([str(word) for word in command], input=text, capture_output=True,
                          check=False, text=True, errors="replace", env=env)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise CannotBuild(f"{Path(command[0]).name} failed with {done.returncode}: {said}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())

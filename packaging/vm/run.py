#!/usr/bin/env python3
"""`make vm`: build a Debian machine with the demo stack and boot it, its console on this terminal.

    packaging/vm/run.py [--build-only] [--keep] [--kvm] [--memory MiB] [--size SIZE]
                        [--packages NAME,...] [--append WORDS] [--place DIR]

What the options mean: --help.

Law: nobody else can log in. root's password and the key are made here, for this disk, and kept in a
directory that only root may read; the ports are on loopback.
"""
from __future__ import annotations

import argparse
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGES = "openssh-server"
# Of the machine, and from where on a free port of the host is looked for.
PORTS = {"ssh": (22, 2222), "the shop": (8080, 8080)}
MOVED = ("/opt/unboxed/share/", "/usr/share/")  # where the demo is, in a package
TRIES = 100
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # what cannot be mistaken for another


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Build a Debian machine with the demo stack and boot it, its console on this"
        " terminal. Needs root. `make vm ARGS='...'` passes these options.",
        epilog="Leave it with `poweroff` in the machine, or with Ctrl-A X, which is pulling the"
        " plug. How to log in is printed before it boots.")
    parser.add_argument("--build-only", action="store_true",
                        help="build it, print how it would be run, and end")
    parser.add_argument("--keep", action="store_true",
                        help="boot the disk of the last time as it was left, if there is one;"
                        " else it is made anew")
    parser.add_argument("--kvm", action="store_true",
                        help="use the host's KVM instead of emulating a processor (where /dev/kvm"
                        " works)")
    parser.add_argument("--memory", type=int, default=1024, metavar="MiB",
                        help="of the machine (default: %(default)s)")
    parser.add_argument("--size", default="2G", help="of its disk (default: %(default)s)")
    parser.add_argument("--packages", default="", metavar="NAME,...",
                        help=f"Debian packages that it has beside {PACKAGES}, such as nginx,redis")
    parser.add_argument("--append", default="", metavar="WORDS",
                        help="more words for the kernel's command line, such as unboxed.rescue")
    parser.add_argument("--place", type=Path, default=ROOT / "build/vm/demo", metavar="DIR",
                        help="where disk, kernel, key and password are (default: %(default)s)")
    given = parser.parse_args()
    if os.geteuid():
        print("cannot build a machine: its files belong to root, so root must make them; try:"
              " sudo make vm", file=sys.stderr)
        return 1
    place: Path = given.place.absolute()
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o700)
    disk = place / "disk.img"
    if not (given.keep and disk.exists()):
        password = "".join(secrets.choice(ALPHABET) for _ in range(12))
        code = build(place, password, given)
        if code:
            return code
        (place / "password").write_text(password + "\n")
    ports = {name: (there, free_port(here)) for name, (there, here) in PORTS.items()}
    ours = (place / "host/etc/ssh/ssh_host_ed25519_key.pub").read_text()
    (place / "known").write_text(f"[127.0.0.1]:{ports['ssh'][1]} {ours}")
    command = qemu(place, ports, given)
    if given.build_only:
        print(f"\nBuilt {disk}. It boots with\n\n    {shlex.join(command)}\n")
        print(how(place, ports))
        return 0
    if not shutil.which(command[0]):
        print(f"cannot boot it: there is no {command[0]}; `apt-get install qemu-system-x86`",
              file=sys.stderr)
        return 1
    print(how(place, ports), flush=True)
    return become(command)


def become(command: list[str]) -> NoReturn:
    """Whoever ends this then ends the machine."""
    os.execvp(command[0], command)


def build(place: Path, password: str, given: argparse.Namespace) -> int:
    print("building the machine: the first time fetches some 100 MB of Debian packages", flush=True)
    key = place / "key"
    for old in (key, key.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "make vm", "-f", key],
                   check=True)
    # Its own host keys: no emulated processor has to find primes, and ssh knows whom it talks to.
    host = place / "host"
    shutil.rmtree(host, ignore_errors=True)
    (host / "etc/ssh").mkdir(parents=True)
    subprocess.run(["ssh-keygen", "-A", "-f", host], check=True, stdout=subprocess.DEVNULL)
    units = place / "units"
    shutil.rmtree(units, ignore_errors=True)
    units.mkdir()
    for file in (ROOT / "units/demo").glob("*.toml"):
        (units / file.name).write_text(file.read_text().replace(*MOVED))
    for file in (HERE / "demo").glob("*.toml"):
        drop_in = units / f"{file.name}.d" / "vm.toml"
        drop_in.parent.mkdir()
        shutil.copy(file, drop_in)
    adds = [f"{key}.pub:/root/.ssh/authorized_keys", f"{units}:/etc/unboxed/units"]
    adds += [f"{file}:/etc/ssh/{file.name}" for file in (host / "etc/ssh").iterdir()]
    packages = ",".join(filter(None, (PACKAGES, given.packages)))
    return subprocess.run(
        [sys.executable, HERE / "build.py", f"--packages={packages}", "--password=-",
         f"--image={place}/disk.img", f"--size={given.size}", f"--kernel={place}",
         *(f"--add={add}" for add in adds)], input=password, text=True, check=False).returncode


def qemu(place: Path, ports: dict[str, tuple[int, int]], given: argparse.Namespace) -> list[str]:
    forward = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for there, here in ports.values())
    speed = ["-accel", "kvm", "-cpu", "host"] if given.kvm else [
        "-accel", "tcg,thread=multi", "-cpu", "max"]
    words = "console=ttyS0 quiet panic=10 root=/dev/vda ro " + given.append
    return [
        "qemu-system-x86_64", *speed, "-smp", str(min(2, os.cpu_count() or 1)), "-m",
        str(given.memory), "-nographic", "-kernel", str(place / "linux"), "-initrd",
        str(place / "initrd"), "-append", words.strip(), "-drive",
        f"file={place}/disk.img,format=raw,if=virtio",
        # No screen and no boot by network: less to find for firmware, kernel and udev.
        "-vga", "none", "-netdev", f"user,id=net{forward}",
        "-device", "virtio-net-pci,netdev=net,romfile=",
        "-object", "rng-random,filename=/dev/urandom,id=rng", "-device", "virtio-rng-pci,rng=rng",
    ]


def how(place: Path, ports: dict[str, tuple[int, int]]) -> str:
    password = (place / "password").read_text().strip()
    return f"""
  Log in here       root, with the password  {password}
  Log in by ssh     ssh -i {place}/key -p {ports['ssh'][1]} -o UserKnownHostsFile={place}/known \
root@127.0.0.1
  The shop          http://127.0.0.1:{ports['the shop'][1]}/
  Leave             poweroff, in it; or Ctrl-A X, which is pulling the plug
"""


def free_port(wanted: int) -> int:
    for port in range(wanted, wanted + TRIES):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A login on each console of a machine: transient units `getty-NAME` (ttyS0: `getty-ttys0`, as
units have lower case), made of what the kernel says.

Law: which consoles there are is not configured twice. The kernel's own consoles (`console=` on its
command line, or what firmware named) get a login, as does the first virtual terminal where there is
one, and the paravirtual consoles of hypervisors. A file of the same name in the administrator's
directory has a higher rank than what is written here, as every unit file there.

Only on a machine of our own: in a container /sys tells of the host's terminals.
"""
from __future__ import annotations

import os

SYS, DEV = "/sys", "/dev"
PREFIX = "getty-"
_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
# Not always among the kernel's consoles, but always meant for people: Xen, KVM on POWER, z/VM.
_PARAVIRTUAL = ("hvc0", "xvc0", "hvsi0", "sclp_line0", "ttysclp0")
_NOBODY = ("ttynull", "netcon0", "pstore-1", "nbcon0")  # consoles without a keyboard
_SPEEDS = "115200,57600,38400,9600"

# A prompt that stays 5 s begins the pauses anew: people log out often, and a line that cannot be
# opened is tried again twice a minute. Interactive shells heed HUP and not TERM.
_UNIT = """\
description = "Login on {name}"
command = [{command}]
umask = "022"

[conditions]
path_exists = ["{dev}/{name}"]
{hook}
[restart]
when = "always"
delay = "500ms"
max_delay = "30s"
reset_after = "5s"
limit = "none"

[stop]
ladder = ["HUP", "5s", "KILL"]

[sandbox]
level = "off"
"""


def write(directory: str, *, sys: str = SYS, dev: str = DEV) -> list[str]:
    """Write the units into `directory` (made if missing) and say which. Those of an earlier boot of
    consoles that are gone are removed. Raises OSError for a directory that cannot be written."""
    found = {
        PREFIX + name.lower(): _unit(name, terminal, dev) for name, terminal in consoles(sys, dev)
    }
    if "" in found.values():  # neither agetty nor busybox is installed: nobody could ask for a name
        found = {}
    os.makedirs(directory, mode=0o755, exist_ok=True)
    for name in os.listdir(directory):
        if name[:len(PREFIX)] == PREFIX and name[-5:] == ".toml" and name[:-5] not in found:
            os.unlink(f"{directory}/{name}")
    for unit, text in found.items():
        path = f"{directory}/{unit}.toml"
        fd = os.open(f"{path}~", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        os.rename(f"{path}~", path)
    return [*found]


def consoles(sys: str = SYS, dev: str = DEV) -> list[tuple[str, str]]:
    """(name below /dev, its TERM) of each, in a fixed order."""
    terminals = f"{sys}/class/tty"
    found: dict[str, str] = {}
    # The attribute tells virtual terminals from a tty0 that is something else (user-mode Linux).
    screen = os.path.exists(f"{terminals}/tty0/active")
    if screen:
        found["tty1"] = "linux"
    for name in _read(f"{terminals}/console/active").split():
        if not (screen and _is_virtual(name)) and name not in _NOBODY:
            found[name] = "vt220"
    for name in _PARAVIRTUAL:
        if name not in found and os.path.exists(f"{terminals}/{name}"):
            found[name] = "vt220"
    return [item for item in found.items() if os.path.exists(f"{dev}/{item[0]}")]


def _is_virtual(name: str) -> bool:
    return name[:3] == "tty" and name[3:].isdigit()


def _unit(name: str, terminal: str, dev: str) -> str:
    """The unit's text, "" if there is no program that asks for a name."""
    if agetty := _program("agetty"):
        line = [name, terminal] if terminal == "linux" else ["--keep-baud", _SPEEDS, name, terminal]
        command = [agetty, "--noclear", *line]
    elif busybox := _program("busybox"):
        # -L: no modem control lines, which consoles have not
        line = ["38400"] if terminal == "linux" else ["-L", _SPEEDS]
        command = [busybox, "getty", *line, name, terminal]
    else:
        return ""
    session = _program("unboxed-session")
    # wtmp says that whoever was here before has gone, also if login(1) was killed.
    hook = f'\n[start]\nbefore = [["{session}", "ended", "{name}"]]\n' if session else ""
    words = ", ".join(f'"{word}"' for word in command)
    return _UNIT.format(name=name, command=words, dev=dev, hook=hook)


def _program(name: str) -> str:
    return next((path for folder in _PATH if os.access(path := f"{folder}/{name}", os.X_OK)), "")


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 4096).decode("ascii", "replace")
    finally:
        os.close(fd)

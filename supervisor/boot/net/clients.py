"""DHCP clients: which is installed, and how it is called for the interfaces of this machine.

Law: the client stays in the foreground, keeps its addresses when it is stopped, releases nothing,
sets no host name and asks for IPv4 only. What it found goes to `lease`, by a script.
"""
from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec import Struct

from supervisor.boot.net.made import replace_file

# dhcpcd sets addresses and routes itself and tells names; of the others all is set by `lease`.
TAKEN = ("BOUND", "RENEW", "REBIND", "REBOOT", "bound", "renew")
LOST = ("EXPIRE", "FAIL", "NAK", "RELEASE", "nak")
_DHCPCD = """# Written by unboxed boot dhcp.
ipv4only
noipv4ll
noarp
nodelay
persistent
option subnet_mask, routers, classless_static_routes, interface_mtu
option domain_name_servers, domain_name, domain_search
"""


class Asked(Struct, frozen=True):
    """`links` with the metric of their default routes, 0 for the client's own. `names`: whether
    resolv.conf is theirs to say."""

    links: dict[str, int]
    names: bool


class NoClient(Exception):
    """None is installed, with what to do as a sentence."""


def asked(folder: str) -> Asked | None:
    """What `unboxed boot network` left word of; None: nothing."""
    try:
        with open(f"{folder}/dhcp", encoding="utf-8") as file:
            head, *rows = file.read().splitlines()
    except (OSError, ValueError):
        return None
    links = {row.split(" ")[0]: int(row.split(" ")[1]) for row in rows}
    return Asked(links, head == "dns")


def commands(wanted: Asked, folder: str, script: str) -> list[list[str]]:
    """One command, or one for each interface. Raises NoClient, and OSError for a file that it needs
    and that cannot be written."""
    program = find("dhcpcd")
    if program:
        text = _DHCPCD
        for link, metric in wanted.links.items():
            text += f"interface {link}\n" + (f"metric {metric}\n" if metric else "")
        replace_file(f"{folder}/dhcpcd.conf", text.encode())
        hook = script if wanted.names else "/bin/true"
        return [[program, "-B", "-4", "-f", f"{folder}/dhcpcd.conf", "-c", hook, *wanted.links]]
    program = find("udhcpc") or find("busybox")
    if program:
        words = [program] if program.endswith("/udhcpc") else [program, "udhcpc"]
        words += ["-f", "-s", script, "-O", "staticroutes", "-O", "search", "-O", "mtu"]
        return [[*words, "-i", link] for link in wanted.links]
    program = find("dhclient")
    if program:
        files = ["-pf", f"{folder}/dhclient.pid"]
        return [[program, "-4", "-d", "-sf", script, *files, *wanted.links]]
    raise NoClient(
        "cannot ask for addresses by DHCP: no client is installed; apt-get install dhcpcd-base"
    )


def find(program: str) -> str:
    for directory in os.environ.get("PATH", os.defpath).split(":"):
        path = f"{directory}/{program}"
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return ""


def write_script(folders: Sequence[str], words: Sequence[str]) -> str:
    """A script that runs `words` with what a client adds, for events that matter, in the first of
    `folders` from which programs may run (/run is often mounted noexec). Raises OSError."""
    import shlex

    events = "|".join((*TAKEN, *LOST))
    text = (
        "#!/bin/sh\n# Written by unboxed boot dhcp: a DHCP client runs it.\n"
        f'case "${{1:-$reason}}" in {events}) exec {shlex.join(words)} "$@";; esac\n'
    )
    for folder in folders:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        if os.statvfs(folder).f_flag & os.ST_NOEXEC:
            continue
        path = f"{folder}/dhcp-event"
        replace_file(path, text.encode(), 0o755)
        return path
    raise OSError(13, f"programs may not run from {' nor '.join(folders)} (mounted noexec)")

"""/etc/resolv.conf, for programs that ask a name service.

Law: whole or not at all. A symbolic link is somebody else's resolver (systemd-resolved,
resolvconf) and is left alone, except one to our own file in the runtime directory, for a root that
is read-only. A file is replaced whoever wrote it, since whoever writes [dns] or asks by DHCP wants
that; it is removed, when nothing is wanted any more, only if it is ours.
"""
from __future__ import annotations

import os
from collections.abc import Sequence

from supervisor.boot.net.made import replace_file
from supervisor.config.machine_network import Dns

PATH = "/etc/resolv.conf"
_MARK = "# Written by unboxed boot"


def text(dns: Dns, source: str) -> str:
    lines = [f"{_MARK}, from {source}."]
    lines += [f"nameserver {server}" for server in dns.servers]
    if dns.search:
        lines.append("search " + " ".join(dns.search))
    if dns.options:
        lines.append("options " + " ".join(dns.options))
    return "\n".join(lines) + "\n"


def place(path: str, folder: str) -> tuple[str, str]:
    """Where to write, and "" or why it is left alone."""
    try:
        target = os.readlink(path)
    except OSError:
        return path, ""
    own = f"{folder}/resolv.conf"
    if os.path.normpath(os.path.join(os.path.dirname(path), target)) == own:
        return own, ""
    why = f"{path} is left alone: it is a link to {target}, another resolver's"
    return "", why if os.path.exists(path) else f"{why}, which is not there: remove the link"


def difference(wanted: str, path: str, folder: str, *, ours_goes: bool) -> str:
    """What `write` would do, in words; "" for nothing."""
    where, other = place(path, folder)
    if not where:
        return other if wanted else ""
    now = _now(where)
    if wanted:
        return "" if now == wanted else f"write {where}"
    return f"remove {where}" if ours_goes and now.startswith(_MARK) else ""


def write(wanted: str, path: str, folder: str, *, ours_goes: bool) -> None:
    """Make it so. Raises OSError."""
    if not difference(wanted, path, folder, ours_goes=ours_goes):
        return
    where, _ = place(path, folder)
    if not where:
        return
    if not wanted:
        os.unlink(where)
        return
    os.makedirs(os.path.dirname(where), mode=0o755, exist_ok=True)
    replace_file(where, wanted.encode())


def leased(servers: Sequence[str], search: Sequence[str], source: str) -> str:
    """The text for what a DHCP server said; "" if it named no server."""
    return text(Dns(tuple(servers[:3]), tuple(search)), source) if servers else ""


def _now(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""

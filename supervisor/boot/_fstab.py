"""/etc/fstab as Debian users know it (fstab(5)), with what systemd added to it.

Law: a line that cannot be understood is told and left out; it never ends the boot.
"""
from __future__ import annotations

# Types whose files come over the network (systemd's fstype_is_network).
NETWORK = frozenset((
    "afs", "ceph", "cifs", "davfs", "gfs", "gfs2", "glusterfs", "lustre", "ncp", "ncpfs", "nfs",
    "nfs4", "ocfs2", "pvfs2", "smb3", "smbfs", "sshfs",
))
DEVICE_S = 90.0  # for a device to appear, unless x-systemd.device-timeout says otherwise
NOFAIL_MOST_S = 10.0  # whatever it says: everything else waits as long
MOUNT_S = 90.0  # for a mount, unless x-systemd.mount-timeout does
NOFAIL_S = 1.0  # for a device that nobody insists on, once udev has seen all that there are
_TAGS = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID=")
_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0}


class Entry:
    """`target` "": none (swap). `checked`: in which turn fsck does it, 0 for never."""

    def __init__(
        self, spec: str, target: str, kind: str, options: tuple[str, ...], checked: int = 0,
    ) -> None:
        self.spec = spec
        self.target = target
        self.type = kind
        self.options = options
        self.checked = checked

    def has(self, option: str) -> bool:
        return option in self.options

    def value(self, option: str) -> str | None:
        """Of NAME=VALUE; the last one counts."""
        found = [each[len(option) + 1 :] for each in self.options if each.startswith(option + "=")]
        return found[-1] if found else None

    @property
    def swap(self) -> bool:
        return self.type == "swap"

    @property
    def automatic(self) -> bool:
        """An automount of systemd's is mounted at boot."""
        return not self.has("noauto") or self.has("x-systemd.automount")

    @property
    def insisted(self) -> bool:
        """Whether a boot without it fails; never for want of swap."""
        return not (self.swap or self.has("nofail") or self.has("x-systemd.automount"))

    @property
    def network(self) -> bool:
        return self.has("_netdev") or self.type.removeprefix("fuse.") in NETWORK

    @property
    def device(self) -> bool:
        """Whether it is on a device that can be waited for."""
        return self.spec.startswith((*_TAGS, "/dev/")) and not self.bind

    @property
    def bind(self) -> bool:
        return self.has("bind") or self.has("rbind")

    @property
    def device_s(self) -> float:
        """How long its device is waited for."""
        given = span_s(self.value("x-systemd.device-timeout"))
        if self.insisted:
            return DEVICE_S if given is None else given
        return NOFAIL_S if given is None else min(given, NOFAIL_MOST_S)

    @property
    def mount_s(self) -> float:
        """How long its mount may take."""
        given = span_s(self.value("x-systemd.mount-timeout"))
        return MOUNT_S if given is None else given


def span_s(text: str | None) -> float | None:
    """"90", "1min 30s", "500ms" or "infinity" in seconds; None if it is no time. 0 is what systemd
    has for no limit."""
    if text is None:
        return None
    if text in ("0", "infinity"):
        return float("inf")
    total, rest = 0.0, text.replace(" ", "")
    while rest:
        after = rest.lstrip("0123456789.")
        following = after.lstrip("abcdefghijklmnopqrstuvwxyz")
        number, unit = rest[: len(rest) - len(after)], after[: len(after) - len(following)]
        if unit not in _UNITS or number.count(".") > 1 or not number.strip("."):
            return None
        total += float(number) * _UNITS[unit]
        rest = following
    return total


def unescaped(word: str) -> str:
    r"""As the kernel and fstab write words with blanks: \040 is one."""
    first, *rest = word.split("\\")
    for part in rest:
        octal = part[:3]
        known = len(octal) == 3 and not octal.strip("01234567")
        first += chr(int(octal, 8)) + part[3:] if known else "\\" + part
    return first


def parse(text: str) -> tuple[list[Entry], list[str]]:
    """The entries, and what was wrong with others."""
    entries: list[Entry] = []
    wrong: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = [unescaped(word) for word in line.split()]
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 3:
            wrong.append(f"/etc/fstab:{number}: cannot use this line: it has no file system type;"
                         " it is left out")
            continue
        spec, target, kind = words[:3]
        options = tuple(words[3].split(",")) if len(words) > 3 else ("defaults",)
        checked = int(words[5]) if len(words) > 5 and words[5].isdecimal() else 0
        if kind == "swap" or target in ("none", "swap"):
            target = ""
        elif not target.startswith("/"):
            wrong.append(f"/etc/fstab:{number}: cannot mount on {target}: it is no absolute path;"
                         " it is left out")
            continue
        found = Entry(_unquote(spec), "/" + target.strip("/") if target else "", kind, options,
                      checked)
        if target and found.automatic and any(
                each.target == found.target and each.automatic for each in entries):
            wrong.append(f"/etc/fstab:{number}: cannot mount on {target}: an earlier line does; it"
                         " is left out")
            continue
        entries.append(found)
    return [each for each in entries if each.type != "ignore"], wrong


def _unquote(spec: str) -> str:
    """UUID="x" is written so by some."""
    name, sign, value = spec.partition("=")
    return f"{name}={value.strip(chr(34))}" if sign and value.startswith('"') else spec

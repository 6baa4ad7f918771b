"""The words of `promises` and `capabilities`: which there are, and what was meant by others.

What a promise allows is kernel.seccomp.words; a test holds the two lists together.
"""
from __future__ import annotations

from collections.abc import Iterable

from supervisor.config.table import Refused, Type, show
from supervisor.model.capabilities import CAPABILITIES

PROMISES = (
    "app", "stdio", "rpath", "wpath", "cpath", "dpath", "fattr", "chown", "flock", "unix", "inet",
    "mcast", "dns", "route", "recvfd", "sendfd", "proc", "exec", "id", "tty", "unveil", "device",
    "ipc", "aio", "numa", "settime", "keyring", "debug", "perf", "bpf", "namespace", "mount",
)  # fmt: skip

# Words of OpenBSD's that are known and refused, each with what to say instead.
NO_WORDS = {
    "tmppath": 'a filter sees no paths; use tmp = "private" with rpath, wpath and cpath',
    "getpw": "on Linux this is reading /etc/passwd: use rpath, and unix for nscd or sssd",
    "ps": 'on Linux this is reading /proc: use rpath, and see the key "processes"',
    "vminfo": "on Linux this is reading /proc: use rpath",
    "error": 'this is the key on_violation = "errno", the default',
    "prot_exec": "this is the key jit = true",
    "audio": "use device, and name the devices",
    "video": "use device, and name the devices",
    "drm": "use device, and name the cards in gpus",
    "disklabel": "OpenBSD only",
    "pf": "OpenBSD only",
    "vmm": "OpenBSD only; /dev/kvm is device, and named in devices",
    "wroute": "use route; changing routes needs the capability CAP_NET_ADMIN",
}


def meant(value: object, known: Iterable[str]) -> str:
    """"; did you mean X?" for a word that is close to a known one, else ""."""
    from supervisor.config.nearest import nearest

    guess = nearest(value, known) if type(value) is str else None
    return f"; did you mean {guess}?" if guess else ""


def _promise(value: object) -> str:
    for word in PROMISES:
        if word == value:
            return word
    if type(value) is str and value in NO_WORDS:
        raise Refused(f"cannot promise {show(value)}: {NO_WORDS[value]}")
    hint = meant(value, PROMISES) or f"; they are {', '.join(PROMISES)}"
    raise Refused(f"cannot promise {show(value)}: there is no such word{hint}")


def _capability(value: object) -> str:
    """Its whole name, as the kernel writes it."""
    if type(value) is str:
        name = value.upper().removeprefix("CAP_")
        for known in CAPABILITIES:
            if known[4:] == name:
                return known
        if name == "ALL":
            raise Refused(
                'cannot keep "all": name each; a unit with user = "root" and no such key keeps all'
            )
        guess = meant(name, [known[4:].lower() for known in CAPABILITIES])
    else:
        guess = ""
    raise Refused(
        f"cannot keep {show(value)}: there is no such capability"
        f"{guess or '; capabilities(7) lists them'}"
    )


PROMISE = Type(_promise, "choice", "promise", PROMISES)
CAPABILITY = Type(
    _capability, "capability", "name of a capability, with or without `CAP_`", CAPABILITIES
)

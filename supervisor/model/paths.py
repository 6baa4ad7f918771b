"""Where everything of one supervisor lives: the same answer for CLI, manager and logger.

Law: pure. The caller hands in the environment, the effective uid and the directories named on its
command line (absolute; relative ones are the caller's to resolve), and no file is looked at. So it
also imports nothing, and the leanest process can afford it.

One runtime directory is one supervisor. A supervisor elsewhere than in the default directory gets
state and logs of its own too, under the default state directory and named after the runtime
directory: two side by side never write one log stream, and nothing ends up in memory by accident
because a runtime directory was put on a tmpfs.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# sockaddr_un.sun_path holds 108 bytes with its NUL (unix(7)).
MAX_SOCKET_PATH_BYTES = 107


class Paths:
    """Directories of one supervisor, all absolute. `units` is in order of rank, highest first, and
    holds `transient_units` too; `admin_units` and `vendor_units` are "" where there is none
    (`--units` given, or no home directory). `shared_tmp`: the runtime directory is in /tmp, where
    anyone may have made it first, so it must be seen to be a directory of our own before it is
    believed, by the supervisor (which makes it 0700) and by whoever asks one (control.client).
    """

    __slots__ = (
        "access", "admin_units", "log", "runtime", "shared_tmp", "state", "transient_units",
        "units", "vendor_units",
    )

    def __init__(
        self, *, runtime: str, state: str, log: str, units: tuple[str, ...], admin_units: str,
        vendor_units: str, shared_tmp: bool, access: str,
    ) -> None:
        self.runtime = runtime
        self.state = state
        self.log = log
        self.units = units
        self.transient_units = runtime + "/units"
        self.admin_units = admin_units
        self.vendor_units = vendor_units
        self.shared_tmp = shared_tmp
        self.access = access  # access.toml: who may do what; "" where there is no home directory

    @property
    def control(self) -> str:
        """Socket of those who may change something."""
        return self.runtime + "/control"

    @property
    def status(self) -> str:
        """Socket of those who may only look; nothing private crosses it."""
        return self.runtime + "/status"

    @property
    def nudge(self) -> str:
        """Datagram socket of the keeper: "the manager does not answer me, ask it"."""
        return self.runtime + "/nudge"


def paths(
    env: Mapping[str, str],
    uid: int,
    runtime_dir: str | None = None,
    state_dir: str | None = None,
    log_dir: str | None = None,
    units: Sequence[str] = (),
) -> Paths:
    """The directories of the supervisor that `env`, `uid` and the flags select.

    A flag wins over its `UNBOXED_*_DIR` variable, which wins over the default; None and "" both
    mean "not given". As the XDG base directory specification asks, XDG variables that are not
    absolute count as unset. `units` replaces the admin and vendor directories, not the transient
    one.
    """
    root = uid == 0
    default_runtime, shared_tmp = _default_runtime(env, uid)
    default_state = "/var/lib/unboxed" if root else _xdg(env, "XDG_STATE_HOME", ".local/state")
    runtime = _clean(runtime_dir or env.get("UNBOXED_RUNTIME_DIR") or default_runtime)
    elsewhere = runtime != default_runtime
    given_state = state_dir or env.get("UNBOXED_STATE_DIR")
    if given_state:
        state = _clean(given_state)
    elif not default_state:  # no home directory at all
        state = runtime + "/state"
    elif elsewhere:
        state = default_state + "/at/" + runtime.strip("/").replace("@", "@@").replace("/", "@")
    else:
        state = default_state
    log = _clean(log_dir or env.get("UNBOXED_LOG_DIR") or "")
    if not log:
        own = elsewhere or given_state or not root
        log = state + "/log" if own else "/var/log/unboxed"

    transient = runtime + "/units"
    admin = vendor = ""
    if units:
        ranked = (*map(_clean, units), transient)
    else:
        admin, vendor = _unit_dirs(env, root=root)
        ranked = tuple(filter(None, (admin, transient, vendor)))
    return Paths(
        runtime=runtime, state=state, log=log, units=ranked, admin_units=admin,
        vendor_units=vendor, shared_tmp=shared_tmp and not elsewhere,
        access=_access(env, root=root),
    )


def _default_runtime(env: Mapping[str, str], uid: int) -> tuple[str, bool]:
    if uid == 0:
        return "/run/unboxed", False
    given = env.get("XDG_RUNTIME_DIR", "")
    if given.startswith("/"):
        return _clean(given) + "/unboxed", False
    return f"/tmp/unboxed-{uid}", True  # noqa: S108 - the caller verifies it, see `shared_tmp`


def _unit_dirs(env: Mapping[str, str], *, root: bool) -> tuple[str, str]:
    if root:
        return "/etc/unboxed/units", "/usr/lib/unboxed/units"
    admin = _xdg(env, "XDG_CONFIG_HOME", ".config")
    vendor = _xdg(env, "XDG_DATA_HOME", ".local/share")
    return admin and admin + "/units", vendor and vendor + "/units"


def _access(env: Mapping[str, str], *, root: bool) -> str:
    home = "/etc/unboxed" if root else _xdg(env, "XDG_CONFIG_HOME", ".config")
    return home and home + "/access.toml"


def _xdg(env: Mapping[str, str], variable: str, below_home: str) -> str:
    """Our directory under `variable`, else under the home directory, else ""."""
    given, home = env.get(variable, ""), env.get("HOME", "")
    if given.startswith("/"):
        return _clean(given) + "/unboxed"
    return f"{_clean(home)}/{below_home}/unboxed" if home.startswith("/") else ""


def _clean(path: str) -> str:
    return path.rstrip("/") or path[:1]

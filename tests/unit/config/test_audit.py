"""The exposure of a unit: systemd's scale and weights, our mechanisms."""
from __future__ import annotations

import pytest

from supervisor.config.audit import audit
from supervisor.config.exposure import PROMISED
from supervisor.kernel.seccomp import filter as filters
from supervisor.kernel.seccomp.rule import ALLOW
from supervisor.kernel.seccomp.words import WORDS
from supervisor.model.sandbox import Network, PortRule, Sandbox, Users
from supervisor.model.unit import Ready, Start, Unit

# Calls of systemd's groups (systemd.exec(5), SystemCallFilter=) that a promise could name.
GROUPS = {
    "swap": "swapon swapoff",
    "clock": "adjtimex clock_adjtime clock_settime settimeofday",
    "cpu-emulation": "modify_ldt vm86",
    "debug": "lookup_dcookie perf_event_open pidfd_getfd ptrace rtas sys_debug_setcontext",
    "mount": "chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree"
    " pivot_root umount umount2",
    "module": "delete_module finit_module init_module",
    "raw-io": "ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write",
    "reboot": "kexec_file_load kexec_load reboot",
    "privileged": "acct bpf capset chroot chown fchown fchownat lchown setuid setgroups quotactl"
    " vhangup pivot_root clock_settime",
    "resources": "ioprio_set mbind migrate_pages move_pages nice sched_setaffinity sched_setattr"
    " sched_setparam sched_setscheduler set_mempolicy setpriority setrlimit",
}


def bad(unit: Unit, *, root: bool = True) -> set[str]:
    return {check.name for check in audit(unit, root=root).checks if check.badness}


def test_a_unit_without_isolation_is_as_exposed_as_a_bare_one_of_systemd() -> None:
    """systemd-analyze 252 says 9.6 UNSAFE of one with ExecStart= only. Ours differs by one check:
    systemd gives each service a key ring of its own."""
    found = audit(Unit("web", umask=0o022, sandbox=Sandbox(level="off")), root=True)
    own_ring = next(check for check in found.checks if check.name == "KeyringMode=")
    assert found.word == "UNSAFE"
    assert -int(-(sum(check.share for check in found.checks) - own_ring.share) // 1) == 96


def test_every_level_is_less_exposed_than_the_one_below() -> None:
    units = [
        Unit("web", sandbox=Sandbox(level="off")),
        Unit("web"),
        Unit("web", sandbox=Sandbox(level="app")),
        Unit("web", sandbox=Sandbox(level="strict", promises=("stdio", "rpath"))),
    ]
    figures = [audit(unit, root=True) for unit in units]
    tenths = [one.tenths for one in figures]
    assert tenths == sorted(tenths, reverse=True)
    assert len(set(tenths)) == 4
    assert [one.word for one in figures] == ["UNSAFE", "MEDIUM", "OK", "SAFE"]


def test_the_shares_are_the_exposure() -> None:
    found = audit(Unit("web"), root=True)
    assert found.tenths - 1 < sum(check.share for check in found.checks) <= found.tenths


def test_the_cheapest_key_lowers_it_to_what_it_says() -> None:
    found = audit(Unit("web"), root=True)
    assert found.cheapest is not None
    assert (found.cheapest.key, found.cheapest.value) == ("sandbox.level", '"app"')
    then = audit(Unit("web", sandbox=Sandbox(level="app")), root=True)
    assert then.tenths == found.cheapest.tenths
    assert then.cheapest is not None
    assert then.cheapest.key == "network.mode"


def test_what_has_nothing_left_to_write_gets_no_advice() -> None:
    box = Sandbox(
        level="strict", promises=("stdio",), ipc="own", jit=False, users=Users(), capabilities=(),
        devices=(), tmp="private", processes="hidden",
    )  # fmt: skip
    unit = Unit("web", user="dynamic", root="/srv", sandbox=box, network=Network(mode="none"))
    assert audit(unit, root=True).cheapest is None


@pytest.mark.parametrize(
    "unit, check",
    [
        (Unit("web", user="root"), "CapabilityBoundingSet=~CAP_SYS_ADMIN"),
        (Unit("web", sandbox=Sandbox(level="app", capabilities=("CAP_SYS_TIME",))),
         "ProtectClock="),
        (Unit("web", sandbox=Sandbox(capabilities=("CAP_NET_RAW",))),
         "CapabilityBoundingSet=~CAP_NET_(BIND_SERVICE|BROADCAST|RAW)"),
        (Unit("web", sandbox=Sandbox(level="app", promises=("stdio", "mount"))),
         "SystemCallFilter=~@mount"),
        (Unit("web", sandbox=Sandbox(level="app", promises=("stdio", "namespace"))),
         "RestrictNamespaces=~user"),
        (Unit("web", sandbox=Sandbox(level="app", tmp="shared")), "PrivateTmp="),
        (Unit("web", sandbox=Sandbox(level="app", devices=("/dev/fuse",))), "DeviceAllow="),
        (Unit("web", start=Start(ready=Ready("notify")), sandbox=Sandbox(level="app")),
         "NotifyAccess="),
    ],
)  # fmt: skip
def test_what_a_key_opens_adds_its_check(unit: Unit, check: str) -> None:
    closed = Unit("web", sandbox=Sandbox(level="app"))
    assert check in bad(unit)
    assert check not in bad(closed)


def test_addresses_count_by_how_far_they_reach() -> None:
    def badness(*networks: str) -> int | None:
        rules = tuple(PortRule(port=443, network=one) for one in networks)
        unit = Unit("web", network=Network(listen=(), connect=rules))
        checks = audit(unit, root=True).checks
        return next(check.badness for check in checks if check.name == "IPAddressDeny=")

    assert [badness(""), badness("10.0.0.0/8"), badness("127.0.0.0/8"), badness()] == [10, 5, 2, 0]


def test_an_ordinary_users_supervisor_runs_nothing_as_root() -> None:
    assert "User=/DynamicUser=" in bad(Unit("web"))
    assert "User=/DynamicUser=" not in bad(Unit("web"), root=False)
    groups = Unit("web", groups=("video",))
    checks = {check.name: check.badness for check in audit(groups, root=True).checks}
    assert checks["SupplementaryGroups="] is None  # root needs none


@pytest.mark.parametrize("group", GROUPS)
def test_a_promise_counts_for_the_groups_of_which_it_allows_a_call(group: str) -> None:
    calls = GROUPS[group].split()
    granting = {
        word
        for word in WORDS
        for call, rules in filters.decisions((word,)).items()
        if call in calls and any(rule.action == ALLOW for rule in rules)
    }
    if "stdio" in PROMISED[group]:
        assert granting == set(WORDS)
    else:
        assert granting == PROMISED[group]

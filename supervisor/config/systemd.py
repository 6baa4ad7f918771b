"""systemd's names for what a unit file says, for whoever writes one from memory. Imported only when
there is an unknown key to explain."""
from __future__ import annotations

SECTIONS = frozenset(("Unit", "Service", "Install", "Socket", "Timer", "Path"))

# Ours, and then theirs that come nearest to it.
_NAMES = """
command ExecStart
start.before ExecStartPre ExecCondition
start.after ExecStartPost
stop.command ExecStop
reload.command ExecReload
start.ready Type NotifyAccess
start.timeout TimeoutStartSec TimeoutSec
start.watchdog WatchdogSec
restart.when Restart
restart.delay RestartSec
restart.max_delay RestartMaxDelaySec
restart.factor RestartSteps
restart.success_codes SuccessExitStatus
restart.limit.count StartLimitBurst
restart.limit.within StartLimitIntervalSec StartLimitInterval
restart.limit.then OnFailure StartLimitAction
restart.max_age RuntimeMaxSec
stop.ladder TimeoutStopSec KillSignal FinalKillSignal SendSIGKILL RestartKillSignal
stop.scope KillMode
user User
group Group
groups SupplementaryGroups
directory WorkingDirectory
umask UMask
env Environment
env_files EnvironmentFile
description Description
documentation Documentation
needs.requires Requires Requisite Also
needs.wants Wants Upholds
needs.binds_to BindsTo PartOf
needs.after After
needs.before Before
needs.conflicts Conflicts
conditions.path_exists ConditionPathExists AssertPathExists
conditions.virtualization ConditionVirtualization
conditions.kernel_cmdline ConditionKernelCommandLine
conditions.first_boot ConditionFirstBoot
conditions.host ConditionHost
autostart WantedBy RequiredBy
listen.address ListenStream ListenDatagram ListenFIFO ListenNetlink
listen.mode SocketMode
listen.user SocketUser
listen.group SocketGroup
listen.backlog Backlog
listen.reuse_port ReusePort
listen.name FileDescriptorName
logs.to StandardOutput
logs.stderr StandardError
attach JoinsNamespaceOf
secrets LoadCredential SetCredential ImportCredential
root RootDirectory RootImage
limits.memory MemoryMax MemoryLimit
limits.memory_high MemoryHigh
limits.memory_min MemoryMin
limits.swap MemorySwapMax
limits.cpu CPUQuota
limits.cpu_weight CPUWeight CPUShares
limits.cpus AllowedCPUs CPUAffinity
limits.io_weight IOWeight
limits.io IOReadBandwidthMax IOWriteBandwidthMax
limits.tasks TasksMax
limits.oom OOMPolicy
limits.oom_score_adjust OOMScoreAdjust
limits.nice Nice
limits.files LimitNOFILE
limits.core LimitCORE
limits.rlimits LimitNPROC LimitMEMLOCK LimitSTACK LimitAS
limits.slice Slice
sandbox.level ProtectSystem ProtectHome ProtectKernelTunables ProtectKernelModules ProtectKernelLogs
sandbox.level ProtectControlGroups ProtectClock ProtectHostname RemoveIPC
sandbox.view InaccessiblePaths TemporaryFileSystem
sandbox.tmp PrivateTmp
sandbox.devices PrivateDevices DeviceAllow DevicePolicy
sandbox.read ReadOnlyPaths BindReadOnlyPaths
sandbox.write ReadWritePaths BindPaths
sandbox.exec ExecPaths NoExecPaths
sandbox.open OpenFile
sandbox.promises SystemCallFilter RestrictAddressFamilies RestrictNamespaces RestrictRealtime
sandbox.promises RestrictSUIDSGID SystemCallArchitectures LockPersonality KeyringMode
sandbox.on_violation SystemCallErrorNumber SystemCallLog
sandbox.capabilities CapabilityBoundingSet AmbientCapabilities
sandbox.jit MemoryDenyWriteExecute
sandbox.processes ProtectProc ProcSubset PrivatePIDs
sandbox.ipc PrivateIPC
sandbox.users PrivateUsers
sandbox.runtime RuntimeDirectory
sandbox.state StateDirectory
sandbox.cache CacheDirectory
sandbox.logs LogsDirectory
network.mode PrivateNetwork
network.listen SocketBindAllow SocketBindDeny
network.connect IPAddressAllow IPAddressDeny
schedule.calendar OnCalendar
schedule.every OnUnitActiveSec
schedule.after_boot OnBootSec
schedule.jitter RandomizedDelaySec
schedule.catch_up Persistent
"""
_WORDS = {
    "DynamicUser": "systemd's DynamicUser is `user = \"dynamic\"` here",
    "RemainAfterExit": 'a `kind = "task"` that has finished counts as done; remove it',
    "PIDFile": "processes are found without one; remove it",
    "Delegate": "each instance has a cgroup of its own, and may make others in it; remove it",
    "NoNewPrivileges": 'it is so at every sandbox.level but "off"; remove it',
    "SyslogIdentifier": "a log has its unit's name; remove it",
}


def meaning(name: str) -> str:
    """What a key or section of systemd's is here; "" if it is none that is known."""
    if name in SECTIONS:
        return f"systemd's [{name}] has no equivalent: keys stand at the top, or in tables of ours"
    if name in _WORDS:
        return _WORDS[name]
    for line in _NAMES.split("\n"):
        ours, *theirs = line.split() or [""]
        if name in theirs:
            yet = "" if _supported(ours) else " (not supported yet)"
            return f"systemd's {name} is `{ours}` here{yet}"
    return ""


def _supported(path: str) -> bool:
    from supervisor.config.schema import paths

    return path in paths()

"""The one table of commands: parsers, help, completion and docs/commands.md are made from it.

Law: data only, and nothing imported, since every invocation reads it. A verb's handler is the
function `run` of the module named here, which is imported when the verb is used.
"""
from __future__ import annotations


class Option:
    """`names`: the long name first ("--follow", "-f"). `value` names what follows it ("" for a
    flag); `kind` "int" takes a whole number from 0; `many` may be repeated, and of a flag it is
    counted how often. `bare`: the value if none follows after `=`; then the next word is none
    either."""

    def __init__(
        self, *names: str, text: str, value: str = "", kind: str = "text", many: bool = False,
        bare: str = "",
    ) -> None:
        self.names = names
        self.key = names[0].removeprefix("--")
        self.text = text
        self.value = value
        self.kind = kind
        self.many = many
        self.bare = bare


class Command:
    """`words` names the arguments: "" none, "UNIT" exactly one, "UNIT..." one or more, "[UNIT...]"
    any number; `complete` says what they are, for shell completion. `whole`: the first word ends
    the options. `unit_keys`: that, and any other `--KEY=VALUE` is a key of a unit file."""

    def __init__(
        self, name: str, module: str, text: str, *options: Option, words: str = "",
        complete: str = "", more: str = "", unit_keys: bool = False, whole: bool = False,
    ) -> None:
        self.name = name
        self.module = module
        self.text = text
        self.options = options
        self.words = words
        self.complete = complete
        self.more = more
        self.unit_keys = unit_keys
        self.whole = whole or unit_keys


RUNTIME_DIR = Option(
    "--runtime-dir", value="DIR",
    text="The supervisor that uses this directory (default: UNBOXED_RUNTIME_DIR, else /run/unboxed,"
    " without root $XDG_RUNTIME_DIR/unboxed or, where that is not set, /tmp/unboxed-UID; where that"
    " is not there, all but `run` ask the system's, in /run/unboxed).",
)
JSON = Option("--json", text="One JSON document with stable keys.")
JSON_LINES = Option("--json", text="One JSON document a line.")
RAW = Option("--raw", text="Do not escape control characters on a terminal.")
NO_WAIT = Option("--no-wait", text="Return as soon as the request is accepted.")
STATE_DIR = Option(
    "--state-dir", value="DIR",
    text="Where state is kept (default: UNBOXED_STATE_DIR, else /var/lib/unboxed, without root"
    " ~/.local/state/unboxed; for another runtime directory than the default, at/NAME in that)."
    " That is what agents have acknowledged, and logs, unless they have a directory of their own.",
)
LOG_DIR = Option(
    "--log-dir", value="DIR",
    text="Where logs are kept (default: UNBOXED_LOG_DIR, else /var/log/unboxed; without root, or"
    " with another state directory than the default, log in that).",
)
READ_LOG_DIR = Option(
    "--log-dir", value="DIR",
    text="Where the logs are (default: UNBOXED_LOG_DIR, else where the supervisor of that runtime"
    " directory keeps them; once it has ended, the default directory: for a `run` with --state-dir"
    " or --log-dir of its own, name it).",
)

UNITS = "A UNIT is a unit, one instance of it (web/1), a group, or a pattern (web*)."
WAITS = (
    f"{UNITS} Waits until it is true, and says what it waits for and until when. What is already so"
    " is done."
)


def _change(name: str, text: str, *options: Option, words: str = "UNIT...", more: str = WAITS
            ) -> Command:
    return Command(
        name, "lifecycle", text, *options, NO_WAIT, words=words, complete="unit", more=more)


def _power(name: str, text: str, more: str = "") -> Command:
    return Command(
        name, "power", text,
        Option("--timeout", value="TIME",
               text="How long services may take to stop (default: 90s, or"
               " unboxed.shutdown_timeout of the kernel's command line); then they are killed."),
        Option("--force", "-f", many=True,
               text="Kill what runs at once; twice: reboot(2) at once, without asking a"
               " supervisor. What is written is on the disk, nothing is stopped or unmounted."),
        Option("--message", "-m", value="TEXT", text="Tell it to all who are logged in."),
        more=f"{more}For a machine that unboxed-init boots. Stops everything in reverse order,"
        " what boot needs last, unmounts, and does it by a deadline whatever happens. Asked for"
        " again, the last command counts, and the earliest deadline. Where the supervisor does not"
        " answer, PID 1 is asked by a signal. Takes the role admin.")


COMMANDS = (
    Command(
        "run", "run", "Run a supervisor in the foreground.",
        Option("--units", value="DIR", many=True,
               text="Read unit files from here instead of the standard directories; repeatable."),
        STATE_DIR, LOG_DIR,
        Option("--log-budget", value="SIZE",
               text="What all logs together may take, such as 2GiB, from 1MiB; then the oldest of"
               " whoever has most are deleted (default: UNBOXED_LOG_BUDGET, else a tenth of the"
               " file system, at most 4 GiB; 0: any number)."),
        Option("--plain", text="No live view, even on a terminal."),
        words="[UNIT...]", complete="unit",
        more="Starts the named units and what they need, or all that have autostart. On a terminal "
        "it shows states and logs as they come; Ctrl-C stops everything in order, a second one "
        "kills what is left.",
    ),
    Command(
        "status", "status", "Show units: state, process, memory, CPU, restarts, last exit, reason.",
        JSON, RAW,
        Option("--all", "-a", text="On a terminal, also units that a condition skipped."),
        words="[UNIT...]", complete="unit",
        more="One unit: also its process tree, listeners, last log lines and the cause of its "
        "state. " + UNITS + " With a UNIT the exit code is 3 unless all that match are up.",
    ),
    _change("start", "Start units and what they need."),
    _change("stop", "Stop units, and first what needs them."),
    _change("restart", "Stop units if they run, then start them."),
    Command(
        "reload", "lifecycle", "Reload units; without UNIT, read the unit files again.", NO_WAIT,
        words="[UNIT...]", complete="unit",
        more="Without UNIT: all files or, if one is wrong, nothing changes. Running services keep "
        "the definition they were started with until restarted.",
    ),
    _change(
        "kill", "Send a signal to all processes of units.",
        Option("--signal", "-s", value="SIGNAL", text="Name or number (default: TERM)."),
        more=UNITS + " What happens next is the unit's restart policy. `-9` and `-KILL` are taken"
        " too, as by kill(1).",
    ),
    _change("freeze", "Suspend all processes of units."),
    _change("thaw", "Let frozen units go on."),
    _change("reset-failed", "Forget failures and restart counters.", more=UNITS),
    Command(
        "logs", "logs", "Show what units wrote, merged by time.",
        Option("--follow", "-f", text="Go on as lines come, across rotation and restarts; first the"
               " last 10, unless -n, --since or --boot says which."),
        Option("--lines", "-n", value="N", kind="int", text="Only the last N lines."),
        Option("--since", value="TIME", text="From then on: 10m, 2h, 14:30, 2026-01-31 08:00."),
        Option("--until", value="TIME", text="Up to then."),
        Option("--boot", value="N", bare="0",
               text="From this boot of the machine; --boot=-1: from the one before."),
        Option("--grep", "-g", value="RE",
               text="Only lines in which the regular expression (Python's) is found. Without a"
               " capital in it, capitals make no difference."),
        Option("--priority", "-p", value="LEVEL",
               text="Only lines as severe as that or more: emerg, alert, crit, err, warning,"
               " notice, info, debug, or 0 to 7."),
        Option("--field", value="NAME=VALUE", many=True,
               text="Only JSON or logfmt lines that say so; repeatable, NAME may be a.b."),
        Option("--stream", value="NAME",
               text="Only output, error (where `logs.stderr` is separate), or lost."),
        Option("--json", text="One JSON document a line: time, unit, instance, stream, message;"
               " priority and fields of lines that have them."),
        RAW, READ_LOG_DIR,
        words="[UNIT...]", complete="unit",
        more=UNITS + " Reads the files themselves, so it works while no supervisor runs. A line's"
        " priority is that of its prefix <0> to <7>, or of its level in JSON or logfmt; else err"
        " for a line of standard error that is kept apart, info for others. All that is given must"
        " be true of a line; -n counts those lines. A TIME is 5m, 2h30m ago, 14:30, yesterday"
        " 10:00, 2026-01-31 08:00, @UNIXSECONDS.",
    ),
    Command(
        "top", "top", "Show units, figures, logs and processes on a full screen, and act on them.",
        Option("--interval", value="SECONDS", kind="int",
               text="Look at the figures as often (default: 2)."),
        words="[UNIT...]", complete="unit",
        more="Keys are explained by `?`; q leaves. Needs a terminal, of 80x24 or more, and"
        " the library textual (the extra `top` brings it). " + UNITS,
    ),
    Command(
        "events", "events", "Show every change of state as it happens.", JSON_LINES,
        more="Ends with Ctrl-C.",
    ),
    Command(
        "check", "check", "Check unit files, offline: all errors at once.", JSON,
        Option("--machine", text="As for a machine that unboxed-init boots: there, a unit may power"
               " it off or reboot it (restart.limit.then)."),
        words="PATH...", complete="path",
        more="A PATH is a directory of unit files, or one file: that is read with the drop-ins"
        " beside it, and what it needs is looked for in its directory. Exit code 1 if anything is"
        " wrong.",
    ),
    Command(
        "explain", "explain", "Show a unit's files, the exact steps of its launch and the mechanism"
        " of each key.", JSON, words="UNIT", complete="unit",
    ),
    Command(
        "audit", "audit", "Show how exposed units are, and the key that would help most.", JSON,
        words="[UNIT...]", complete="unit",
        more="The figure is on the scale of `systemd-analyze security`, by its checks and weights,"
        " from 0.0 to 10.0; less is better. One UNIT: also every check that adds to it. A word with"
        " a `/`, or that ends in .toml, is a unit file or a directory of them, which is read as it"
        " is, as for a supervisor that runs as root; then no supervisor is asked. A level holds for"
        " all that a unit runs: one whose jobs or logins are other people's (cron, ssh) stays off.",
    ),
    Command(
        "learn", "learn", "Run a unit with nothing refused, and show what it needs as a sandbox.",
        Option("--for", value="TIME", text="Stop it after so long (30s, 5m), not at Ctrl-C only."),
        Option("--restart", text="Restart it if it runs; else that is an error."),
        Option("--write", text="Write it as a drop-in, learned.toml, instead of printing it."),
        Option("--force", text="Overwrite that file; else it is an error that it is there."),
        words="UNIT", complete="unit",
        more="The unit runs as at level strict, but nothing is refused; each call that a"
        " promise is needed for is noted, with its paths and ports. When it ends, or at Ctrl-C,"
        " it is stopped, and [sandbox] and [network] that allow what was seen are printed as TOML."
        " Drive it through all that it has to do: what it did not do is not in it. Takes the right"
        " to trace it.",
    ),
    Command(
        "ports", "ports", "Show who listens and who is connected, and who may.", JSON,
        words="[UNIT...]", complete="unit",
        more="Sockets of the whole host by the units that have them; those of others by process, as"
        " far as you may see whose they are (root may). With a UNIT only its own. " + UNITS,
    ),
    Command(
        "why", "causes", "Show the chain of causes of a unit's present state.", JSON,
        words="UNIT", complete="unit",
        more="Of one that has failed: whose failure it was, since that unit began, and its last log"
        " line; more than a few transitions before that are only counted (--json has all).",
    ),
    Command(
        "set", "set_", "Change limits of a unit, at once where it runs.", JSON,
        Option("--persist", text="Keep it in the administrator's unit directory."),
        Option("--runtime", text="Until the host is started again (the default)."),
        words="UNIT KEY=VALUE...", complete="unit",
        more="A KEY is one of [limits], with its value as a unit file has it: limits.memory=1GiB"
        " limits.cpu=150%. Without a value (limits.memory=) what was set so is taken back. It is"
        " written into a drop-in, and applied to the instances that run; exit code 1 if not all of"
        " it could be, and that is said: it holds from their next start on.",
    ),
    Command(
        "exec", "exec_", "Run a command among the processes of a unit.",
        Option("--shell", text="/bin/sh, in place of a command."),
        words="UNIT [COMMAND]...", complete="unit",
        more="In its cgroup, its namespaces and its directory, as its user, with its environment"
        " and under its sandbox: unboxed exec web -- ls -l. On a terminal the command gets one of"
        " its own, which is connected to yours. The exit code is that of the command, 128 and the"
        " signal's number if one ended it. It is stopped with the unit, and gets SIGTERM if you"
        " leave. Takes the role admin.",
    ),
    Command(
        "try", "try_", "Run a command as a transient unit.", JSON, NO_WAIT,
        words="COMMAND...", complete="command", unit_keys=True,
        more="Keys of a unit file are options with their value after `=`: --user=nobody "
        "--restart.when=always --env.PORT=8080 --instances=2. With restart keys it is a service,"
        " else a task. Returns when it has run for 0.2 s, or has ended before: with 0 if that was a"
        " success, else 1. When it has ended it is forgotten, and its log stays.",
    ),
    Command(
        "completion", "completion", "Print a completion script.",
        words="SHELL...", complete="shell",
        more="SHELL is bash, zsh or fish: source <(unboxed completion bash). What those scripts"
        " ask for is `unboxed completion words -- WORD...`: the candidates for the last word.",
    ),
    Command("schema", "schema", "Print the JSON Schema of unit files, for editors."),
    Command(
        "upgrade", "upgrade", "Replace the running supervisor by the installed version, in place.",
        more="No service is restarted, no descriptor lost.",
    ),
    _power("poweroff", "Stop everything and power the machine off."),
    _power("reboot", "Stop everything and reboot the machine."),
    _power("halt", "Stop everything and halt the machine, with its power on."),
    _power("kexec", "Stop everything and boot the kernel that was loaded for that.",
           "`kexec -l` loads one. "),
    Command(
        "agent", "agent", "Run an agent that comes with the package.", words="NAME...", whole=True,
        more="They are dashboard, metrics, receive and shipper, and mostly run as units. What"
        " follows NAME is for the agent: `unboxed agent NAME --help` tells it.",
    ),
    Command(
        "boot-report", "boot_report", "Show what a boot took, and what was waited for.", JSON,
        Option("--plot", value="FILE", text="Draw it instead, as an SVG picture."),
        more="The steps of the supervisor's own start, the units that took longest from their"
        " launch until they were ready (not those that a condition skipped), and the critical"
        " chain: who came last, and whom each in it had waited for. Times are since the kernel"
        " began; of a supervisor that boots no machine, since that began. They stay until it ends,"
        " also when its manager is replaced.",
    ),
    Command(
        "boot", "boot", "Do one step of a machine's boot.", words="STEP...", whole=True,
        more="The units in units/system run these, each as a task of its own. What follows STEP is"
        " for the step: `unboxed boot STEP --help` tells it. `unboxed boot args` is none: it prints"
        " the arguments that unboxed-init boots with, one a line, for /etc/unboxed/boot.args.",
    ),
)
BY_NAME = {command.name: command for command in COMMANDS}

_EDIT = "change the unit file, then `unboxed reload`"
# Verbs of later versions, and what serves until then. They are refused by name, not as unknown.
LATER = {
    "enable": "set `autostart = true` in the unit file, then `unboxed reload`",
    "disable": "set `autostart = false` in the unit file, then `unboxed reload`",
    "mask": "set `autostart = false` in the unit file, then `unboxed reload`",
    "unmask": "set `autostart = true` in the unit file, then `unboxed reload`",
    "plan": "`unboxed check DIR` finds errors without changing anything",
    "apply": "`unboxed reload` takes all unit files or, if one is wrong, none",
    "graph": "`unboxed status` shows what a unit waits for, `unboxed why UNIT` the causes",
    "deploy": _EDIT + " and `unboxed restart UNIT`",
    "rollback": _EDIT + " and `unboxed restart UNIT`",
    "scale": "set `instances` in the unit file, then `unboxed reload`",
    "rollout": "`unboxed restart UNIT/0`, UNIT/1 ... restarts one instance at a time",
    "import": "docs/units.md has every key",
}

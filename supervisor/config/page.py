"""docs/units.md, made from the schema's table. The prose around the tables is here."""
from __future__ import annotations

from supervisor.config.id_map import USERS
from supervisor.config.limits import IO
from supervisor.config.promises import PROMISES
from supervisor.config.sandbox import OPENED
from supervisor.config.schema import LIMIT, UNIT, walk
from supervisor.config.shapes import EDGE
from supervisor.config.table import Key, Table

_INTRO = """\
# Unit files

This page and [unit.schema.json](unit.schema.json) are generated from
`supervisor/config/schema.py`.

One TOML file is one unit; its file name is its name: `web.toml` is `web`. A name has 1 to 63 of
a-z, 0-9, `.`, `_` and `-`, and begins with a letter or digit; `unboxed` is taken. The smallest
unit is one line:

```toml
command = "/srv/shop/bin/web --port 8080"
```

`unboxed check FILE` names every error at once, as `file:line: key: cannot ...`.

## Values
- A **duration** is a number of seconds, or text with units: `"1.5s"`, `"100ms"`, `"1h30m"`,
  `"2d"` (`d`, `h`, `m`, `s`, `ms`, `us`, `ns`; at most 3650 days).
- A **size** is a number of bytes, or text: `"512MiB"`, `"1.5GiB"`, `"50MB"`.
- A **signal** is a name or a number: `"TERM"`, `"SIGTERM"`, `15`, `"RTMIN+3"`.
- An **octal text** has one to four octal digits in quotes: `"022"`.
- A **list** of one text may be that text alone.
- A **command** is a list of words, or one text that is split as a shell splits words. No shell
  runs it: variables, patterns and pipes mean nothing. Its first word is an absolute path, or a
  bare name that is looked up in `PATH`.
- A **user or group name** is never a number, nor anything that begins like one.
- A **regular expression** is one of Python's `re`, matched against the bytes of a line.

`{instance}`, `{unit}` and `{port:NAME}` (the port of the tcp or udp listener NAME) are filled in
in commands, hooks, `env` values, `env_files`, `directory`, `root`, `secrets`, the paths of
`[sandbox]` and `[network] unix`; the first two in names of `[sandbox]` too. All other braces are
text.

## Where they are found
Directories, highest rank first: `/etc/unboxed/units`, `units` in the runtime directory (transient
units), `/usr/lib/unboxed/units`; for an ordinary user `~/.config/unboxed/units`, the runtime
directory's, `~/.local/share/unboxed/units`. A file hides those of the same name in directories of
lower rank.

A **drop-in** is a file `NAME.toml.d/*.toml` in any of them. Drop-ins are merged over the unit in
order of their file names: tables merge, texts, numbers and lists replace, and an empty list takes
the key away, so that its default holds again; but in `[sandbox]` and `[network]` an empty list is
one that allows nothing. Of two with the same file name the one of higher
rank counts.

Directories and files must belong to root or to the supervisor's user, and not be writable by
everybody. A unit file that is a symbolic link is refused, as is one of more than 64 KiB. Names
that begin with a dot or end with `~` are skipped.
"""

_TABLE = "| key | value | default | meaning |\n| --- | --- | --- | --- |\n"


def units_page() -> str:
    """The text of docs/units.md."""
    text = _INTRO + "\n## Top level\n" + _TABLE
    top = [key for key in UNIT.keys if not key.later and key.type.form not in _SECTIONS]
    text += "".join(map(_row, top)) + _ENVIRONMENT
    for key in UNIT.keys:
        if not key.later and key.type.form in _SECTIONS:
            title = f"[[{key.name}]]" if key.type.form == "tables" else f"[{key.name}]"
            text += f"\n## `{title}`\n{_sentence(key.meaning)}\n\n{_TABLE}"
            text += "".join(map(_row, _supported(key.type.detail)))
            if key.name == "needs":
                text += "\nOf a relation `{unit, until, order}`:\n\n" + _TABLE
                text += "".join(map(_row, EDGE.keys)) + _BOOT
            elif key.name == "restart":
                text += "\nOf `limit`:\n\n" + _TABLE + "".join(map(_row, LIMIT.keys))
            elif key.name == "limits":
                text += "\nOf an entry of `io`:\n\n" + _TABLE + "".join(map(_row, IO.keys))
                text += _LIMITS
            elif key.name == "sandbox":
                text += "\nOf an entry of `open`:\n\n" + _TABLE + "".join(map(_row, OPENED.keys))
                text += "\nOf `users`:\n\n" + _TABLE + "".join(map(_row, USERS.keys))
                text += _SANDBOX.format(", ".join(f"`{word}`" for word in PROMISES))
            elif key.name == "network":
                text += _NETWORK
    text += "\n## Not supported yet\nThese keys are known, and refused until a later version:\n\n"
    return text + "".join(_later_lines()) + "\n" + _TOGETHER


_BOOT = """
On a machine that unboxed-init boots, every unit that the group `boot` does not itself need also
requires `boot`: [machine.md](machine.md).
"""

_LIMITS = """
A limit is kept by the kernel's cgroup controllers, v2 or v1, for all processes of an instance
together; `oom_score_adjust`, `nice`, `files`, `core` and `rlimits` hold for each process. A key
that this host cannot enforce is never ignored: see `require`. A key that is written is enforced or
refused; the defaults of `tasks` and `oom` hold where the host can, for units that have this section
(it may be empty). What runs is changed by `unboxed set`; what a key is in the kernel says
[limits.md](limits.md).
"""

_SANDBOX = """
The levels, each with all of the one before it:

- `off`: nothing.
- `base`: no new privileges (set-user-id programs run as who starts them); no capabilities, unless
  they are listed or `user = "root"` is written.
- `app`: a dynamic user (unless `user` or `users` is written, or the supervisor is an ordinary
  user's); the whole file system read-only but its own directories and `write`; no /home, /root
  and /run/user; a private /tmp; in /proc its own processes only; no devices but those that every
  program expects; the promise `app`; no signals and no abstract sockets to strangers.
- `strict`: nothing but the promises, paths and ports that are listed, and the program itself.

Promises: {}.

`app` is all that servers and their runtimes use, without administration; the others are OpenBSD's
pledge words, and words for what Linux has besides.

In `read`, `write` and `exec`, `@state`, `@runtime`, `@cache` and `@logs` are the directories of
these keys (one with the unit's name, if there is none), `@tmp` is a private /tmp, and `@self` is
the program, its interpreter and loader, and the libraries that they load. What may be written may
be read. A list of `read` or `exec` limits reading to what is listed anywhere, and what the program
is started by. What each key is for, and what hosts cannot enforce, says [sandbox.md](sandbox.md).
"""

_NETWORK = """
Networks are numbers, as in `"10.0.0.0/8:5432"`, `"[fd00::/8]:443"` or `"udp:10.0.0.1:53"`; names
are not looked up. A rule without a protocol is for tcp. An empty list allows nothing; without the
key all is allowed, but at the sandbox level `strict` nothing.
"""

_ENVIRONMENT = """
The whole environment of a program is this, then `env_files`, then `env`:

| variable | value |
| --- | --- |
| `PATH` | `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin` |
| `HOME`, `USER`, `LOGNAME`, `SHELL` | of the user that it runs as |
| `INSTANCE` | its number, from 0 |
| `UNBOXED_UNIT` | its name as commands take it: `web`, or `web/1` of several |
| `LISTEN_FDS`, `LISTEN_FDNAMES`, `LISTEN_PID` | with `[[listen]]` or descriptors of `FDSTORE=1` |
| `NOTIFY_SOCKET` | with `ready = "notify"` |
| `WATCHDOG_USEC`, `WATCHDOG_PID` | with `start.watchdog` |
| `STATE_DIRECTORY` | the paths of `sandbox.state`, with `:` between them |
| `RUNTIME_DIRECTORY`, `CACHE_DIRECTORY`, `LOGS_DIRECTORY` | of `runtime`, `cache`, `logs` alike |
| `CREDENTIALS_DIRECTORY` | with `[secrets]`: `RUNTIME_DIR/secrets/UNIT` |
| `UNBOXED_ATTACHED` | with `attach`: the units that it is attached to, with spaces between them |
| `UNBOXED_ACK_FD`, `UNBOXED_AGENT_FD` | descriptors of an agent: see [agents.md](agents.md) |
| `UNBOXED_ENDPOINTS`, `UNBOXED_STATUS` | paths for an agent: see there |
| `MAINPID` | the main process, in `stop.command`, `reload.command` and `start.after` |

The first two rows and the four directories can be set otherwise in `env`; the names of the others
are refused there. Of root's supervisor and a unit `web`, `CREDENTIALS_DIRECTORY` is
`/run/unboxed/secrets/web`, and of several instances the second has `/run/unboxed/secrets/web@1`.
"""

_TOGETHER = """\
## What cannot be together
- A `service` or `task` has a `command`; a `group` has none, and nothing else that a program would
  need: only `description`, `documentation`, `autostart`, `[needs]`, `[conditions]`, and `[limits]`
  without what holds for each process.
- A `task` is not restarted `"always"`: its end is its result.
- `start.watchdog` needs `ready = "notify"`.
- `ready = "fd:N"`: listeners are passed from descriptor 3 on, so N is above the last of them.
- `ready = {log = ...}` needs `logs.to = "files"`, and so does every other key of `[logs]`.
- `stop.drain` needs `reuse_port` in every listener: a queue that all instances share cannot be
  taken from one of them. An agent that receives logs can do without listeners.
- `reload.signal` and `reload.command` exclude each other.
- `restart.delay` is at most `max_delay`, `max_age_jitter` at most `max_age`, `logs.segment` at
  most `keep`.
- `limits.memory_min` is at most `memory_high`, and that at most `memory`; `restart.memory_budget`
  is below `limits.memory`; `limits.cpus` and `pin` exclude each other.
- Two listeners of a unit differ in name and in address.
- Two units do not claim one port, by `[[listen]]` or `network.listen`, unless one of them conflicts
  with the other, or both listeners have `reuse_port`. Neither of the two is started.
- `sandbox.level = "strict"` needs `promises`; `level = "off"` excludes `promises`, `read`, `write`,
  `exec`, `view`, `jit = false`, and `network.listen`, `connect` and `unix`.
- Below level `app`, `on_violation` needs `promises`, and `view` needs `read`, `write` or `exec`.
- `user = "dynamic"` excludes `users` and level `off`; a dynamic user, also that of level `app`,
  excludes the promise `id`.
- `sandbox.open` gives no descriptor twice, none that a listener gets (they are passed from 3 on),
  and not that of `start.ready`.
- Where `promises` are written, `network.listen` needs `inet` among them, `connect` `inet` or `dns`,
  `unix` `unix`, and `gpus` needs `device`; the promise `app` has all of them.
- `network.mode = "none"` excludes `listen` and `connect`; `address` needs `mode = "private"` and
  one instance.
- `tmp = "shared"` excludes `@tmp`.
- A unit does not name itself in `[needs]` or `attach`, and does not conflict with what it needs.
- `[agent]` needs `attach`, and `agent.cursor` needs `"logs"` in `agent.receives`.
"""

_SECTIONS = ("table", "tables", "reload")


def _supported(table: Table) -> list[Key]:
    return [key for key in table.keys if not key.later]


def _row(key: Key) -> str:
    default = f"`{key.default}`" if key.default else ""
    cells = (f"`{key.name}`", key.type.words, default, key.meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _sentence(meaning: str) -> str:
    return meaning[:1].upper() + meaning[1:] + "."


def _later_lines() -> list[str]:
    """One line a table of later keys; keys that have none are named together."""
    groups: dict[str, list[str]] = {}
    for path, key in walk():
        if key.later and key.type.detail is None:
            table, _, name = path.rpartition(".")
            groups.setdefault(table, []).append(f"`{name}`")
    return [
        f"- {f'`{table}`' if table else 'top level'}: {', '.join(names)}\n"
        for table, names in groups.items()
    ]

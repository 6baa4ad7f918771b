"""Write docs/commands.md from the table of commands: `python docs/generate_commands.py`.

A test fails when the page and the table differ.
"""
from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from supervisor.cli.table import COMMANDS, LATER, RUNTIME_DIR, Command, Option  # noqa: E402
from supervisor.model.paths import paths  # noqa: E402

PAGE = ROOT / "docs" / "commands.md"
HEAD = """\
# Commands

<!-- Made by docs/generate_commands.py from supervisor/cli/table.py: change that. -->

One command, `unboxed`, for everything. Reading commands answer in plain text when standard output
is no terminal, and take `--json` for one document with stable keys. Tables, colour and progress
appear on a terminal only (no colour with `NO_COLOR`); there is never a pager. Control characters
that services wrote are shown escaped on a terminal (`--raw` to see them).

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | failed; the message says `cannot VERB UNIT: reason; what happens next` |
| 2 | bad usage |
| 3 | not running, or no such unit |
| 4 | not permitted |
| 5 | timed out |
| 130 | ended by Ctrl-C; what was asked of the supervisor goes on |

A UNIT is a unit (`web`, all its instances), one instance (`web/1`), a group (its members) or a
pattern (`'web*'`, quoted from the shell). Before or after every command:
"""
FILES = """\
## Files

| file or folder | what it is |
| --- | --- |
| `/etc/unboxed/units` | the administrator's units and drop-ins: `NAME.toml`, `NAME.toml.d/*.toml` |
| `/run/unboxed/units` | units and drop-ins until the next boot, such as those of `unboxed set` |
| `/usr/lib/unboxed/units` | units of packages |
| `~/.config/unboxed/units`, `~/.local/share/unboxed/units` | an ordinary user's |
| `/etc/unboxed/network.toml` | the network of a machine: [network.md](network.md) |
| `/run/unboxed/control`, `/run/unboxed/status` | sockets: [control.md](control.md) |
| `/var/log/unboxed` | logs: [logs.md](logs.md) |
| `/var/lib/unboxed` | other state |
| `/etc/unboxed/boot.args`, else `/usr/lib/unboxed/boot.args` | what a machine boots with |

## Examples

A service, tried first, then as a file:

```sh
unboxed try --restart.when=always -- /usr/bin/python3 -m http.server 8000
unboxed check /etc/unboxed/units
unboxed reload
unboxed start web
```

Why it does not run, and what it and its database wrote in the last ten minutes:

```sh
unboxed status web
unboxed why web
unboxed logs --since 10m web db
```

Less memory for it, from now on:

```sh
unboxed set --persist web limits.memory=512MiB
```

A supervisor of your own, in the foreground, of the unit files in a folder:

```sh
unboxed run --units ./units
```
"""
HOME, UID = "/home/ann", 1000


def page() -> str:
    parts = [HEAD, _options((RUNTIME_DIR,)), _directories()]
    parts += [_section(command) for command in COMMANDS]
    parts.append("## Not supported yet\n\nThese are refused with exit code 2.\n")
    rows = "\n".join(f"| `{verb}` | {text} |" for verb, text in LATER.items())
    parts.append(f"| command | until then |\n| --- | --- |\n{rows}\n")
    parts.append(FILES)
    return "\n".join(parts)


def _directories() -> str:
    """Where everything is by default, asked of what decides it."""
    root = paths({}, 0)
    user = paths({"HOME": HOME, "XDG_RUNTIME_DIR": f"/run/user/{UID}"}, UID)
    beside = paths({}, 0, runtime_dir="/run/second")
    rows = [
        ("runtime: sockets, a lock", "`--runtime-dir`, `UNBOXED_RUNTIME_DIR`", "runtime"),
        ("state: logs, what agents acknowledged", "`--state-dir`, `UNBOXED_STATE_DIR`", "state"),
        ("logs", "`--log-dir`, `UNBOXED_LOG_DIR`", "log"),
    ]
    text = "\n".join(
        f"| {what} | {given} | `{getattr(root, name)}` | `{_user(getattr(user, name))}`"
        f" | `{getattr(beside, name)}` |"
        for what, given, name in rows)
    return (
        "## Directories\n\nOne runtime directory is one supervisor.\n\n"
        "| directory of | chosen by | else as root | else without root"
        " | as root with `--runtime-dir /run/second` |\n| --- | --- | --- | --- | --- |\n"
        f"{text}\n\nWithout `XDG_RUNTIME_DIR` the runtime directory is"
        f" `{paths({}, UID).runtime.replace(str(UID), 'UID')}`; `XDG_STATE_HOME` takes the place of"
        " `~/.local/state`. With a state directory of your own, logs are in `log` in it. Unit"
        " files: [units.md](units.md#where-they-are-found).\n")


def _user(path: str) -> str:
    return path.replace(HOME, "~").replace(f"/run/user/{UID}", "$XDG_RUNTIME_DIR")


def _section(command: Command) -> str:
    usage = f"unboxed {command.name}"
    if command.options or command.unit_keys:
        usage += " [OPTION...]"
    if command.unit_keys:
        usage += " [--KEY=VALUE...] --"
    if command.words:
        usage += f" {command.words}"
    about = f"{command.text} {command.more}".rstrip()
    text = [f"## `{command.name}`\n", f"    {usage}\n", about, ""]
    if command.options:
        text.append(_options(command.options))
    return "\n".join(text)


def _options(options: tuple[Option, ...]) -> str:
    rows = [
        f"| {_names(option)} | {option.text} |" for option in options
    ]
    return "\n".join(["| option | meaning |", "| --- | --- |", *rows, ""])


def _names(option: Option) -> str:
    value = f" {option.value}" if option.value else ""
    if option.bare:
        value = f"[={option.value}]"
    return ", ".join(f"`{name}{value}`" for name in option.names)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

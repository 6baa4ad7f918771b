"""Help, and every complaint about how a command line is written: click, made from the table.

Law: it is imported only when parse.py has given up, so an ordinary call never pays for it.
"""
from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from supervisor import __version__
from supervisor.cli.call import BAD_USAGE, DONE, Call, Failure
from supervisor.cli.parse import in_full, unit_key
from supervisor.cli.table import BY_NAME, COMMANDS, LATER, RUNTIME_DIR, Command, Option
from supervisor.config.nearest import nearest

# Words that fingers know from systemctl and its company, and what serves here.
_HABITS = {
    "daemon-reload": "`unboxed reload` reads all unit files again",
    "cat": "`unboxed explain UNIT` names its files and shows every key in effect",
    "show": "`unboxed status UNIT --json` has its state, `unboxed explain UNIT` its keys",
    "list-units": "`unboxed status` shows all",
    "list-unit-files": "`unboxed status` shows all, `unboxed explain UNIT` the files of one",
    "list-sockets": "`unboxed ports` shows who listens on what",
    "list-timers": "there are no timers; have cron as a unit",
    "is-active": "`unboxed status UNIT` ends with 0 if it is up, with 3 if not",
    "is-failed": "`unboxed status UNIT` ends with 0 if it is up, with 3 if not",
    "is-enabled": "the key autostart is it: `unboxed explain UNIT`",
    "journalctl": "`unboxed logs UNIT` is it, `unboxed logs -f` follows all",
    "set-property": "`unboxed set UNIT KEY=VALUE` is it",
    "edit": "edit the unit file, then `unboxed reload`",
    "blame": "`unboxed boot-report` is it",
    "critical-chain": "`unboxed boot-report` is it",
}
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def understand(argv: Sequence[str]) -> Call | int:
    """The call, or the exit code after help was printed. Raises Failure for bad usage."""
    verb = _verb(argv)
    if not argv:  # whoever types nothing wants to know what there is
        print(_group().get_help(click.Context(_group(), info_name="unboxed")), file=sys.stderr)
        return BAD_USAGE
    if verb in LATER:
        raise Failure(
            f"cannot run `unboxed {verb}`: it is not supported yet; {LATER[verb]}", BAD_USAGE)
    words, keys = _split_keys(_in_full(argv, BY_NAME.get(verb)), BY_NAME.get(verb))
    try:
        answer = _group().main(
            list(words), prog_name="unboxed", standalone_mode=False)
    except click.UsageError as error:
        raise Failure(_complaint(error, verb), BAD_USAGE) from None
    if not isinstance(answer, Call):
        return DONE if answer is None else int(answer)
    return Call(answer.verb, answer.words, answer.options, keys)


def _in_full(argv: Sequence[str], command: Command | None) -> list[str]:
    """`logs --boot web` with `--boot=0` written out: click would take the unit for its value."""
    words: list[str] = []
    options = {name: option for option in (RUNTIME_DIR, *(command.options if command else ()))
               for name in option.names}
    rest = iter(in_full(argv))
    for word in rest:
        option = options.get(word)
        if word == "--":
            return [*words, word, *rest]
        words.append(f"{word}={option.bare}" if option and option.bare else word)
        if option and option.value and not option.bare:
            words += [value for value in [next(rest, None)] if value is not None]
    return words


def _verb(argv: Sequence[str]) -> str:
    """The first word that is neither an option nor the value of one, else ""."""
    rest = iter(argv)
    for word in rest:
        if word == RUNTIME_DIR.names[0]:
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return ""


def _split_keys(
    argv: Sequence[str], command: Command | None
) -> tuple[list[str], list[tuple[str, str]]]:
    """Take the unit keys out: click knows only options that are declared."""
    words: list[str] = []
    keys: list[tuple[str, str]] = []
    seen = False
    rest = iter(argv)
    for word in rest:
        key = command and seen and unit_key(command, word)
        if key:
            keys.append(key)
            continue
        words.append(word)
        if word == "--" or (seen and (word == "-" or not word.startswith("-"))):
            break
        if word == RUNTIME_DIR.names[0]:
            words.extend(value for value in [next(rest, None)] if value is not None)
        else:
            seen = seen or (command is not None and word == command.name)
    return [*words, *rest], keys


def _group() -> click.Group:
    group = click.Group(
        "unboxed", context_settings=_SETTINGS, params=[_option(RUNTIME_DIR)], callback=_note,
        help="Supervise services, tasks and agents as ordinary processes of this host.",
        epilog="Exit codes: 0 done, 1 failed, 2 bad usage, 3 not running or no such unit, "
        "4 not permitted, 5 timed out.",
    )
    click.version_option(__version__, prog_name="unboxed", message="%(prog)s %(version)s")(group)
    for command in COMMANDS:
        group.add_command(_command(command))
    return group


@click.pass_context
def _note(context: click.Context, /, **given: Any) -> None:
    """`--runtime-dir` before the verb; the same after it wins."""
    context.obj = _options((RUNTIME_DIR,), given)


def _command(command: Command) -> click.Command:
    options = (*command.options, RUNTIME_DIR)
    params: list[click.Parameter] = [_option(option) for option in options]
    if command.words:
        params.append(click.Argument(
            ["words"], nargs=-1 if "..." in command.words else 1,
            required=not command.words.startswith("["),
            metavar=command.words, type=click.UNPROCESSED,
        ))
    settings = {"allow_interspersed_args": not command.whole}
    options_word = "[OPTIONS] [--KEY=VALUE...] [--]" if command.unit_keys else "[OPTIONS]"
    return click.Command(
        command.name, params=params, callback=_callback(command), context_settings=settings,
        options_metavar=options_word, short_help=command.text,
        help="\n\n".join(filter(None, (command.text, command.more))),
    )


def _callback(command: Command) -> Callable[..., Call]:
    @click.pass_context
    def make(context: click.Context, /, words: Any = (), **given: Any) -> Call:
        options = {**(context.obj or {}), **_options((*command.options, RUNTIME_DIR), given)}
        return Call(command.name, (words,) if isinstance(words, str) else words, options)

    return make


def _options(options: Sequence[Option], given: dict[str, Any]) -> dict[str, Any]:
    """What was really given, under its own key; click names parameters in its own way."""
    found: dict[str, Any] = {}
    for option in options:
        value = given[_parameter(option)]
        if option.many and not option.value:
            found |= {option.key: value} if value else {}
        elif value is not None and value is not False and value != ():
            found[option.key] = list(value) if option.many else value
    return found


def _option(option: Option) -> click.Option:
    kind = _Whole() if option.kind == "int" else click.STRING
    declared = [_parameter(option), *option.names]
    if not option.value:
        if option.many:
            return click.Option(declared, count=True, help=option.text)
        return click.Option(declared, is_flag=True, help=option.text)
    value = f"[{option.value}]" if option.bare else option.value
    return click.Option(
        declared, metavar=value, type=kind, multiple=option.many, help=option.text)


class _Whole(click.ParamType[int]):
    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if not (value.isascii() and value.isdigit()):
            self.fail(f"takes a whole number from 0, not '{value}'", param, ctx)
        return int(value)


def _parameter(option: Option) -> str:
    return option.key.replace("-", "_")


def _complaint(error: click.UsageError, verb: str) -> str:
    command = BY_NAME.get(verb)
    if command is None and verb in _HABITS:
        return f"cannot run `unboxed {verb}`: there is no such command; {_HABITS[verb]}"
    if command is None:
        known = [*BY_NAME, *LATER]
        near = next((name for name in known if verb and name.startswith(verb)), None)
        near = near or nearest(verb, known)
        hint = f"did you mean `unboxed {near}`?" if near else "see `unboxed --help`"
        if not verb:
            return f"cannot understand the command line: {_reason(error)}; {hint}"
        return f"cannot run `unboxed {verb}`: there is no such command; {hint}"
    reason = _reason(error)
    if isinstance(error, click.MissingParameter):
        reason = f"{command.words.rstrip('.')} is missing"
    hint = f"see `unboxed {verb} --help`"
    if verb == "logs" and isinstance(error, click.NoSuchOption) and error.option_name[1:].isdigit():
        hint = "the last lines are -n 10, the boot before this one is --boot=-1"
    if command.unit_keys and isinstance(error, click.NoSuchOption):
        hint = f"keys of a unit are written {error.option_name}=VALUE, before the command"
    return f"cannot run `unboxed {verb}`: {reason}; {hint}"


def _reason(error: click.UsageError) -> str:
    """The reason in our words."""
    text = error.format_message().rstrip(".")
    if text == "Missing command":
        return "no command is named"
    if isinstance(error, click.NoSuchOption):
        return f"it has no option {error.option_name}"
    if isinstance(error, click.BadParameter) and error.param and not isinstance(
            error, click.MissingParameter):
        return f"{error.param.opts[0]} {error.message}"
    extra = re.fullmatch(r"Got unexpected extra arguments? \((.*)\)", text)
    if extra:
        return f"it does not take {extra[1]}"
    return text[:1].lower() + text[1:]

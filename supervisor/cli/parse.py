"""Command lines that are right, parsed without a library: importing one takes longer than `status`.

Law: `parse` either returns exactly what front.py (click) would make of the same words, or None for
whatever is unusual or wrong: help, abbreviations, bundled flags, missing or unknown words. Then
front.py looks again, and it alone explains. A test compares the two.
"""
from __future__ import annotations

from supervisor.cli.call import Call, Value
from supervisor.cli.table import BY_NAME, RUNTIME_DIR, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def parse(argv: Sequence[str]) -> Call | None:
    """`argv` without the program's name."""
    options: dict[str, Value] = {}
    keys: list[tuple[str, str]] = []
    words: list[str] = []
    command: Command | None = None
    known = {RUNTIME_DIR.names[0]: RUNTIME_DIR}
    rest = iter(in_full(argv))
    for word in rest:
        if word[:1] != "-" or word == "-":
            if command is None:
                command = BY_NAME.get(word)
                if command is None:
                    return None
                known |= {name: option for option in command.options for name in option.names}
                continue
            words.append(word)
            if command.whole:
                words.extend(rest)
        elif word == "--" and command:
            words.extend(rest)
        elif command and (key := unit_key(command, word)):
            keys.append(key)
        elif not _take(options, known, word, rest):
            return None
    if command is None or not fits(command, len(words)):
        return None
    return Call(command.name, words, options, keys)


def in_full(argv: Sequence[str]) -> Sequence[str]:
    """`kill -9 web` and `kill -KILL web`, as kill(1) takes them, with `--signal=` written out."""
    if "kill" not in argv:
        return argv
    words: list[str] = []
    killing = False
    rest = iter(argv)
    for word in rest:
        name = word[1:]
        if word == "--":
            words.append(word)
            break
        if word in _BEFORE_VALUES:
            words += [word, *[value for value in [next(rest, None)] if value is not None]]
        elif killing and word[:1] == "-" and (
                name.isdigit() or (name[:1].isupper() and name == name.upper())):
            words.append(f"--signal={name}")
        else:
            killing = killing or word == "kill"
            words.append(word)
            if word[:1] != "-" and not killing:
                break
    return [*words, *rest]


_BEFORE_VALUES = (RUNTIME_DIR.names[0], "--signal", "-s")


def _take(
    options: dict[str, Value], known: dict[str, Option], word: str, rest: Iterator[str]
) -> bool:
    """Note the option in `word`, with its value from there or the next one; False if unusual."""
    name, equals, text = word.partition("=")
    option = known.get(name)
    if option is None or (equals and name[:2] != "--"):
        return False
    if not option.value:
        given = options.get(option.key, 0)
        options[option.key] = int(given) + 1 if option.many and isinstance(given, int) else True
        return not equals
    if option.bare and not equals:
        options[option.key] = option.bare
        return True
    value = text if equals else next(rest, None)
    if value is None:
        return False
    if option.many:
        options[option.key] = [*_many(options, option), value]
    elif option.kind == "int":
        if not (value.isascii() and value.isdigit()):
            return False
        options[option.key] = int(value)
    else:
        options[option.key] = value
    return True


def _many(options: dict[str, Value], option: Option) -> list[str]:
    given = options.get(option.key)
    return given if isinstance(given, list) else []


def unit_key(command: Command, word: str) -> tuple[str, str] | None:
    """("env.A", "b") for `--env.A=b` where the command takes keys of a unit file, else None."""
    name, equals, text = word.partition("=")
    if not (command.unit_keys and equals and name[:2] == "--" and name[2:]):
        return None
    own = (RUNTIME_DIR, *command.options)
    return None if any(name in option.names for option in own) else (name[2:], text)


def fits(command: Command, count: int) -> bool:
    """Whether `count` words are what the command takes."""
    if not command.words:
        return count == 0
    if command.words.startswith("["):
        return True
    return count >= 1 if command.words.endswith("...") else count == 1

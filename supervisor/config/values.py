"""The value types that are one text, one number or one truth value.

Law: a name or a form is checked here and nowhere else. What looks like a mistake is refused, not
guessed: a user that is a number, an expression that does not compile. Quantities with units are in
`quantity`.
"""
from __future__ import annotations

from supervisor.config.table import Refused, Type, each, show

LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset("0123456789")
_LETTERS = LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_UNIT_NAME = LOWER | DIGITS | frozenset("._-")
_USER_NAME = _LETTERS | DIGITS | frozenset("._-")

MAX_PATH_BYTES = 4095  # PATH_MAX without its NUL
MAX_UNIT_NAME = 63
MAX_USER_NAME = 32  # as useradd(8)


def text(value: object) -> str:
    if type(value) is not str:
        raise Refused(f"cannot use {show(value)}: a text belongs here; write it in quotes")
    if "\0" in value:
        raise Refused("cannot use this text: it holds a NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused(f"cannot use {show(value)}: it is not UTF-8") from None
    return value


def boolean(value: object) -> bool:
    if type(value) is not bool:
        raise Refused(f"cannot use {show(value)}: write true or false, without quotes")
    return value


def choice(*words: str, refused: tuple[str, ...] = ()) -> Type:
    """One of `words`. Those in `refused` belong to a later version."""
    known = {word: word for word in words}  # the value returned is the table's: no copy a unit

    def parse(value: object) -> str:
        try:
            return known[value]  # type: ignore[index]
        except (KeyError, TypeError):
            if value in refused:
                why = "not supported yet"
            else:
                why = "it is none of the words that are known"
            raise Refused(
                f"cannot use {show(value)}: {why}; write {_either(words)}"
            ) from None

    return Type(parse, "choice", " or ".join(f"`{word}`" for word in words), words)


def _either(words: tuple[str, ...]) -> str:
    return " or ".join(f'"{word}"' for word in words)


def integer(low: int, high: int) -> Type:
    def parse(value: object) -> int:
        if type(value) is not int:
            raise Refused(
                f"cannot use {show(value)}: write a whole number from {low} to {high}"
            )
        if not low <= value <= high:
            raise Refused(f"cannot use {show(value)}: it must be from {low} to {high}")
        return value

    return Type(parse, "integer", f"{low} to {high}", (low, high))


def decimal(low: float, high: float) -> Type:
    def parse(value: object) -> float:
        if type(value) is not int and type(value) is not float:
            raise Refused(f"cannot use {show(value)}: write a number from {low:g} to {high:g}")
        if not low <= value <= high:  # false for nan, too
            raise Refused(f"cannot use {show(value)}: it must be from {low:g} to {high:g}")
        return float(value)

    return Type(parse, "decimal", f"{low:g} to {high:g}", (low, high))


def path(value: object) -> str:
    found = text(value)
    if not found.startswith("/"):
        raise Refused(f"cannot use {show(value)}: write an absolute path, beginning with /")
    if len(found) > 1000 and len(found.encode()) > MAX_PATH_BYTES:
        raise Refused(f"cannot use {show(value)}: a path has at most {MAX_PATH_BYTES} bytes")
    return found


def is_unit_name(value: str) -> bool:
    return (
        0 < len(value) <= MAX_UNIT_NAME
        and _UNIT_NAME.issuperset(value)
        and value[0] not in "._-"
    )


def unit_name(value: object) -> str:
    if type(value) is str and is_unit_name(value):
        return value
    raise Refused(
        f"cannot use {show(value)}: it is no unit name; a name has 1 to {MAX_UNIT_NAME} of a-z, "
        "0-9, '.', '_' and '-', and begins with a letter or digit"
    )


def account(value: object) -> str:
    """The form of a user or group name. Whether it exists is known at launch only."""
    if type(value) is int or (
        type(value) is str and value.lstrip("+-")[:1] in DIGITS and value.strip("+-")
    ):
        raise Refused(
            f"cannot use {show(value)}: a number is not a user name, nor is what begins like one; "
            "write the name"
        )
    if value == "dynamic":
        raise Refused('cannot use "dynamic" here: only the key user can have that; write a name')
    if value == "":
        raise Refused('cannot use "": a name is empty; write one, or remove the key')
    if (
        type(value) is not str
        or len(value) > MAX_USER_NAME
        or not _USER_NAME.issuperset(value.removesuffix("$"))
        or (value[0] not in _LETTERS and value[0] != "_")
    ):
        raise Refused(
            f"cannot use {show(value)}: it is no user or group name; a name has 1 to "
            f"{MAX_USER_NAME} of a-z, A-Z, 0-9, '.', '_' and '-', and begins with a letter or '_'"
        )
    return value


def _user(value: object) -> str:
    return "dynamic" if value == "dynamic" else account(value)


def _documentation(value: object) -> str:
    found = text(value)
    if not found or not found.isprintable():
        raise Refused(f"cannot use {show(value)}: write a link or a man page, such as web(8)")
    return found


def _description(value: object) -> str:
    found = text(value)
    if not found.isprintable():
        raise Refused("cannot use this text: write one line without control characters")
    return found


def _regex(value: object) -> str:
    """A pattern that compiles. It is matched against bytes, so it is compiled as bytes."""
    import re
    import warnings

    found = text(value)
    if not 0 < len(found) <= 1024:
        raise Refused("cannot use this pattern: it must have 1 to 1024 characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "possible nested set": it means something else one day
            re.compile(found.encode())
    except (re.error, RecursionError, OverflowError, Warning) as error:
        raise Refused(f"cannot use {show(value)}: it is no regular expression: {error}") from None
    return found


def listed(item: Type, high: int = 1024) -> Type:
    """A list of `item`, none twice; one text alone is a list of one."""
    parse_item = item.parse

    def parse(value: object) -> tuple[object, ...]:
        if type(value) is not list:
            if type(value) is str:
                return (parse_item(value),)
            raise Refused(f"cannot use {show(value)}: a list belongs here; write [...]")
        if len(value) > high:
            raise Refused(f"cannot use this list: it has more than {high} items")
        found = each(value, parse_item)
        if len(found) != len(set(found)):
            twice = next(v for i, v in enumerate(found) if v in found[:i])
            raise Refused(f"cannot use this list: {show(twice)} is in it twice; remove one")
        return found

    return Type(parse, "list", f"list: {item.words}", item)


def negatable(item: Type) -> Type:
    """`item`, or "!" and `item`."""

    def parse(value: object) -> str:
        found = text(value)
        item.parse(found[1:] if found[:1] == "!" else found)
        return found

    return Type(parse, "negatable", f"{item.words}, `!` before it negates", item)


def _word(value: object) -> str:
    found = text(value)
    if not found or not found.isprintable() or " " in found or len(found) > 255:
        raise Refused(f"cannot use {show(value)}: write one word, without spaces")
    return found


def _virtualization(value: object) -> str:
    found = text(value)
    if not found or len(found) > 63 or not _UNIT_NAME.issuperset(found) or found[0] not in LOWER:
        raise Refused(
            f'cannot use {show(value)}: write "none", "vm", "container", or the name of one kind '
            'such as "kvm" or "docker"'
        )
    return found


def _instances(value: object) -> int:
    if value == "cores":
        return 0
    if type(value) is not int or not 1 <= value <= 1024:
        raise Refused(f'cannot use {show(value)}: write a number from 1 to 1024, or "cores"')
    return value


BOOLEAN = Type(boolean, "boolean", "`true` or `false`")
DESCRIPTION = Type(_description, "text", "text")
DOCUMENTATION = Type(_documentation, "text", "links or man pages")
PATH = Type(path, "path", "absolute path")
UNIT_NAME = Type(unit_name, "unit", "unit name")
ACCOUNT = Type(account, "account", "user or group name")
USER = Type(_user, "account", "user name, or `dynamic`")
REGEX = Type(_regex, "regex", "regular expression")
WORD = Type(_word, "text", "word")
VIRTUALIZATION = Type(_virtualization, "text", "`none`, `vm`, `container`, or one kind of them")
INSTANCES = Type(_instances, "instances", "1 to 1024, or `cores`")

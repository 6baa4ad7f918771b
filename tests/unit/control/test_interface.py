"""The interface file, the table of methods and the Structs say the same."""
import itertools
import types
import typing
from typing import Any

import msgspec
import pytest
from msgspec.structs import fields
from varlink import scanner

from supervisor.control.methods import INTERFACE, METHODS
from supervisor.control.service import SERVICE, description
from supervisor.model import report

SOURCE = scanner.Interface(description(INTERFACE))
ALIASES = {n: m.type for n, m in SOURCE.members.items() if isinstance(m, scanner._Alias)}
IN_FILE = {n: m for n, m in SOURCE.members.items() if isinstance(m, scanner._Method)}
ERRORS = {n: m.type for n, m in SOURCE.members.items() if isinstance(m, scanner._Error)}
_SCALARS = {str: "string", int: "int", bool: "bool", float: "float"}


def told(kind: Any) -> Any:
    """A type of the interface file, comparable with `typed`."""
    if isinstance(kind, scanner._Maybe):
        return ("?", told(kind.element_type))
    if isinstance(kind, scanner._Array):
        return ("[]", told(kind.element_type))
    if isinstance(kind, scanner._Object):
        return "object"
    if isinstance(kind, scanner._CustomType):
        target = ALIASES[kind.name]
        return tuple(target.fields) if isinstance(target, scanner._Enum) else kind.name
    if isinstance(kind, scanner._Struct):
        return {name: told(field) for name, field in kind.fields.items()}
    return _SCALARS[type(kind)]


def typed(kind: Any) -> Any:
    """The same of a Python annotation."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return typed(args[0])
    if origin is typing.Literal:
        return args
    if origin in (types.UnionType, typing.Union):
        (inner,) = [arg for arg in args if arg is not type(None)]
        return ("?", typed(inner))
    if origin is tuple:
        return ("[]", typed(args[0]))
    if kind is Any:
        return ("?", "object")
    if origin is dict:
        return "object"
    return _SCALARS.get(kind) or kind.__name__


def shape(struct: type[msgspec.Struct], *, request: bool = False) -> dict[str, Any]:
    hints = typing.get_type_hints(struct, include_extras=True)
    kinds = {}
    for field in fields(struct):
        kind = typed(hints[field.name])
        kinds[field.encode_name] = ("?", kind) if request and not field.required else kind
    return kinds


def test_methods_are_the_same_in_file_and_table() -> None:
    assert list(IN_FILE) == list(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_and_answers_what_the_file_says(name: str) -> None:
    method = METHODS[name]
    assert told(IN_FILE[name].in_type) == shape(method.ask, request=True)
    assert told(IN_FILE[name].out_type) == shape(method.answer)


@pytest.mark.parametrize(
    "name", [n for n, kind in ALIASES.items() if isinstance(kind, scanner._Struct)]
)
def test_a_type_has_the_fields_that_the_file_says(name: str) -> None:
    assert told(ALIASES[name]) == shape(getattr(report, name))


@pytest.mark.parametrize("name", ["State", "Goal", "Phase", "Tracking"])
def test_an_enumeration_has_the_words_that_the_file_says(name: str) -> None:
    assert tuple(ALIASES[name].fields) == typing.get_args(getattr(report, name))


def test_errors_are_those_of_the_file_and_carry_a_message() -> None:
    refusals = {kind.__name__: shape(kind) for kind in typing.get_args(report.Refusal)}
    assert {name: told(kind) for name, kind in ERRORS.items()} == refusals
    assert all(fields["message"] == "string" for fields in refusals.values())


@pytest.mark.parametrize("interface", [INTERFACE, SERVICE])
def test_everything_in_the_file_is_explained(interface: str) -> None:
    text = description(interface)
    assert scanner.Interface(text).name == interface
    lines = text.splitlines()
    for before, line in itertools.pairwise(lines):
        if line.startswith(("interface", "type", "method", "error")):
            assert before.startswith("# "), line

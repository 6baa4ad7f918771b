import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from supervisor.control.methods import METHODS
from supervisor.control.wire import (
    MAX_MESSAGE,
    Inbox,
    Malformed,
    read_call,
    read_parameters,
    write_error,
    write_reply,
)
from supervisor.model.request import Operate, Which

OPERATE = msgspec.json.Decoder(Operate)
WHICH = msgspec.json.Decoder(Which)


def take_all(inbox: Inbox) -> list[bytes]:
    messages = []
    while (message := inbox.take()) is not None:
        messages.append(message)
    return messages


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\0", b"x"))), st.data())
def test_messages_are_the_same_however_the_bytes_arrive(
    messages: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(message + b"\0" for message in messages) + b"half"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    inbox, got = Inbox(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        inbox.feed(stream[start:end])
        if data.draw(st.booleans()):
            got += take_all(inbox)
    got += take_all(inbox)
    assert got == messages
    assert len(inbox) == len(b"half")
    assert not inbox.has_message()


def test_the_longest_message_passes_and_one_byte_more_does_not() -> None:
    inbox = Inbox()
    inbox.feed(b"x" * MAX_MESSAGE + b"\0" + b"y" * (MAX_MESSAGE + 1) + b"\0")
    assert inbox.take() == b"x" * MAX_MESSAGE
    with pytest.raises(Malformed, match="more than 65536 bytes"):
        inbox.take()


def test_a_message_without_end_is_refused_as_soon_as_it_is_too_long() -> None:
    inbox = Inbox()
    inbox.feed(b"x" * MAX_MESSAGE)
    assert inbox.take() is None
    inbox.feed(b"x")
    assert inbox.has_message()
    with pytest.raises(Malformed):
        inbox.take()


HOSTILE = [
    b"", b"\xff", b"[]", b"null", b"{}", b'{"method":1}', b'{"method":"a"} x', b'{"method":"\xff"}',
    b'{"method":"a","parameters":{"x":1,}}', b'{"method":"a","more":1}', b'{"method":"a","x":1}',
    b'{"method":"\\ud800"}', b'{"method":"a","parameters":' + b"[" * 60000,
    b'{"method":"a","parameters":' + b"[" * 30000 + b"]" * 30000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("message", HOSTILE, ids=lambda message: repr(message[:30]))
def test_a_hostile_envelope_is_malformed_and_nothing_worse(message: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        read_call(message)
    assert caught.value.reason


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8,
).map(lambda value: json.dumps(value).encode()))
def test_arbitrary_parameters_are_typed_or_malformed_for_every_method(body: bytes) -> None:
    for method in METHODS.values():
        with contextlib.suppress(Malformed):
            ask = read_parameters(Raw(body), msgspec.json.Decoder(method.ask))
            assert isinstance(ask, method.ask)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_call_or_malformed(message: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert isinstance(read_call(message).method, str)


def test_parameters_stay_raw_until_they_are_asked_for() -> None:
    call = read_call(b'{"method":"x.Y","parameters":{"deep":[[1,2],"\xff"]},"more":true}')
    assert (call.method, call.more, call.oneway) == ("x.Y", True, False)
    assert bytes(call.parameters) == b'{"deep":[[1,2],"\xff"]}'


@pytest.mark.parametrize("body, where", [
    (b'{"units":["a",3]}', "units[1]"),
    (b'{"units":[]}', "units"),
    (b"{}", "units"),
    (b'{"units":["a"],"shell":"x"}', "shell"),
    (b'{"units":["a"],"wait":"yes"}', "wait"),
    (b'{"units":[""]}', "units[0]"),
    (b'{"units":["' + b"a" * 129 + b'"]}', "units[0]"),
    (b'{"units":["a\xff"]}', ""),
    (b"[1]", ""),
])
def test_a_wrong_parameter_is_named(body: bytes, where: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_parameters(Raw(body), OPERATE)
    assert caught.value.where == where


def test_null_means_not_given_at_the_top_and_nowhere_else() -> None:
    assert read_parameters(read_call(b'{"method":"a","parameters":null}').parameters, WHICH) == (
        read_parameters(read_call(b'{"method":"a"}').parameters, WHICH)) == Which()
    assert read_parameters(Raw(b'{"units":["a"],"wait":null}'), OPERATE) == Operate(("a",))
    with pytest.raises(Malformed):
        read_parameters(Raw(b'{"units":[null]}'), OPERATE)
    with pytest.raises(Malformed):
        read_parameters(Raw(b'{"units":null}'), OPERATE)


def test_a_reply_is_one_json_document_and_one_nul() -> None:
    assert write_reply({"a": "x\0y"}) == b'{"parameters":{"a":"x\\u0000y"}}\0'
    assert write_reply({}, continues=True) == b'{"parameters":{},"continues":true}\0'
    assert write_error("a.B", {"m": 1}) == b'{"parameters":{"m":1},"error":"a.B"}\0'


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_told_even_if_it_is_no_unicode(text: str) -> None:
    told = write_reply({"command": [text]})
    assert told.count(b"\0") == 1
    expected = text.encode("utf-8", "replace").decode()
    assert json.loads(told[:-1])["parameters"]["command"] == [expected]

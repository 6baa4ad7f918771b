"""From an envelope to the handler that answers it, or straight to a refusal. No socket, no clock.

Law: in this order, and nothing later is looked at when something earlier fails: the method is in
the table; the peer has its role somewhere; the parameters are what the table says; the peer has the
role on the one unit they name. What a glob or a list selects is for the handler to ask of the call.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from supervisor.control import service
from supervisor.control.access import ROLE_NAMES, Access, Peer, Rights
from supervisor.control.call import OpenCall
from supervisor.control.methods import INTERFACE, METHODS, Method, handlers
from supervisor.control.wire import Envelope, Malformed, read_parameters, write_error, write_reply
from supervisor.model.report import Failed, Grant, NotPermitted, RightsReply
from supervisor.model.request import One, Requests


class Dispatcher:
    """`access` may be replaced at any time; it counts from the next call on."""

    def __init__(self, requests: Requests, access: Access, version: str) -> None:
        self.access = access
        self._handlers = handlers(requests)
        self._version = version
        self._decoders: dict[type[Struct], msgspec.json.Decoder[Any]] = {}

    def prepare(
        self, envelope: Envelope, peer: Peer, send: Callable[[bytes, bool], None]
    ) -> OpenCall | bytes:
        """A call to be run; or the answer, where no handler is needed to know it."""
        try:
            return self._prepare(envelope, peer, send)
        except Malformed as exc:
            return service.bad_parameter(exc)

    def _prepare(
        self, envelope: Envelope, peer: Peer, send: Callable[[bytes, bool], None]
    ) -> OpenCall | bytes:
        interface, _, name = envelope.method.rpartition(".")
        if interface == service.SERVICE:
            return service.answer(envelope, self._version)
        method = METHODS.get(name) if interface == INTERFACE else None
        if method is None:
            return service.no_method(envelope.method)
        rights = self.access.rights(peer)
        if rights.role < method.role and method.redact is None:
            return _not_permitted(method, self._why_not(peer, rights, method))
        if envelope.upgrade:
            raise Malformed("no method here changes the protocol", "upgrade")
        if method.streams and not envelope.more:
            return service.expected_more()
        ask = read_parameters(envelope.parameters, self._decoder(method.ask))
        if name == "Rights":
            return write_reply(_granted(peer, rights))
        call = OpenCall(
            method, rights, peer.uid, more=envelope.more, oneway=envelope.oneway, send=send
        )
        if isinstance(ask, One) and not call.permits(ask.unit):
            return _not_permitted(method, f"uid {peer.uid} has no role on {ask.unit}")
        call.run = lambda: self._run(name, call, ask)
        return call

    def _run(self, name: str, call: OpenCall, ask: Struct) -> None:
        try:
            self._handlers[name](call, ask)
        except MemoryError:
            raise  # it is the manager's end, and so the connection's
        except Exception as exc:
            call.fail(Failed(
                f"cannot {METHODS[name].words}: {type(exc).__name__} inside the supervisor;"
                " it goes on, and its own log tells more"))
            raise

    def _decoder(self, kind: type[Struct]) -> msgspec.json.Decoder[Any]:
        decoder = self._decoders.get(kind)
        if decoder is None:
            decoder = self._decoders[kind] = msgspec.json.Decoder(kind)
        return decoder

    def _why_not(self, peer: Peer, rights: Rights, method: Method) -> str:
        if peer.socket == "status":
            return "the status socket only shows what everybody may see; ask on the control socket"
        if self.access.problems:
            where = self.access.problems[0]
            return f"{where.file}:{where.line} is broken, so only root has a role for now"
        needs, has = ROLE_NAMES[method.role], ROLE_NAMES[rights.role]
        return f"it needs the role {needs}, and uid {peer.uid} has {has}"


def _granted(peer: Peer, rights: Rights) -> RightsReply:
    return RightsReply(
        peer.uid, tuple(Grant(ROLE_NAMES[role], units) for role, units in rights.grants)
    )


def _not_permitted(method: Method, reason: str) -> bytes:
    message = f"cannot {method.words}: {reason}; nothing was done"
    return write_error(f"{INTERFACE}.{NotPermitted.__name__}", NotPermitted(reason, message))

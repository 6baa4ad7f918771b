"""org.varlink.service: what this server is, and the description of its interfaces."""
from __future__ import annotations

import os

import msgspec
from msgspec import Struct

from supervisor.control.methods import INTERFACE
from supervisor.control.wire import Envelope, Malformed, read_parameters, write_error, write_reply
from supervisor.model.request import Nothing

SERVICE = "org.varlink.service"
_MAX_BYTES = 1 << 20


class GetInterfaceDescription(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    interface: str


def answer(call: Envelope, version: str) -> bytes:
    """The reply to a call of this interface, or its error. Raises Malformed for bad parameters."""
    name = call.method.rpartition(".")[2]
    if name == "GetInfo":
        read_parameters(call.parameters, msgspec.json.Decoder(Nothing))
        return write_reply({
            "vendor": "Unboxed",
            "product": "unboxed",
            "version": version,
            "url": "",
            "interfaces": [SERVICE, INTERFACE],
        })
    if name != "GetInterfaceDescription":
        return no_method(call.method)
    decoder = msgspec.json.Decoder(GetInterfaceDescription)
    interface = read_parameters(call.parameters, decoder).interface
    if interface not in {SERVICE, INTERFACE}:
        return write_error(f"{SERVICE}.InterfaceNotFound", {"interface": interface})
    return write_reply({"description": description(interface)})


def no_method(method: str) -> bytes:
    """The error for a method that is not in any table."""
    interface = method.rpartition(".")[0]
    if interface in {SERVICE, INTERFACE}:
        return write_error(f"{SERVICE}.MethodNotFound", {"method": method})
    return write_error(f"{SERVICE}.InterfaceNotFound", {"interface": interface})


def bad_parameter(problem: Malformed) -> bytes:
    return write_error(
        f"{SERVICE}.InvalidParameter", {"parameter": problem.where, "message": problem.reason}
    )


def expected_more() -> bytes:
    return write_error(f"{SERVICE}.ExpectedMore", {})


def description(interface: str) -> str:
    """The text of one of our two interfaces, from the file beside this one."""
    fd = os.open(f"{__file__.rpartition('/')[0]}/{interface}.varlink", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _MAX_BYTES).decode()
    finally:
        os.close(fd)

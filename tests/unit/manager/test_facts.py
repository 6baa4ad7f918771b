"""Asking the keeper while its socket is full."""

from __future__ import annotations

import socket
import threading
from struct import pack, unpack_from

from supervisor.kernel.keeper import Keeper
from supervisor.kernel.wire import MAX_FRAME, TO_KEEPER, TO_MANAGER
from supervisor.manager.facts import fetch

LAUNCHES = 2000


def answer_the_get(sock: socket.socket) -> None:
    """A keeper that reads everything and answers a GET: it has no such descriptor."""
    while True:
        data, at = sock.recv(MAX_FRAME), 0
        while at < len(data):
            length, op, _, tag = unpack_from("<IHHQ", data, at)
            at += length
            if op == TO_KEEPER["GET"]:
                sock.send(pack("<IHHQi", 20, TO_MANAGER["RESULT"], 0, tag, 2))
                return


def test_a_question_behind_many_launches_is_sent_and_answered() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper = Keeper(ours.detach())
    for number in range(LAUNCHES):
        keeper.send("SPAWN", number, bytes(1000))
    assert not keeper.flush()  # the socket is full
    asked: list[int] = []
    asker = threading.Thread(target=lambda: asked.append(fetch(keeper, "control")[0]), daemon=True)
    asker.start()
    answer_the_get(theirs)
    asker.join(20)
    assert asked == [-1]
    theirs.close()
    keeper._socket.close()

"""Stands where the manager or the logger would: hands descriptor 3 to the test, then waits.

relay.py SOCKET ROLE: the test's listening socket, and `manager` or `logger`.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import os
import sys

link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
link.connect(sys.argv[1])
rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, (3).to_bytes(4, sys.byteorder))]
link.sendmsg([f"{sys.argv[2]} {os.getpid()}".encode()], rights)
os.close(3)  # from here on the test's copy is the only one
while True:
    _signal.pause()

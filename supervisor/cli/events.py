"""`unboxed events`: every transition as it happens, until Ctrl-C."""
from __future__ import annotations

from supervisor.cli.call import Call, Failure
from supervisor.cli.causes import transition_line
from supervisor.cli.screen import Screen
from supervisor.cli.server import Server, print_json


def run(call: Call) -> int:
    screen = Screen()
    with Server(call, "follow events") as server:
        for reply in server.stream("Events", {}):
            event = reply.get("event")
            if event is None:
                continue  # the first reply only says that from now on nothing is missed
            if call.flag("json"):
                print_json(event, line=True)
            else:
                print(transition_line(event, screen), flush=True)
    raise Failure(
        "cannot follow events any longer: the supervisor closed the connection;"
        " `unboxed status` tells whether it is being replaced or has ended")

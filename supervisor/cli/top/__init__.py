"""`unboxed top`: units, their figures, logs and processes on a full screen, and keys to act.

Law: it looks and asks, like any client; nothing that the supervisor does depends on it. What takes
time (calls, files) is done in threads, so that a silent supervisor never makes a key wait.

`table` holds what is known of the units, `columns` how it is laid out, `machine` what /proc tells,
`threads` and `pane` ask and tell by `messages`, `widgets` and `dialogs` draw, `app` is all of it.
The library that draws is an extra of the package, and is imported here only.
"""
from __future__ import annotations

import os
import sys

from supervisor.cli.call import BAD_USAGE, FAILED, Call, Failure

INTERVAL_S = 2  # between two looks at the figures


def run(call: Call) -> int:
    interval = call.number("interval")
    if interval == 0:
        raise Failure(
            "cannot look every 0 seconds: that would keep the supervisor busy with nothing else;"
            " --interval takes a number from 1", BAD_USAGE)
    if not (os.isatty(0) and os.isatty(1)) or os.environ.get("TERM", "dumb") == "dumb":
        raise Failure(
            "cannot show a full screen: this is no terminal that could; `unboxed status` shows the"
            " same once, `unboxed events` changes as they happen", BAD_USAGE)
    try:
        from supervisor.cli.top.app import Top
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in {"textual", "rich"}:
            raise
        raise Failure(
            f"cannot show a full screen: {library} is not installed for {sys.executable};"
            " `pip install textual` brings it, and `unboxed status` shows the same once", FAILED,
        ) from None
    if sys.stderr.isatty() is False:  # it draws there
        os.dup2(1, 2)
    top = Top(call, interval or INTERVAL_S)
    top.run(mouse=False)
    return top.return_code or 0

"""A program in the keeper's place: `run` starts it, and it answers as a supervisor would.

FAKE_KEEPER names a folder in which it leaves what it was given (`argv`, `signals`); `mode` in that
folder says how it behaves: "fail" ends at once, "deaf" never stops in order.
"""
from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.unit.cli.fake import FakeSupervisor, instance, transition


def main() -> int:
    notes = Path(os.environ["FAKE_KEEPER"])
    mode = (notes / "mode").read_text() if (notes / "mode").exists() else ""
    if mode == "fail":
        print("cannot use it as runtime directory: it is haunted; nothing was started",
              file=sys.stderr)
        return 1
    done = threading.Event()
    status: list[int] = []

    def end(code: int) -> dict[str, Any]:
        status.append(code)
        done.set()
        return {}

    def signalled(number: int, _frame: object) -> None:
        (notes / "signals").write_text(str(number))
        end(0)

    signal.signal(signal.SIGTERM, signalled)
    (notes / "argv").write_text(json.dumps([os.getpid(), *sys.argv[1:]]))
    runtime = Path(sys.argv[sys.argv.index("--runtime-dir") + 1])
    fake = FakeSupervisor(runtime)
    fake.instances = [
        instance("web"),
        instance("db", "starting", deadline_ns=time.time_ns() + 48 * 10**9),
        instance("bad", "failed", reason="exit 3"),
    ]

    def events(_: object) -> Iterator[dict[str, Any]]:
        yield {"ready": True}
        yield {"event": transition(1, "web", "starting", "up", "ready")}
        yield {"event": transition(1, "web", "starting", "up", "ready")}
        done.wait()

    def shutdown(_: object) -> dict[str, Any]:
        if mode != "deaf":
            threading.Timer(0.1, end, (0,)).start()
        else:
            fake.instances = [instance("db", "stopping", pid=5,
                                       deadline_ns=time.time_ns() + 48 * 10**9)]
        return {}

    fake.answers |= {"Events": events, "Shutdown": shutdown, "ShutdownNow": lambda _: end(0)}
    fake.listen()
    if mode == "crash":
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    while not done.wait(0.1):  # a handler runs only when this thread does
        pass
    time.sleep(0.05)  # let the last answer leave
    return status[0]


if __name__ == "__main__":
    sys.exit(main())

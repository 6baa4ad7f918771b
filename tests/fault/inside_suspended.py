"""Runs in an emulated machine: goes to sleep (to RAM) and says on the console what it finds when it
is awake again. What is a time here does not count the sleep (CLOCK_MONOTONIC)."""
import json
import sys
import time

sys.path.insert(0, "/usr/lib/unboxed/python")
from supervisor.control.client import connect


def rows() -> dict[str, dict[str, object]]:
    with connect("/run/unboxed") as client:
        return {row["key"]: row for row in client.call("Status")["instances"]}


def look() -> dict[str, object]:
    found = rows()
    return {
        "states": {key: row["state"] for key, row in found.items()},
        "pids": {key: row["pid"] for key, row in found.items()},
        "restarts": {key: row["restarts"] for key, row in found.items()},
        "awake_s": time.monotonic(), "all_s": time.clock_gettime(time.CLOCK_BOOTTIME),
    }  # fmt: skip


def say(word: str, value: object) -> None:
    print(f"{word} {json.dumps(value)}", flush=True)


def main() -> None:
    while rows()["backoff"]["state"] != "backoff":
        time.sleep(0.1)
    with connect("/run/unboxed") as client:
        client.call("Start", {"units": ["starting"], "wait": False})
        client.call("Stop", {"units": ["stopping"], "wait": False})
    say("BEFORE", look())
    with open("/sys/power/state", "w") as file:
        file.write("mem")
    say("AFTER", look())
    while True:
        found = rows()
        over = (found["starting"]["state"] == "failed", found["stopping"]["state"] == "stopped",
                found["backoff"]["restarts"])  # fmt: skip
        if all(over):
            break
        time.sleep(0.2)
    say("LATER", look())


if __name__ == "__main__":
    main()

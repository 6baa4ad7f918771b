"""Does what is asked over a serial line: a unit of a machine under test (see booted.py).

A request is one line of JSON, and so is its answer:
    {"sh": SCRIPT}                       {"status": exit status, "text": all that it said}
    {"method": NAME, "parameters": {}}   {"reply": parameters} or {"error": words}
Standard library's C modules only, as there are many starts of it.
"""
from __future__ import annotations

import json
import os
import sys
import termios
from _socket import AF_UNIX, socket

CONTROL = "/run/unboxed/control"


def shell(script: str) -> dict[str, object]:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.execv("/bin/sh", ["/bin/sh", "-c", script])
    os.close(writing)
    text = b""
    while part := os.read(reading, 1 << 16):
        text += part
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"status": status, "text": text.decode(errors="replace")}


def call(method: str, parameters: dict[str, object]) -> dict[str, object]:
    message = {"method": f"io.unboxed.Supervisor.{method}", "parameters": parameters}
    sock = socket(AF_UNIX)
    try:
        sock.settimeout(60)
        sock.connect(CONTROL)
        sock.sendall(json.dumps(message).encode() + b"\0")
        data = b""
        while b"\0" not in data:
            part = sock.recv(1 << 16)
            if not part:
                return {"error": "it hung up"}
            data += part
    except OSError as error:
        return {"error": str(error)}
    finally:
        sock.close()
    reply = json.loads(data[:-1])
    if "error" in reply:
        return {"error": f"{reply['error']}: {reply['parameters'].get('message', '')}"}
    return {"reply": reply["parameters"]}


def raw(line: int) -> None:
    settings = termios.tcgetattr(line)
    settings[0] = settings[1] = settings[3] = 0
    termios.tcsetattr(line, termios.TCSANOW, settings)


def main() -> None:
    line = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
    raw(line)
    os.write(line, b"\n" + b'"ready"' + b"\n")
    data = b""
    while True:
        data += os.read(line, 1 << 12)
        while b"\n" in data:
            text, _, data = data.partition(b"\n")
            asked = json.loads(text)
            if "sh" in asked:
                answer = shell(asked["sh"])
            else:
                answer = call(asked["method"], asked["parameters"])
            left = json.dumps(answer).encode() + b"\n"
            while left:
                left = left[os.write(line, left) :]


if __name__ == "__main__":
    main()

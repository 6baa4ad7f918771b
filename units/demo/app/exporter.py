"""Agent: one OpenMetrics page with the figures of every web instance, the shop, the host and the
supervisor.

Law: it looks only when asked (a scrape), so it costs nothing in between. A source that does not
answer is said to be down, and never keeps the others back.
"""
from __future__ import annotations

import glob
import json
import os
import re
import socket
import sys
from http.client import HTTPConnection, HTTPException

from . import sd, store
from .figures import KIND, Figures
from .serve import Request, Response, Server

PATIENCE_S = 2.0


class _Door(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self._path)


def web(found: Figures) -> None:
    """Each web instance, by the door of its own that it keeps in the data directory."""
    for path in sorted(glob.glob(os.path.join(store.data_dir(), "web-*.sock"))):
        instance = path.rpartition("web-")[2].removesuffix(".sock")
        door = _Door(path)
        try:
            door.request("GET", "/metrics")
            text, up = door.getresponse().read().decode(), 1
        except (OSError, HTTPException, ValueError):
            text, up = "", 0
        finally:
            door.close()
        found.add("shop_up", "gauge", "Whether the instance answers.", up, instance=instance)
        found.merge(text)


def shop(found: Figures) -> None:
    counts = store.figures()
    found.add("shop_orders", "counter", "Orders placed.", counts["orders"])
    found.add("shop_turnover_cents", "counter", "Their sum.", counts["cents"])
    found.add("shop_mails_waiting", "gauge", "Confirmations not mailed yet.",
              counts["mails_waiting"])
    found.add("shop_stock", "gauge", "Pieces in stock.", counts["stock"])


def host(found: Figures) -> None:
    with open("/proc/loadavg", encoding="ascii") as file:
        found.add("host_load1", "gauge", "Load of the last minute.", float(file.read().split()[0]))
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = dict(re.findall(r"^(\w+): +(\d+) kB", file.read(), re.MULTILINE))
    for name in ("MemTotal", "MemAvailable"):
        found.add("host_memory_bytes", "gauge", "Memory of the host.", int(memory[name]) * 1024,
                  kind=name.removeprefix("Mem").lower())
    with open("/proc/stat", encoding="ascii") as file:
        ticks = file.readline().split()[1:9]
    kinds = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    for kind, count in zip(kinds, ticks, strict=True):
        found.add("host_cpu_seconds", "counter", "Time of all CPUs.",
                  int(count) / os.sysconf("SC_CLK_TCK"), kind=kind)


def supervisor(found: Figures) -> None:
    """State and restarts of every unit, over the supervisor's status socket (Varlink)."""
    path = os.environ["UNBOXED_STATUS"]
    reply = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(PATIENCE_S)
        asking.connect(path)
        asking.sendall(json.dumps({"method": "io.unboxed.Supervisor.Status"}).encode() + b"\0")
        while not reply.endswith(b"\0"):
            part = asking.recv(65536)
            if not part:
                raise ConnectionError("it hung up")
            reply += part
    for one in json.loads(reply[:-1])["parameters"]["instances"]:
        labels = {"unit": one["unit"], "key": one["key"]}
        found.add("unit_up", "gauge", "Whether it runs and is ready.",
                  int(one["state"] == "running"), **labels)
        found.add("unit_restarts", "counter", "Restarts.", one["restarts"], **labels)
        if one.get("memory_bytes") is not None:
            found.add("unit_memory_bytes", "gauge", "Memory.", one["memory_bytes"], **labels)


SOURCES = {"web": web, "shop": shop, "host": host, "supervisor": supervisor}


def collect() -> str:
    found = Figures()
    for name, source in SOURCES.items():
        try:
            source(found)
            up = 1
        except Exception as error:  # noqa: BLE001 - whatever ails one source is said, not fatal
            print(f"cannot ask {name}: {error!r}; its figures are missing", flush=True)
            up = 0
        found.add("exporter_source_up", "gauge", "Whether the source answered.", up, source=name)
    return found.render()


def handle(request: Request) -> Response:
    if request.path == "/metrics":
        return Response(200, collect(), KIND)
    return Response(404, "The figures are at /metrics.\n", "text/plain; charset=utf-8")


def main() -> int:
    server = Server(handle)
    for listener in sd.listeners() or [socket.create_server(("127.0.0.1", 9464))]:
        listener.setblocking(False)
        server.listen(listener)
    server.serve(
        started=lambda: sd.notify("READY=1", "STATUS=waiting to be asked"),
        stopping=lambda: sd.notify("STOPPING=1"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

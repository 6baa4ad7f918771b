"""Small servers on common runtimes, each under its preset at level app."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.scenario.sandbox import real
from tests.stack import Stack

BODY = b"hello from a sandbox"
PYTHON = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

kept = os.path.join(os.environ["STATE_DIRECTORY"], "body")
with open(kept, "wb") as file:
    file.write(b"hello from a sandbox")

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one packet
    def do_GET(self):
        with open(kept, "rb") as file:
            body = file.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
NODE = """
const fs = require("fs"), http = require("http"), path = require("path");
const kept = path.join(process.env.STATE_DIRECTORY, "body");
if (!Object.keys(require("os").networkInterfaces()).length) throw Error("no interfaces");
fs.writeFileSync(kept, "hello from a sandbox");
const serve = (_, answer) => fs.readFile(kept, (wrong, body) => answer.end(wrong ? "" : body));
http.createServer(serve).listen(process.env.PORT, "127.0.0.1");
"""
JAVA = """
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Executors;

public class Hello {
    public static void main(String[] words) throws Exception {
        Path kept = Path.of(System.getenv("STATE_DIRECTORY"), "body");
        Files.writeString(kept, "hello from a sandbox");
        var port = Integer.parseInt(System.getenv("PORT"));
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            byte[] body = Files.readAllBytes(kept);
            exchange.sendResponseHeaders(200, body.length);
            try (var out = exchange.getResponseBody()) { out.write(body); }
        });
        server.start();
    }
}
"""
# preset: the program, its file, how it ends when it is told to
RUNTIMES = {
    "python": ("python3", "hello.py", PYTHON, "killed by SIGTERM"),
    "node": ("node", "hello.js", NODE, "killed by SIGTERM"),
    "java": ("java", "Hello.java", JAVA, "exit 143"),
}
pytestmark = real.needs_root
place = pytest.fixture(real.place)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_it_serves_from_its_state_restarts_and_stops(
    runtime: str, tmp_path: Path, place: Path
) -> None:
    name, file, text, end = RUNTIMES[runtime]
    command = [real.program(name), str(place / file)]
    (place / file).write_text(text)
    if runtime == "java":
        subprocess.run([real.program("javac"), str(place / file)], check=True)
        command[1:] = ["-Dsun.net.httpserver.nodelay=true", "-cp", str(place), "Hello"]
    subprocess.run(["chmod", "-R", "go+rX", str(place)], check=True)
    unit, port = f"{real.PREFIX}{runtime}", real.free_port()
    real.preset(tmp_path, unit, runtime, '[sandbox]\nstate = ["{unit}"]\n')
    with Stack(tmp_path, {unit: f'command = {command}\n[env]\nPORT = "{port}"\n'}) as stack:
        first = stack.wait(unit, "running")["pid"]
        stack.until(lambda: real.accepts(port), "the port")
        real.confined(first)
        real.http_load(port, "/", BODY)
        stack.call("Restart", units=[unit], wait=True)
        assert stack.row(unit)["pid"] != first
        stack.until(lambda: real.accepts(port), "the port")
        real.http_load(port, "/", BODY)
        stack.call("Stop", units=[unit], wait=True)
        row = stack.row(unit)
        assert (row["state"], row["last_exit"]) == ("stopped", end), row
    assert Path(f"/var/lib/private/{unit}/body").read_bytes() == BODY

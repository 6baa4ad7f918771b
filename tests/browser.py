"""A real headless Chromium for tests, driven over a pipe (the DevTools protocol, NUL-separated).

    with Browser(tmp_path) as browser:
        page = browser.page("http://127.0.0.1:1/")
        page.until("document.title === 'unboxed'")

Nothing but the browser is needed: no driver, no library. Whatever a page logs as an error, and
whatever it asks of any host, is kept (`problems`, `requests`).
"""
from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Self

PATIENCE = 20.0  # seconds; only a failing test waits so long
PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-extensions", "--disable-dev-shm-usage",
    "--no-proxy-server", "--password-store=basic", "--remote-debugging-pipe",
    # Whatever is not this host is not there: a test of a page must not depend on a network.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
# Keys that are no characters, and their numbers.
_KEYS = {
    "Backspace": 8, "Tab": 9, "Enter": 13, "Escape": 27, "PageUp": 33, "PageDown": 34, "End": 35,
    "Home": 36, "ArrowUp": 38, "ArrowDown": 40,
}  # fmt: skip


_UNTIL = """
new Promise((done) => {
  const end = performance.now() + PATIENCE;
  const look = () => {
    let value = null;
    try { value = (SCRIPT); } catch (error) { value = null; }
    if (value || performance.now() > end) done(value instanceof Node || value);
    else setTimeout(look, 15);
  };
  look();
})
"""


class Browser:
    def __init__(self, home: Path) -> None:
        self._home = home / "chromium"
        self._inbox = b""
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Self:
        theirs, self._out = _pipe(reads=True)
        their_out, self._in = _pipe(reads=False)
        # The browser wants them as 3 and 4, which may be in use here: a shell moves them.
        moved = f'exec "$@" 3<&{theirs} 4>&{their_out} {theirs}<&- {their_out}>&-'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", moved, "sh", PROGRAM, *_FLAGS, f"--user-data-dir={self._home}",
             "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(theirs, their_out), start_new_session=True,
            env={**os.environ, "HOME": str(self._home.parent), "DBUS_SESSION_BUS_ADDRESS": ""},
        )  # fmt: skip
        os.close(theirs)
        os.close(their_out)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.send("Browser.close")
            self._process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)  # its helpers are of its session
            except ProcessLookupError:
                pass
            os.close(self._in)
            os.close(self._out)
            shutil.rmtree(self._home, ignore_errors=True)

    def send(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """The answer's result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        self.wait(lambda: number in self._answers, f"an answer to {method}")
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    def wait(self, test: Any, what: str, timeout: float = PATIENCE) -> None:
        """Take what the browser sends until `test` holds."""
        deadline = time.monotonic() + timeout
        while not test():
            left = deadline - time.monotonic()
            assert left > 0, f"waited {timeout} s in vain for {what}"
            if not select.select([self._in], [], [], left)[0]:
                continue
            data = os.read(self._in, 1 << 20)
            assert data, "the browser ended"
            self._inbox += data
            *whole, self._inbox = self._inbox.split(b"\0")
            for one in whole:
                self._take(json.loads(one))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
        elif message.get("sessionId") in self._pages:
            self._pages[message["sessionId"]].happened(message["method"], message["params"])

    def page(self, url: str, *, width: int = 1280, height: int = 800, dark: bool = False) -> Page:
        """A page of its own, whose cookies are those of the browser."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, target)
        page.prepare(width, height, dark=dark)
        if url:
            page.open(url)
        return page


def _pipe(*, reads: bool) -> tuple[int, int]:
    """(the end of a process that reads, or writes; ours). Theirs is no small number."""
    read, write = os.pipe()
    low, ours = (read, write) if reads else (write, read)
    theirs = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 50)
    os.close(low)
    return theirs, ours


class Page:
    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._loads = 0

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.send(method, self._session, **parameters)

    def happened(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "assert"}:
            self.problems.append(json.dumps(params["args"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loads += 1

    def prepare(self, width: int, height: int, *, dark: bool) -> None:
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.size(width, height)
        self.dark(dark)

    def size(self, width: int, height: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)

    def dark(self, dark: bool) -> None:
        self.send("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ])

    def open(self, url: str) -> None:
        loads = self._loads
        self.send("Page.navigate", url=url)
        self._browser.wait(lambda: self._loads > loads, f"{url} to load")

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True,
                           returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str, timeout: float = PATIENCE / 2) -> Any:
        """Its value as soon as it is true: the page itself looks, every few ms."""
        found = self.run(_UNTIL.replace("SCRIPT", script).replace("PATIENCE", str(timeout * 1000)))
        assert found, f"waited in vain for {script}; {self.problems}\n{self.text()[:3000]}"
        return found

    def text(self) -> str:
        return str(self.run("document.body.innerText"))

    def press(self, *keys: str, shift: bool = False) -> None:
        for key in keys:
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            common = {"key": key, "code": key, "modifiers": 8 if shift else 0,
                      "windowsVirtualKeyCode": _KEYS.get(key) or ord(key.upper())}
            down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
            self.send("Input.dispatchKeyEvent", **down, **common)
            self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        self.press(*text)

    def picture(self, path: Path) -> Path:
        data = self.send("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def close(self) -> None:
        self._browser.send("Target.closeTarget", targetId=self._target)

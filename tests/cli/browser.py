"""A headless Chromium driven over its DevTools pipe: just enough to look at one page, without a driver library."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell", "chrome")
FLAGS = (
    "--headless=shell", "--no-sandbox", "--no-zygote", "--no-first-run", "--hide-scrollbars", "--mute-audio",
    "--remote-debugging-pipe", "--disable-background-networking", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)  # fmt: skip
LAUNCH = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads commands from descriptor 3 and answers on 4; only the child can move them there."""


def find() -> str | None:
    """The program of XPET_TEST_BROWSER, else the first known one of PATH."""
    return os.environ.get("XPET_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a headless Chromium; `events` holds every event received, in order."""

    def __init__(self, program: str, folder: Path, timeout: float = 30.0) -> None:
        import fcntl  # no Windows

        self.timeout, self.events, self._count, self._rest = timeout, [], 0, b""
        (child_in, self._write), (self._read, child_out) = os.pipe(), os.pipe()
        # High numbers, so that moving the one does not overwrite the other.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (child_in, child_out)]
        os.close(child_in)
        os.close(child_out)
        self._log = (folder / "browser.log").open("wb")
        command = [sys.executable, "-c", LAUNCH, *map(str, high), program, *FLAGS, f"--user-data-dir={folder}/profile"]
        self._process = subprocess.Popen(command, pass_fds=high, stdout=self._log, stderr=self._log)
        for fd in high:
            os.close(fd)
        target = self.call("Target.createTarget", url="about:blank", session=False)["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True, session=False)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, session: bool = True, **params: Any) -> Any:
        """The result of a DevTools command."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def wait(self, event: str) -> Any:
        """The parameters of the next `event`."""
        while True:
            answer = self._next()
            if answer.get("method") == event:
                return answer["params"]

    def open(self, url: str) -> None:
        """Load a page and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        if not self.saw("Page.loadEventFired"):
            self.wait("Page.loadEventFired")

    def saw(self, event: str) -> list[Any]:
        """The parameters of every `event` since the page was opened."""
        return [e["params"] for e in self.events if e["method"] == event]

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        """Give the page a window of so many CSS pixels."""
        size: dict[str, Any] = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def colours(self, scheme: str) -> None:
        """Prefer `dark` or `light`."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def press(self, key: str, text: str = "") -> None:
        """Press and release a key."""
        code = {"Enter": 13, " ": 32, "Tab": 9}[key]
        keys: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
        self.call("Input.dispatchKeyEvent", type="keyDown", **keys)
        self.call("Input.dispatchKeyEvent", type="keyUp", **keys)

    def picture(self, path: Path, whole: bool = True) -> None:
        """Write what is seen, or the whole page, as PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        """End the browser and everything it started."""
        self._process.kill()
        self._process.wait()
        self._log.close()
        os.close(self._write)
        os.close(self._read)

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + self.timeout
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"the browser did not answer within {self.timeout} s"
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has gone"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        if "method" in answer:
            self.events.append(answer)
        return answer

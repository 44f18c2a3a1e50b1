"""A headless Chromium, driven over a pipe: no port, no driver, no network."""

import contextlib
import json
import os
import select
import shutil
import signal
import tempfile
from fcntl import F_DUPFD_CLOEXEC, fcntl
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--remote-debugging-pipe --disable-dev-shm-usage"
).split()
TIMEOUT = 60.0  # seconds for one reply
MAX_HEIGHT = 16_000  # pixels Chromium can paint at once
READY = """new Promise(done => {
  const charts = [...document.querySelectorAll('pre.mermaid')];
  const left = () => charts.some(c => !c.dataset.state && c.checkVisibility());
  const until = Date.now() + 20000;
  const look = () => left() && Date.now() < until
    ? setTimeout(look, 50) : requestAnimationFrame(() => done(!left()));
  look();
})"""


class BrowserError(Exception):
    """Chromium is missing or did not answer; one sentence."""


def program() -> str | None:
    """Return the path of an installed Chromium, None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page in one Chromium, which ends with the `with` block."""

    def __init__(self) -> None:
        path = program()
        if path is None:
            raise BrowserError(
                "Chromium is not installed; on Debian: `apt-get install chromium`."
            )
        self._program, self._calls, self.requests = path, 0, list[str]()

    def __enter__(self) -> Self:
        """Start Chromium in a folder of its own, with one empty page."""
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = self._start()
        try:
            self._attach()
        except BaseException:
            self.close()
            raise
        return self

    def _attach(self) -> None:
        target = self._call("Target.createTarget", {"url": "about:blank"})
        session = {"targetId": target["targetId"], "flatten": True}
        self._session = str(self._call("Target.attachToTarget", session)["sessionId"])
        self.call("Network.enable")
        self.call("Page.enable")

    def _start(self) -> int:
        """Start Chromium with the ends of two pipes as file descriptors 3 and 4."""
        ends = [*os.pipe(), *os.pipe()]
        child_in, to_child, from_child, child_out = (
            fcntl(end, F_DUPFD_CLOEXEC, 10) for end in ends
        )
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [self._program, *FLAGS, *root, f"--user-data-dir={self._home.name}"]
        null = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in (0, 1, 2)]
        pipes = [
            (os.POSIX_SPAWN_DUP2, child_in, 3),
            (os.POSIX_SPAWN_DUP2, child_out, 4),
        ]
        actions = [*null, *pipes]
        process = os.posix_spawn(
            self._program, command, os.environ, file_actions=actions, setpgroup=0
        )
        for end in (*ends, child_in, child_out):
            os.close(end)
        self._to = os.fdopen(to_child, "wb", 0)
        self._from = os.fdopen(from_child, "rb", 0)
        self._unread = b""
        return process

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End Chromium."""
        self.close()

    def close(self) -> None:
        """End Chromium and all its children; remove its folder."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        self._to.close()
        self._from.close()
        self._home.cleanup()

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the DevTools protocol on the page; return its result."""
        return self._call(method, parameters, self._session)

    def _call(
        self, method: str, parameters: dict[str, Any], session: str | None = None
    ) -> dict[str, Any]:
        self._calls += 1
        request = {"id": self._calls, "method": method, "params": parameters}
        request |= {"sessionId": session} if session else {}
        self._to.write(json.dumps(request).encode() + b"\0")
        while (message := self._receive()).get("id") != self._calls:
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
        if "error" in message:
            raise BrowserError(f"{method}: {message['error'].get('message')}")
        return dict(message["result"])

    def _receive(self) -> dict[str, Any]:
        """Return the next message; BrowserError when none comes."""
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], TIMEOUT)
            received = self._from.read(1 << 20) if ready else b""
            if not received:
                raise BrowserError("Chromium ended or did not answer; try again.")
            self._unread += received
        message, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(message))

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression, awaited."""
        reply = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in reply:
            raise BrowserError(f"script failed: {reply['exceptionDetails']['text']}")
        return reply["result"].get("value")

    def open(
        self, page: Path, width: int, height: int = 900, dark: bool = False
    ) -> None:
        """Show a file at a width in CSS pixels; return when its charts are drawn."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.resize(width, height)
        self.call("Page.navigate", url=page.resolve().as_uri())
        loaded = (
            "new Promise(f => document.readyState == 'complete' ? f() : onload = f)"
        )
        while self.evaluate("location.href") == "about:blank":
            pass
        self.evaluate(loaded)

    def resize(self, width: int, height: int) -> None:
        """Set the window's size in CSS pixels; narrow ones count as a phone's."""
        sharp = 2 * height <= MAX_HEIGHT
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if sharp else 1,
            mobile=width < 600,
        )

    def drawn(self) -> bool:
        """Wait until every chart in view is drawn; False if some could not be."""
        return bool(self.evaluate(READY))

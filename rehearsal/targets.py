"""The machines that the model runs on: one pull agent per environment."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Target:
    """A host that follows one environment of the ledger."""

    environment: str
    home: Path
    port: int
    agent: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where the target answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, command: list[str], env: dict[str, str]) -> None:
        """Start the agent as a process group of its own."""
        self.home.mkdir(parents=True, exist_ok=True)
        log = (self.home / "agent.log").open("ab")
        options = ["--environment", self.environment, "--home", str(self.home)]
        self.agent = subprocess.Popen(
            [*command, *options, "--port", str(self.port), "--log", str(self.log)],
            env={**os.environ, **env},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def log(self) -> Path:
        """The folder of the prediction log."""
        return self.home / "predictions"

    def info(self) -> dict[str, Any]:
        """Return what the server says of itself; empty when nothing answers yet."""
        try:
            with urllib.request.urlopen(  # noqa: S310  only our own loopback address
                f"{self.url}/info", timeout=30
            ) as response:
                return dict(json.load(response))
        except (OSError, urllib.error.URLError, ValueError):
            return {}

    def example(self) -> list[dict[str, Any]]:
        """Return the rows of the example in the server's own description."""
        with urllib.request.urlopen(  # noqa: S310  only our own loopback address
            f"{self.url}/openapi.json", timeout=60
        ) as response:
            described = json.load(response)["paths"]["/predict"]["post"]
        content = described["requestBody"]["content"]["application/json"]
        return list(content["examples"]["golden"]["value"]["rows"])

    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the server's predictions for rows."""
        body = json.dumps({"rows": rows}).encode()
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310  only our own loopback address
            f"{self.url}/predict", body, head
        )
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return list(json.load(response)["predictions"])

    def wait_for(self, manifest_sha256: str, seconds: float = 120.0) -> bool:
        """Wait until the server says that it runs that version."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.info().get("manifest_sha256") == manifest_sha256:
                return True
            time.sleep(0.2)
        return False

    def wait_for_canary(
        self, manifest_sha256: str | None, seconds: float = 120.0
    ) -> bool:
        """Wait until that version is the server's canary; None: until it has none."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            canary = self.info().get("canary") or {}
            if canary.get("manifest_sha256") == manifest_sha256:
                return manifest_sha256 is None or bool(canary["answers"])
            time.sleep(0.2)
        return False

    def stop(self) -> None:
        """End the agent and everything it started."""
        if self.agent is None or self.agent.poll() is not None:
            return
        self.agent.send_signal(signal.SIGTERM)
        try:
            self.agent.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.agent.pid, signal.SIGKILL)
            self.agent.wait()

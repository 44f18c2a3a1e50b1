"""The people of the rehearsal: they type git, gh and make, as users do."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What this process was started with, and a person's own shell would not hold.
REMOVED = (
    *("VIRTUAL_ENV", "GITHUB_ACTIONS"),
    *("ARGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"),
)


class CommandError(Exception):
    """A command failed: the message has its last lines and the path of its log."""


@dataclass
class Person:
    """Somebody with an account on the forge and a clone of the repository."""

    name: str
    repo: str  # owner/name
    clone: Path
    env: Mapping[str, str]
    log: Path

    def run(self, *command: str, data: bytes | None = None) -> str:
        """Type a command in the clone and return what it printed.

        Raises:
            CommandError: it exited with an error.
        """
        process = self.attempt(*command, data=data)
        if process.returncode:
            output = (process.stderr or process.stdout).decode(errors="replace").strip()
            last = "\n".join(output.splitlines()[-12:])
            typed = " ".join(command)
            raise CommandError(
                f"{self.name} typed `{typed}`: exit {process.returncode}\n{last}\n"
                f"whole log: {self.log}"
            )
        return process.stdout.decode(errors="replace").strip()

    def attempt(
        self, *command: str, data: bytes | None = None, log_output: bool = True
    ) -> "subprocess.CompletedProcess[bytes]":
        """Type a command that may fail, and keep what it printed in the log."""
        env = {**os.environ, **self.env}
        for name in REMOVED:
            env.pop(name, None)
        process = _run(command, self.clone, env, data)
        with self.log.open("ab") as log:
            log.write(f"\n{self.name} $ {' '.join(command)}\n".encode())
            log.write((process.stdout if log_output else b"") + process.stderr)
            log.write(f"[exit {process.returncode}]\n".encode())
        return process

    def git(self, *args: str) -> str:
        """Type a git command under one's own name."""
        identity = (f"user.name={self.name}", f"user.email={self.name}@example.com")
        return self.run("git", "-c", identity[0], "-c", identity[1], *args)

    def make(self, *args: str) -> str:
        """Type a make command."""
        return self.run("make", "--no-print-directory", *args)

    def api(
        self, path: str, method: str = "GET", fields: dict[str, Any] | None = None
    ) -> Any:
        """Call the forge's REST API through the real gh."""
        command = ["gh", "api", f"repos/{self.repo}/{path}", "--method", method]
        if fields is None:
            return json.loads(self.run(*command) or "null")
        body = json.dumps(fields).encode()
        return json.loads(self.run(*command, "--input", "-", data=body) or "null")

    def download(self, path: str) -> bytes:
        """Return the bytes behind an address of the API."""
        url, accept = f"repos/{self.repo}/{path}", "Accept: application/octet-stream"
        process = self.attempt("gh", "api", url, "-H", accept, log_output=False)
        if process.returncode:
            raise CommandError(f"{path} cannot be fetched: {process.stderr.decode()}")
        return process.stdout

    def refused(
        self, path: str, method: str, fields: dict[str, Any]
    ) -> tuple[int, str]:
        """Call the API where it has to refuse; return its status and message.

        Raises:
            CommandError: the call succeeded.
        """
        command = ("gh", "api", f"repos/{self.repo}/{path}", "--method", method)
        process = self.attempt(
            *command, "--input", "-", data=json.dumps(fields).encode()
        )
        message = process.stderr.decode(errors="replace").strip()
        if process.returncode == 0 or "HTTP " not in message:
            raise CommandError(
                f"{method} {path} was not refused: {message or 'exit 0'}"
            )
        return int(message.split("HTTP ")[1][:3]), message


def _run(
    command: tuple[str, ...], cwd: Path, env: dict[str, str], data: bytes | None
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command; when the play is interrupted, end it with all its children."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(data)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)

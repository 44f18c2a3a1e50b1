"""The people of the play: they type git, gh and make, as anyone would."""

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
LEFT_OUT = (
    *("VIRTUAL_ENV", "GITHUB_ACTIONS"),
    *("ARGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"),
)


class CommandError(Exception):
    """A command failed: what was typed, its last words, and where its log is."""


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
        done = self.attempt(*command, data=data)
        if done.returncode:
            words = (done.stderr or done.stdout).decode(errors="replace").strip()
            last = "\n".join(words.splitlines()[-12:])
            typed = " ".join(command)
            raise CommandError(
                f"{self.name} typed `{typed}`: exit {done.returncode}\n{last}\n"
                f"whole log: {self.log}"
            )
        return done.stdout.decode(errors="replace").strip()

    def attempt(
        self, *command: str, data: bytes | None = None, kept: bool = True
    ) -> "subprocess.CompletedProcess[bytes]":
        """Type a command that may fail, and keep what it printed in the log."""
        env = {**os.environ, **self.env}
        for name in LEFT_OUT:
            env.pop(name, None)
        done = _run(command, self.clone, env, data)
        with self.log.open("ab") as log:
            log.write(f"\n{self.name} $ {' '.join(command)}\n".encode())
            log.write((done.stdout if kept else b"") + done.stderr)
            log.write(f"[exit {done.returncode}]\n".encode())
        return done

    def git(self, *args: str) -> str:
        """Type a git command under one's own name."""
        who = (f"user.name={self.name}", f"user.email={self.name}@example.com")
        return self.run("git", "-c", who[0], "-c", who[1], *args)

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
        where, kind = f"repos/{self.repo}/{path}", "Accept: application/octet-stream"
        done = self.attempt("gh", "api", where, "-H", kind, kept=False)
        if done.returncode:
            raise CommandError(f"{path} cannot be fetched: {done.stderr.decode()}")
        return done.stdout

    def refused(
        self, path: str, method: str, fields: dict[str, Any]
    ) -> tuple[int, str]:
        """Call the API where it should say no; return its status and words.

        Raises:
            CommandError: it said yes.
        """
        command = ("gh", "api", f"repos/{self.repo}/{path}", "--method", method)
        done = self.attempt(*command, "--input", "-", data=json.dumps(fields).encode())
        words = done.stderr.decode(errors="replace").strip()
        if done.returncode == 0 or "HTTP " not in words:
            raise CommandError(f"{method} {path} was not refused: {words or 'exit 0'}")
        return int(words.split("HTTP ")[1][:3]), words


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

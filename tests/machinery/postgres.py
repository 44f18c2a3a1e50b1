"""A real PostgreSQL on loopback, with a cluster of its own in a folder.

It is the system's package (`apt-get install postgresql`), started as a user without
rights, as its programs refuse to run as root. No service has to run.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rehearsal import ports

PROGRAMS = Path("/usr/lib/postgresql")
USER = "postgres"
FAST = ("fsync=off", "full_page_writes=off", "shared_buffers=16MB")
FAST += ("max_connections=12", "autovacuum=off", "log_min_messages=fatal")


class Server(NamedTuple):
    """A server that answers, and the superuser's password."""

    port: int
    socket: Path
    password: str

    def address(self, name: str = "shop", user: str = "reader") -> str:
        """Return the address of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{name}"

    def run(self, sql: str, name: str = "shop") -> str:
        """Run SQL as the superuser; return what psql prints."""
        command = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h")
        where = ("127.0.0.1", "-p", str(self.port), "-U", USER, "-d", name)
        env = {"PATH": os.environ["PATH"], "PGPASSWORD": self.password}
        done = subprocess.run(
            (*command, *where), input=sql, env=env, text=True, capture_output=True
        )
        assert not done.returncode, done.stderr
        return done.stdout.strip()


def programs() -> Path | None:
    """Return the folder of the newest PostgreSQL here."""
    found = [path.parent for path in PROGRAMS.glob("*/bin/initdb")]
    return max(found, key=lambda path: float(path.parent.name), default=None)


def missing() -> str:
    """Return why no server can be started here; "" if one can."""
    if programs() is None or not shutil.which("psql"):
        return "there is no PostgreSQL: apt-get install postgresql"
    if os.getuid() == 0 and USER not in {entry.pw_name for entry in pwd.getpwall()}:
        return f"PostgreSQL refuses to run as root, and there is no user {USER}"
    return ""


@contextmanager
def server() -> Iterator[Server]:
    """Yield a server with an empty database `shop`, and a user `reader` of it."""
    bins, password = programs(), "open#sesame:@/"
    assert bins
    as_user = {"user": USER, "group": USER} if os.getuid() == 0 else {}
    as_user |= {"extra_groups": []} if as_user else {}
    with TemporaryDirectory(prefix="postgres-") as name:
        home = Path(name)
        secret = home / "password"
        secret.write_text(password)
        if as_user:
            for path in (home, secret):
                shutil.chown(path, USER, USER)
        made = (bins / "initdb", "-D", home / "data", "-U", USER, "-A", "scram-sha-256")
        options = (f"--pwfile={secret}", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run((*made, *options), check=True, cwd=home, **quiet, **as_user)
        port = ports.free()
        settings = [*FAST, f"port={port}", f"unix_socket_directories={home}"]
        settings += ["listen_addresses=127.0.0.1"]
        command = [bins / "postgres", "-D", home / "data"]
        for setting in settings:
            command += ["-c", setting]
        process = subprocess.Popen(command, cwd=home, **quiet, **as_user)
        try:
            running = Server(port, home, password)
            _wait(running)
            running.run("create database shop", "postgres")
            running.run(
                f"create role reader login password '{password}'; "
                "create role writer login superuser password 'w'"
            )
            yield running
        finally:
            process.send_signal(signal.SIGINT)  # does not wait for those who ask
            process.wait(30)


def _wait(running: Server) -> None:
    """Wait until the server answers."""
    for _ in range(1_000):
        try:
            running.run("select 1", "postgres")
            return
        except AssertionError:
            time.sleep(0.05)
    raise AssertionError("PostgreSQL does not answer")

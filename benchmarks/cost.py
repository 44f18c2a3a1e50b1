"""What a command costs, and a folder to run it in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TEMPLATE = Path(__file__).parent.parent / "{{cookiecutter.project_slug}}"
GIT = ("git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost")
PYTHON = sys.executable
COLUMNS = {  # by their kind, in DuckDB's SQL; i is the row's number
    "number": "round(sqrt(-2 * ln(1 - random())) * cos(6.283185 * random()) * 9, 15)",
    "price": "round(random() * 100, 2)",
    "count": "cast(floor(random() * 1000) as int)",
    "area": "['north', 'south', 'east', 'west'][1 + cast(floor(random() * 4) as int)]",
    "member": "random() < 0.3",
    "gap": "case when random() < 0.1 then null else round(random() * 100, 2) end",
}


class Page:
    """Prints lines, and keeps them in a file of this folder."""

    def __init__(self, name: str, title: str, command: str) -> None:
        self.path = Path(__file__).with_name(name)
        self.lines = [f"# {title}", "", f"Written by `{command}`.", "", "```text"]

    def say(self, line: str) -> None:
        """Print a line and keep it."""
        print(line, flush=True)
        self.lines.append(line)

    def write(self) -> None:
        """Write what was said."""
        self.path.write_text("\n".join([*self.lines, "```", ""]), encoding="utf-8")


@dataclass(frozen=True)
class Cost:
    """Of one command and all that it started."""

    cpu: float  # seconds, of user and system
    wall: float  # seconds
    peak: float  # MB, of its largest process


def run(command: Sequence[str], folder: Path) -> Cost:
    """Run a command; return what it costs.

    Raises:
        SystemExit: it failed; with what it printed last.
    """
    said = folder.parent / "said.txt"
    path = f"{Path(PYTHON).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONWARNINGS": "ignore"}
    start = time.perf_counter()
    with said.open("w") as out:
        child = subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, env=environment
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if child.returncode:
        last = said.read_text()[-2000:]
        raise SystemExit(f"{' '.join(command)} failed:\n{last}")
    return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1000)


def csv(path: Path, rows: int, kinds: Sequence[str]) -> None:
    """Write a table: an id, a time, a column of each kind, and a target."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("select setseed(0.5)")
    columns = ["printf('c%09d', i) as customer_id"]
    seconds = 3 * 365 * 86_400 / rows
    columns.append(f"timestamp '2022-01-01' + to_seconds(i * {seconds}) as placed")
    columns += [f"{COLUMNS[kind]} as {kind}_{n}" for n, kind in enumerate(kinds)]
    inner = f"select {', '.join(columns)} from range({rows}) as t(i)"  # noqa: S608
    signal = f"{kinds[0]}_0 / 9 + random() * 3 > 2"
    sql = f"select *, case when {signal} then 'yes' else 'no' end as churned"
    connection.execute(f"copy ({sql} from ({inner})) to '{path}' (header)")


def project(folder: Path) -> Path:
    """Lay out a repository as `make setup` leaves it, and return its folder."""
    shutil.copytree(TEMPLATE, folder)
    config = "[core]\n    analytics = false\n    check_update = false\n"
    (folder / ".dvc" / "config").write_text(config)
    shutil.rmtree(folder / "example")
    for command in (
        ("git", "init", "--quiet", "--initial-branch=main"),
        ("git", "add", "--all"),
        (*GIT, "commit", "--quiet", "--message=First"),
    ):
        subprocess.run(command, cwd=folder, check=True)
    return folder

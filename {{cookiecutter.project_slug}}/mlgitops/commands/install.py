"""Installs locked requirements into an environment; standard library only.

    python -m mlgitops install GROUP...
    python -m mlgitops install --list GROUP...    only prints the files

A runner that keeps its tool cache reuses the environment, and installs nothing while
the locks are the same; runners of one machine may share it. Other locks get another
environment, as a job may still use the one before, and those that no job used for weeks
are removed. Proposed code never shares an environment with main's.
"""

import configparser
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MACHINERY = Path(os.path.relpath(Path(__file__).parent.parent))
CODE = re.compile(r"""((?:"[^"]*"|'[^']*'|[^#]|(?<=\S)#)*).*""")  # and its comment
COMPUTE = re.compile(r"[{ ]*[\"']?compute[\"']?\s*:")
DASK = re.compile(r"\bbackend[\"']?\s*:\s*[\"']?dask\b")
UNUSED = 14 * 24 * 3600.0  # seconds after which an environment is removed
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def main() -> None:
    """Install the groups, and what storage and cluster need; put it on PATH."""
    groups = [argument for argument in sys.argv[1:] if argument != "--list"]
    if not groups:
        raise SystemExit("Type: python -m mlgitops install GROUP..., such as ops")
    files = [*map(lock, groups), *storage(), *cluster()]
    files += database() if "data" in groups else []
    if "--list" in sys.argv:
        print(*(shlex.quote(str(file)) for file in files))
        return
    proposed = os.environ.get("GITHUB_EVENT_NAME") == "pull_request"
    locks = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    parts = ["venv", "proposed" if proposed else "main", *groups, locks[:16]]
    cache = Path(os.environ["RUNNER_TOOL_CACHE"]).resolve()
    home = cache / "-".join(parts)
    with alone(cache / "venv.lock"):
        done = home / "installed"  # an install that is cut off does not count
        if not done.is_file():
            install(home, files)
        done.touch()  # used
        remove_unused(cache)
    with open(os.environ["GITHUB_PATH"], "a", encoding="utf-8") as path:
        path.write(f"{home / 'bin'}\n")


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Wait for other runners that install into the same tool cache."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def remove_unused(cache: Path) -> None:
    """Remove the environments that no job used for weeks."""
    for done in cache.glob("venv-*/installed"):
        if time.time() - done.stat().st_mtime > UNUSED:
            shutil.rmtree(done.parent)


def lock(group: str) -> Path:
    """Return the locked requirements of a group: the team's, or those of mlgitops."""
    for folder in (Path("requirements"), MACHINERY / "requirements"):
        if (folder / f"{group}.txt").is_file():
            return folder / f"{group}.txt"
    raise SystemExit(f"There are no requirements for the group {group!r}.")


def storage(config: Path = Path(".dvc/config")) -> list[Path]:
    """Return the locked requirements of the storage in .dvc/config, if it has any."""
    parsed = configparser.RawConfigParser()
    parsed.read(config)
    name = parsed.get("core", "remote", fallback="")
    url = parsed.get(f"'remote \"{name}\"'", "url", fallback="")
    file = MACHINERY / "requirements" / f"storage-{url.partition('://')[0]}.txt"
    return [file] if file.is_file() else []


def database(record: Path = Path("data", "source.json")) -> list[Path]:
    """Return the locked requirements of the database that the rows came from, if any.

    Only a laptop reads it: no workflow installs the group `data`.
    """
    try:
        address = str(json.loads(record.read_bytes())["address"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []
    file = MACHINERY / "requirements" / "database.txt"
    is_one = address.startswith(("postgresql://", "postgres://"))
    return [file] if is_one and file.is_file() else []


def cluster(params: Path = Path("params.yaml")) -> list[Path]:
    """Return the locked requirements of Dask, if params.yaml computes on it."""
    file, inside, section = MACHINERY / "requirements" / "dask.txt", False, ""
    if not file.is_file() or not params.is_file():
        return []
    text = params.read_text(encoding="utf-8-sig", errors="replace")
    for line in text.splitlines():
        code = CODE.sub(r"\1", line, count=1)
        if code[:1].strip():  # the first line of a section, or all is one of JSON
            inside = code.startswith("{") or bool(COMPUTE.match(code))
        section += f"{code}\n" * inside
    return [file] * bool(DASK.search(section))


def install(home: Path, files: list[Path]) -> None:
    """Install exactly what the files list into the environment, hashes checked."""
    program = ("install", "--require-hashes", "--requirement", lock("uv"))
    subprocess.run((*PIP, *program), check=True)
    uv = (sys.executable, "-m", "uv", "--quiet")
    python = ("--python", sys.executable)
    subprocess.run((*uv, "venv", *python, "--allow-existing", home), check=True)
    sync = ("pip", "sync", "--python", home, "--require-hashes")
    subprocess.run((*uv, *sync, *files), check=True)

"""Installs locked requirements into an environment; standard library only.

    python -m mlgitops install GROUP...
    python -m mlgitops install --list GROUP...    only prints the files

A runner that keeps its tool cache reuses the environment, and installs nothing while
the locks are the same. Proposed code never shares an environment with main's.
"""

import configparser
import hashlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

MACHINERY = Path(os.path.relpath(Path(__file__).parent.parent))
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def main() -> None:
    """Install the groups and what the storage needs; put it on the runner's PATH."""
    groups = [argument for argument in sys.argv[1:] if argument != "--list"]
    if not groups:
        raise SystemExit("Type: python -m mlgitops install GROUP..., such as ops")
    files = [*map(lock, groups), *storage()]
    if "--list" in sys.argv:
        print(*(shlex.quote(str(file)) for file in files))
        return
    proposed = os.environ.get("GITHUB_EVENT_NAME") == "pull_request"
    name = "-".join(["venv", "proposed" if proposed else "main", *groups])
    home = Path(os.environ["RUNNER_TOOL_CACHE"], name)
    locks = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    done = home / "locks.sha256"
    if not done.is_file() or done.read_text() != locks:
        done.unlink(missing_ok=True)  # an install that is cut off does not count
        install(home, files)
        done.write_text(locks)
    with open(os.environ["GITHUB_PATH"], "a", encoding="utf-8") as path:
        path.write(f"{home / 'bin'}\n")


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


def install(home: Path, files: list[Path]) -> None:
    """Install exactly what the files list into the environment, hashes checked."""
    program = ("install", "--require-hashes", "--requirement", lock("uv"))
    subprocess.run((*PIP, *program), check=True)
    uv = (sys.executable, "-m", "uv", "--quiet")
    python = ("--python", sys.executable)
    subprocess.run((*uv, "venv", *python, "--allow-existing", home), check=True)
    sync = ("pip", "sync", "--python", home, "--require-hashes")
    subprocess.run((*uv, *sync, *files), check=True)

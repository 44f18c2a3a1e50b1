"""Installs locked requirements into an environment; standard library only.

    python -m mlgitops install GROUP...
    python -m mlgitops install --list GROUP...    only says which files are meant

A runner that keeps its tool cache finds the environment there again, and installs
nothing when the locks are still the same.
"""

import configparser
import hashlib
import os
import subprocess
import sys
from pathlib import Path

UV = "uv==0.13.9"  # as in the Makefile
MACHINERY = Path(os.path.relpath(Path(__file__).parent.parent))
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def main() -> None:
    """Install the groups, and what the chosen storage speaks; tell the runner."""
    wanted = [word for word in sys.argv[1:] if word != "--list"]
    if not wanted:
        raise SystemExit("Type: python -m mlgitops install GROUP..., such as ops")
    files = [*map(lock, wanted), *storage()]
    if "--list" in sys.argv:
        print(*files)
        return
    home = Path(os.environ["RUNNER_TOOL_CACHE"], f"venv-{'-'.join(wanted)}")
    locks = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    done = home / "locks.sha256"
    if not done.is_file() or done.read_text() != locks:
        done.unlink(missing_ok=True)  # an install that is cut off is none
        install(home, files)
        done.write_text(locks)
    with open(os.environ["GITHUB_PATH"], "a", encoding="utf-8") as path:
        path.write(f"{home / 'bin'}\n")


def lock(group: str) -> Path:
    """Return the locked requirements of a group: the team's, or the machinery's."""
    for folder in (Path("requirements"), MACHINERY / "requirements"):
        if (folder / f"{group}.txt").is_file():
            return folder / f"{group}.txt"
    raise SystemExit(f"There are no requirements of the group {group!r}.")


def storage(config: Path = Path(".dvc/config")) -> list[Path]:
    """Return the locked requirements of the storage in .dvc/config, if it has any."""
    parsed = configparser.RawConfigParser()
    parsed.read(config)
    name = parsed.get("core", "remote", fallback="")
    url = parsed.get(f"'remote \"{name}\"'", "url", fallback="")
    file = MACHINERY / "requirements" / f"storage-{url.partition('://')[0]}.txt"
    return [file] if file.is_file() else []


def install(home: Path, files: list[Path]) -> None:
    """Make the environment hold exactly what the files name, hashes checked."""
    subprocess.run((*PIP, "install", UV), check=True)
    uv = (sys.executable, "-m", "uv", "--quiet")
    python = ("--python", sys.executable)
    subprocess.run((*uv, "venv", *python, "--allow-existing", home), check=True)
    sync = ("pip", "sync", "--python", home, "--require-hashes")
    subprocess.run((*uv, *sync, *files), check=True)

"""Installs locked groups into an environment of their own; standard library only.

    python .github/install.py GROUP...

A runner that keeps its tool cache finds the environment there again, and installs
nothing when the locks are still the same.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

UV = "uv==0.13.9"  # as in the Makefile
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def main() -> None:
    """Install the groups, and what the chosen storage speaks; tell the runner."""
    wanted = sys.argv[1:]
    if not wanted:
        raise SystemExit("Type: python .github/install.py GROUP... (of requirements/)")
    home = Path(os.environ["RUNNER_TOOL_CACHE"], f"venv-{'-'.join(wanted)}")
    files = [Path("requirements", f"{group}.txt") for group in wanted]
    files += sorted(Path("requirements").glob("storage*.txt"))
    locks = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    done = home / "locks.sha256"
    if not done.is_file() or done.read_text() != locks:
        done.unlink(missing_ok=True)  # an install that is cut off is none
        install(home, files)
        done.write_text(locks)
    with open(os.environ["GITHUB_PATH"], "a", encoding="utf-8") as path:
        path.write(f"{home / 'bin'}\n")


def install(home: Path, files: list[Path]) -> None:
    """Make the environment hold exactly what the files name, hashes checked."""
    subprocess.run((*PIP, "install", UV), check=True)
    uv = (sys.executable, "-m", "uv", "--quiet")
    python = ("--python", sys.executable)
    subprocess.run((*uv, "venv", *python, "--allow-existing", home), check=True)
    sync = ("pip", "sync", "--python", home, "--require-hashes")
    subprocess.run((*uv, *sync, *files), check=True)


if __name__ == "__main__":
    main()

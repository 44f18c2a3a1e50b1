"""Installs locked groups into an environment of their own; standard library only.

A runner that keeps its tool cache finds the environment there again.
"""

import os
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Install GROUPS_WANTED, and what the chosen storage speaks; tell the runner."""
    wanted = os.environ["GROUPS_WANTED"].split()
    home = Path(os.environ["RUNNER_TOOL_CACHE"], f"venv-{'-'.join(wanted)}")
    files = [Path("requirements", f"{group}.txt") for group in wanted]
    files += sorted(Path("requirements").glob("storage*.txt"))
    quiet = (sys.executable, "-m", "uv", "--quiet")
    subprocess.run(
        (*quiet, "venv", "--python", sys.executable, "--allow-existing", home),
        check=True,
    )
    sync = ("pip", "sync", "--python", home, "--require-hashes")
    subprocess.run((*quiet, *sync, *files), check=True)
    with open(os.environ["GITHUB_PATH"], "a", encoding="utf-8") as path:
        path.write(f"{home / 'bin'}\n")


if __name__ == "__main__":
    main()

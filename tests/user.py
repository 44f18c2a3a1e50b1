"""A generated repository, and what its user types."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parent.parent
SOMEBODY = {
    "GIT_AUTHOR_NAME": "Anna O'Neil",
    "GIT_AUTHOR_EMAIL": "anna@example.com",
    "GIT_COMMITTER_NAME": "Anna O'Neil",
    "GIT_COMMITTER_EMAIL": "anna@example.com",
}


class Project:
    """A generated repository, and what its user types."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        ours = str(ROOT / ".venv" / "bin")
        path = [p for p in os.environ["PATH"].split(os.pathsep) if p != ours]
        drop = re.compile(
            r"ARGS$|GIT_|GITHUB_|GH_|VIRTUAL_ENV|PYTHON|PYTEST_|RUFF_|MYPY_|MAKE|MFLAGS"
        )
        self.env = {k: v for k, v in os.environ.items() if not drop.match(k)}
        cache = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
        self.env |= {"PATH": os.pathsep.join(path), "HOME": str(home)}
        self.env |= {"UV_CACHE_DIR": cache, "GIT_CONFIG_NOSYSTEM": "1"}

    def run(
        self, *command: str, fails: bool = False, env: Mapping[str, str] = SOMEBODY
    ) -> str:
        """Run a command here; return everything that it printed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert bool(done.returncode) == fails, f"{command}\n{done.stdout[-6000:]}"
        assert "Traceback" not in done.stdout, done.stdout[-6000:]
        return done.stdout

    def state(self) -> tuple[str, str]:
        """Return the commit, and what is not in it."""
        status = ("git", "status", "--porcelain", "--untracked-files=all")
        return self.run("git", "rev-parse", "HEAD"), self.run(*status)


def baked(template: Path, folder: Path, answers: dict[str, str]) -> Path:
    """Bake a project from a template and answers in a folder; return its folder."""
    out = folder / "baked"
    out.mkdir(exist_ok=True)
    config = folder / "cookiecutterrc"
    config.write_text(
        f"cookiecutters_dir: {folder / 'c'}\nreplay_dir: {folder / 'r'}\n"
    )
    return Path(
        cookiecutter(
            str(template),
            no_input=True,
            extra_context=answers,
            output_dir=str(out),
            overwrite_if_exists=False,
            config_file=str(config),
        )
    )


def generate(template: Path, folder: Path, home: Path, **answers: str) -> Project:
    """Generate a repository in a folder, for a user with an empty home."""
    return Project(baked(template, folder, answers), home)


def machinery(template: Path, *files: str) -> tuple[str, ...]:
    """Return the command that runs the machinery's tests where it is typed."""
    tests = template / "tests" / "machinery"
    config = ("-c", str(tests / "pytest.ini"))
    named = [str(tests / name) for name in files] or [str(tests)]
    return ("-m", "pytest", *config, *named)

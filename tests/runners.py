"""Runners on which Python starts in a moment, once an environment is installed.

The jobs of a play start some three hundred programs, and each loads libraries for a
second or two. Here an environment's `python` is a fork of a process that has them
loaded (`machinery/warm.py`). What runs, and every file of it, is the same; what only a
cold start shows, such as an import that is missing, is for `make demo`, a job of CI.
"""

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machinery import warm
from user import ROOT

REPOSITORY = ROOT / "{{cookiecutter.project_slug}}"


@contextmanager
def warmed(tool_cache: Path) -> Iterator[None]:
    """Warm each environment of a tool cache once it is there; undo it in the end."""
    ended, warmers = threading.Event(), dict[Path, Warm]()

    def watch() -> None:
        while not ended.wait(0.05):  # the next step of a job is to find it
            for done in tool_cache.glob("venv-*/installed"):
                if done.parent not in warmers:
                    warmers[done.parent] = Warm(done.parent / "bin")

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        for each in warmers.values():
            each.cool()


class Warm:
    """An environment whose `python` asks a process that is forked."""

    def __init__(self, programs: Path) -> None:
        """Put the program in the place of the link, at once, as jobs may be running."""
        self.python, self.real = programs / "python", programs / "cold"
        self.real.unlink(missing_ok=True)
        self.real.symlink_to(os.readlink(self.python))
        self.folder = tempfile.TemporaryDirectory(prefix="warm-")
        place = Path(self.folder.name)
        self.server, text = warm.serving(str(self.real), place, REPOSITORY)
        program = programs / "python.new"
        program.write_text(text)
        program.chmod(0o755)
        program.replace(self.python)

    def cool(self) -> None:
        """Put the link back, and end the process."""
        self.real.replace(self.python)
        try:
            self.server.communicate(timeout=10)  # its stdin ends, so it ends
        except subprocess.TimeoutExpired:
            self.server.kill()
        self.folder.cleanup()

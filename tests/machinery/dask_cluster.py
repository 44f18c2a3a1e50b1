"""A scheduler and workers of Dask on loopback, and a `model/` with tasks for them."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from rehearsal import ports

MEMORY = 1_000_000_000  # bytes of a worker
ALONE = "10 minutes"  # after which it ends, if the tests were killed
NO_PAGE = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
TASKS = '''\
"""Tasks of a test."""

import os
import signal
import subprocess
import time

FACTOR = 2


def scaled(shared, item):
    return FACTOR * shared * item


def where(shared, item):
    time.sleep(shared)
    return os.getpid(), os.getppid(), item


def slow_in_one(pid, item):
    time.sleep(1.0 if os.getppid() == pid else 0.05)
    return item, os.getppid() == pid


def wrong(shared, item):
    raise ValueError(f"{item} is wrong")


def leaves(shared, item):
    raise SystemExit(shared)


def reads(shared, item):
    return subprocess.run(["cat"], capture_output=True).stdout


def large(shared, item):
    return len(bytearray(item)) and len(bytes(item))


def dies(shared, item):
    os.kill(os.getpid(), signal.SIGKILL)
'''


class Workers:
    """A scheduler and its workers, which end by their ids."""

    def __init__(self, home: Path) -> None:
        self.home, self.processes = home, list[subprocess.Popen[bytes]]()
        port = ports.free()
        self.address = f"tcp://127.0.0.1:{port}"
        host = ("--host", "127.0.0.1", "--port", str(port), "--no-show")
        host += ("--idle-timeout", ALONE)
        self.scheduler = self._start("scheduler", *host, *NO_PAGE)
        if not waited(partial(_answers, port)):
            self.end()
            raise AssertionError("no scheduler on loopback")

    def worker(self, memory: int = MEMORY) -> subprocess.Popen[bytes]:
        """Start one more worker, in an empty folder and without the repository."""
        options = ("--nthreads", "1", "--memory-limit", str(memory), "--no-nanny")
        return self._start("worker", self.address, *options, *NO_PAGE)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        env = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"}
        log = (self.home / f"{len(self.processes)}.log").open("wb")
        command = [sys.executable, "-m", "dask", *words]
        process = subprocess.Popen(
            command, cwd=self.home, env=env, stdout=log, stderr=log
        )
        self.processes.append(process)
        return process

    def end(self) -> None:
        """End what is still there."""
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@contextmanager
def workers(home: Path, count: int) -> Iterator[Workers]:
    """Yield so many workers of a scheduler; they end with the block."""
    pytest.importorskip("distributed", reason="Dask is not installed here")
    home.mkdir(parents=True, exist_ok=True)
    started = Workers(home)
    try:
        for _ in range(count):
            started.worker()
        yield started
    finally:
        started.end()


def tasks(folder: Path, text: str = TASKS) -> ModuleType:
    """Write `model/tasks.py` into a folder and return it, as it is imported."""
    file = folder / "model" / "tasks.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("model.tasks", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["model.tasks"] = module
    return module


def _answers(port: int) -> bool:
    """Tell whether something listens at a port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def waited(true: Callable[[], bool], seconds: float = 120) -> bool:
    """Tell whether something became true in time."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()

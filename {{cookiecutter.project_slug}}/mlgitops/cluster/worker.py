"""Runs a task on a worker of Dask, in a child that has the shipped code.

This file travels by value: a worker has neither this repository nor its environment
variables, only Python, Dask and the locked packages. So it is standard library only,
and what it keeps is on the worker itself. A child has one version of the code and ends
with its worker; other versions have children of their own.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Ended = tuple[str, bytes]  # value, raised or refused, and with what
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
KEPT = "mlgitops_children"  # of a worker: its idle children, by the hash of their code
BUSY = "mlgitops_busy"  # of a worker: those that have a task


class Child:
    """A process with one version of the code; it ends when this one does."""

    def __init__(self, folder: Path) -> None:
        self.shared, self.errors = "", tempfile.TemporaryFile()
        path = {"PYTHONPATH": str(folder)}  # also with PYTHONSAFEPATH
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlgitops.cluster.child"],
            cwd=folder,
            env={**os.environ, **dict.fromkeys(ONE_THREAD, "1"), **path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=True,
        )

    def run(
        self, name: str, digest: str, shared: bytes, item: bytes, memory: int
    ) -> Ended:
        """Return how a task ended; `digest` is the hash of what all tasks share.

        Raises:
            ChildProcessError: the child has ended.
        """
        assert self.process.stdin and self.process.stdout
        unsent = None if digest == self.shared else shared
        request = (name, digest, unsent, item, memory)
        try:
            pickle.dump(request, self.process.stdin)
            self.process.stdin.flush()
            kind, data = pickle.load(self.process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise ChildProcessError(self.ending()) from None
        self.shared = digest if kind == "value" else ""
        return str(kind), bytes(data)

    def ending(self) -> str:
        """Return how the child ended, as the end of a sentence."""
        self.end()
        code = self.process.returncode
        self.errors.seek(0)
        last = self.errors.read()[-2000:].decode(errors="replace").strip()
        message = last.splitlines()[-1][:200] if last else "it said nothing"
        if code and code < 0:
            name = signal.Signals(-code).name
            return f"ended with {name}, mostly for lack of memory: {message}"
        return f"ended with exit code {code}: {message}"

    def end(self) -> None:
        """End the process and wait for it."""
        assert self.process.stdin and self.process.stdout
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()
            except OSError:  # it is gone
                continue
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run(facts: str, item: bytes, code: bytes, shared: bytes) -> Ended:
    """Run a task in a child of this worker; return how it ended.

    `facts` are JSON: the hash of `code`, the packages and the Python that the run has,
    the function as module:name, and the hash of `shared`.

    Raises:
        ChildProcessError: the child died; Dask tries again, here or elsewhere.
        MemoryError: the worker has too little; the same.
    """
    from distributed import get_worker

    worker, required = get_worker(), json.loads(facts)
    if problem := unlike(required["python"], required["packages"]):
        return "refused", f"the worker {worker.address} {problem}".encode()
    kept = worker.__dict__.setdefault(KEPT, {})
    idle = kept.setdefault(required["code"], [])
    for digest in [digest for digest in list(kept) if digest != required["code"]]:
        end(kept[digest])
    child = _taken(idle) or Child(_unpacked(worker, required["code"], code))
    memory, busy = _memory(worker), worker.__dict__.setdefault(BUSY, [])
    busy.append(child)
    try:
        named = (required["function"], required["shared"])
        kind, data = child.run(*named, shared, item, memory)
    except ChildProcessError as error:
        raise ChildProcessError(f"the worker {worker.address}: {error}") from None
    finally:
        busy.remove(child)
    if kind == "memory":
        child.end()
        size = f"{memory / 1e6:,.0f} MB" if memory else "the memory it has"
        message = f"the worker {worker.address} needs more than {size} for a task"
        raise MemoryError(f"{message} ({data.decode()})")
    idle.append(child)
    return kind, data


def unlike(python: str, packages: dict[str, str]) -> str:
    """Return in what this worker differs from where the run was started, or ""."""
    own = ".".join(map(str, sys.version_info[:2]))
    if own != python:
        return f"has Python {own}, and the run was started with {python}"
    for name, required in packages.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            return f"has no package {name}, and the run was started with {required}"
        if installed != required:
            return f"has {name} {installed}, and the run was started with {required}"
    return ""


def end(idle: list[Child]) -> None:
    """End children that have nothing to do."""
    while child := _taken(idle):
        child.end()


def _taken(idle: list[Child]) -> Child | None:
    """Take one of the children, which no other thread of the worker gets then."""
    try:
        return idle.pop()
    except IndexError:
        return None


def _memory(worker: Any) -> int:
    """Return how many bytes a task may have here; 0 where the worker has no limit."""
    limit = getattr(worker.memory_manager, "memory_limit", None)
    return int(limit / worker.state.nthreads) if limit else 0


def _unpacked(worker: Any, name: str, code: bytes) -> Path:
    """Return the folder with this version of the code, whole."""
    home = Path(worker.local_directory)
    folder = home / f"mlgitops-{name}"
    if not folder.is_dir():
        unpacked = Path(tempfile.mkdtemp(dir=home))
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            archive.extractall(unpacked)
        try:
            unpacked.rename(folder)
        except OSError:  # another thread was faster
            if not folder.is_dir():
                raise
    return folder

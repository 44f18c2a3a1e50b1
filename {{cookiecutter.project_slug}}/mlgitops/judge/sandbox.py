"""Runs a part of the judge in a child: clean environment, limits, no way to a token.

What it is: another process with a memory, time and file-size limit, no inherited
environment, no new privileges, and a parent whose memory and environment it cannot
read. What it is not: a container; the network is not closed.
"""

import contextlib
import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from mlgitops.judgement import Refused

NO_MEMORY = ("std::bad_alloc", "MemoryError", "Unable to allocate")
LEAST = 6_000_000_000  # bytes of address space; a million rows need about two
MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # bytes it has
MEMORY = max(LEAST, MACHINE // 2)  # ten million rows need a larger machine
SECONDS = 900
LARGEST = 1_000_000_000  # bytes of any one file it may write
SHARE = 0.5  # of the free disk, that all files in its folder may take
LOOK = 0.2  # seconds between two looks at the folder
BLOCK = 512  # bytes of what stat(2) counts
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38


def run(
    check: str,
    module: str,
    *arguments: str | Path,
    seconds: float = 0,
    folder: Path | None = None,
) -> None:
    """Run ``python -m module`` from main's code; ``check`` is the check that fails.

    It may take so many `seconds`; 0 is as many as any part of the judge. It and its
    children may fill `SHARE` of the free disk in a folder, and what a disk takes in
    `LOOK` more.

    Raises:
        Refused: it was stopped by a limit, crashed, or ended with its own refusal.
    """
    seal()
    seconds = seconds or SECONDS
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as child:
        try:
            stderr = _watch(check, child, seconds, folder)
        finally:
            child.kill()
    if child.returncode:
        raise Refused(check, _ending(child.returncode, stderr))


def _watch(
    check: str, child: subprocess.Popen[bytes], seconds: float, folder: Path | None
) -> bytes:
    """Wait for a child; return its errors, or refuse what it takes or writes."""
    end, allowed = time.monotonic() + seconds, 0
    if folder:
        allowed = taken(folder) + int(shutil.disk_usage(folder).free * SHARE)
    while True:
        left = end - time.monotonic()
        try:
            wait = min(left, LOOK) if folder else left
            return child.communicate(timeout=max(wait, 0))[1]
        except subprocess.TimeoutExpired as error:
            if folder and (size := taken(folder)) > allowed:
                reason = (
                    f"it had {size:,} bytes on the disk, and may have {allowed:,} "
                    f"({SHARE:.0%} of what was free): judge fewer rows, or on a larger "
                    "disk"
                )
                raise Refused(check, reason) from error
            if time.monotonic() >= end:
                reason = f"it took longer than {seconds} seconds"
                raise Refused(check, reason) from error


def taken(folder: Path) -> int:
    """Return the bytes that all files of a folder take on the disk."""
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += os.lstat(os.path.join(path, name)).st_blocks * BLOCK
    return size


def seal() -> None:
    """Close this process's memory, environment and open files to all but root."""
    _prctl(PR_SET_DUMPABLE, 0)


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Refuse what takes longer, wherever it waits or computes; for the main thread."""

    def stop(*_: object) -> NoReturn:
        raise Refused("judge", f"it took longer than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def environment() -> dict[str, str]:
    """Return the whole environment of a child: paths, one thread, no token."""
    names = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH", "PYTHONPYCACHEPREFIX")
    clean = {name: os.environ[name] for name in names if name in os.environ}
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    # Without a home git would not know whose folder this is, and refuse it.
    clean |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory"}
    clean["GIT_CONFIG_VALUE_0"] = os.getcwd()
    return {**clean, "HOME": "/nonexistent", **dict.fromkeys(threads, "1")}


def confine(
    memory: int = MEMORY, seconds: int = SECONDS, largest: int = LARGEST
) -> None:
    """Drop, for this process and its children, rights that scoring does not need."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: largest,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(kind, (limit, limit))


def allow_growth(memory: int) -> None:
    """Let this process take so many bytes more than it has now, and no more."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def leave() -> NoReturn:
    """End this process at once, now that its result is written.

    Threads of native libraries may abort a process that is ending, once in hundreds of
    times on a busy machine; that would refuse a model without cause.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _prctl(option: int, value: int) -> None:
    """Call prctl on Linux; other systems do not have it, and a laptop needs none."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _ending(code: int, stderr: bytes) -> str:
    """Return how the child ended, as a sentence."""
    if code in (-signal.SIGXCPU, -signal.SIGKILL, -signal.SIGXFSZ):
        return "it was stopped at a limit of time, memory or file size"
    if code == -signal.SIGALRM:
        return "it was stopped, as it gave no answer in time"
    last = "".join(stderr.decode(errors="replace").strip().splitlines()[-1:])[:300]
    if any(word in last for word in NO_MEMORY):
        return f"it needs more memory than its limit: judge fewer rows ({last})"
    if code < 0:
        crashed = f"it crashed with {signal.Signals(-code).name}"
        return f"{crashed}: {last}" if last else crashed
    return last or f"it ended with exit code {code}"

"""Environments that start with the bytecode that an earlier one compiled.

A whole run sets some fifteen environments up, and each would compile two thousand
modules anew, for 15 CPU seconds. uv links into an environment whatever its cache holds
of a package: these tests have a cache of their own, of links to the user's, and put
there what a first environment compiled.
"""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from user import ROOT

CACHE = ROOT / ".venv" / "cache" / "uv"
TAG = sys.implementation.cache_tag


def user_cache() -> Path:
    """Return where uv keeps the packages of whoever runs these tests."""
    return Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv")


def use(cache: Path = CACHE) -> None:
    """Let uv take packages from a cache of links to the user's, where links can be.

    The user's own is only read; what is downloaded from now on is in ours.
    """
    theirs = user_cache()
    with _one_process(cache), suppress(OSError):
        if theirs != cache and theirs.is_dir():
            _link(theirs, cache)
        os.environ["UV_CACHE_DIR"] = str(cache)


def keep(environment: Path, cache: Path = CACHE) -> int:
    """Copy what an environment has compiled into uv's cache; return how many files."""
    if user_cache() != cache:
        return 0
    packages = dict[str, list[Path]]()  # by the name of their .dist-info
    for info in cache.glob("archive-v*/*/*.dist-info"):
        packages.setdefault(info.name, []).append(info.parent)
    return sum(
        _copy(module, package / module.relative_to(info.parent))
        for info in environment.glob("lib/python*/site-packages/*.dist-info")
        for module in _modules(info)
        for package in packages.get(info.name, ())
    )


def compiled(module: Path) -> Path:
    """Return where Python puts a module's bytecode, unless it is told otherwise."""
    return module.parent / "__pycache__" / f"{module.stem}.{TAG}.pyc"


def _modules(info: Path) -> Iterator[Path]:
    """Yield the modules of a package that the environment has compiled."""
    for line in (info / "RECORD").read_text(encoding="utf-8").splitlines():
        name = line.split(",")[0]
        if name.endswith(".py") and not name.startswith(".."):
            module = info.parent / name
            if compiled(module).exists():
                yield module


def _copy(module: Path, source: Path) -> bool:
    """Copy a module's bytecode beside the same file in the cache; tell whether so."""
    target = compiled(source)
    if target.exists() or not source.exists() or not source.samefile(module):
        return False
    target.parent.mkdir(exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}")
    shutil.copyfile(compiled(module), part)
    part.replace(target)  # whole, or not at all
    return True


def _link(source: Path, target: Path) -> None:
    """Make a tree of links to every file of a cache that is not there yet."""
    target.mkdir(parents=True, exist_ok=True)
    there = set(os.listdir(target))
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _link(source / entry.name, target / entry.name)
            elif entry.name not in there:
                os.link(entry.path, target / entry.name, follow_symlinks=False)


@contextmanager
def _one_process(cache: Path) -> Iterator[None]:
    """Let the processes of a test run do this one after the other."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with cache.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

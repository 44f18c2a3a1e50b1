"""Moves the objects of one storage to another, and verifies every one of them.

Nothing is deleted in the old storage, and nothing refers to the new one until all is
there. What was copied by a run that broke off is read back, and not copied again.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops.lock import Out, objects
from mlgitops.storage import StorageError
from mlgitops.store import owner
from mlgitops.store.objects import OWNERS, Objects

AT_ONCE = 4  # objects; a login of ssh often has no more than 10 sessions
EVERY = 5.0  # seconds between two lines of progress
SHOWN = 3  # names in a message
Named = Mapping[str, tuple[Out, str]]


@dataclass(frozen=True)
class Plan:
    """What a move has to copy: md5 and size; how many are there by their size."""

    sizes: Mapping[str, int]
    stored: int
    absent: tuple[str, ...]  # named, but not in the old storage: one phrase each

    def __str__(self) -> str:
        """Say it in one sentence."""
        size = sum(self.sizes.values()) / 1e6
        return (
            f"{objects(len(self.sizes))}, {size:,.1f} MB, {self.stored} of them there "
            f"already by their size"
        )


def plan(source: Objects, target: Objects, named: Named) -> Plan:
    """Compare both storages with what the repository names.

    Raises:
        StorageError: the new storage holds something else, or one cannot be listed.
    """
    had, stored = source.listing(), target.listing()
    foreign = [md5 for md5 in stored.sizes if md5 not in had.sizes and md5 not in named]
    owners = [f"{OWNERS}{name}" for name in sorted(stored.owners - {owner.name()})]
    if strange := [*stored.others, *owners, *(f"object {md5}" for md5 in foreign)]:
        raise StorageError(
            f"{target.shown} holds something else ({_some(strange)}): choose an empty "
            "folder or bucket, such as one below it"
        )
    absent = [
        f"{out.path} of {origin} (md5 {md5})"
        for md5, (out, origin) in named.items()
        if md5 not in had.sizes and stored.sizes.get(md5) != out.size
    ]
    kept = {md5: out.size for md5, (out, _) in named.items() if md5 in stored.sizes}
    sizes = {**kept, **had.sizes}
    copied_already = sum(stored.sizes.get(md5) == size for md5, size in sizes.items())
    return Plan(sizes, copied_already, tuple(absent))


def transfer(
    source: Objects,
    target: Objects,
    sizes: Mapping[str, int],
    say: Callable[[str], None] = print,
) -> int:
    """Copy what is not there, and read back everything; return how many were copied.

    Raises:
        StorageError: an object failed; how many are there, and how to go on.
    """
    stored = target.listing().sizes
    before = time.monotonic()
    with (
        TemporaryDirectory(prefix="move-") as folder,
        ThreadPoolExecutor(AT_ONCE) as ex,
    ):

        def bring(md5: str) -> bool:
            if stored.get(md5) == sizes[md5] and target.has(md5):
                return False
            file = Path(folder, md5)
            source.fetch(md5, file)
            target.store(md5, file)
            file.unlink()
            return True

        jobs = [ex.submit(bring, md5) for md5 in sorted(sizes)]
        waiting = set(jobs)
        try:
            while waiting:
                ended, waiting = wait(waiting, EVERY, return_when=FIRST_EXCEPTION)
                for job in ended:
                    job.result()
                if time.monotonic() - before > EVERY:
                    done = len(jobs) - len(waiting)
                    say(f"{done} of {objects(len(sizes))} are there, verified")
                    before = time.monotonic()
        except (StorageError, OSError, KeyboardInterrupt) as error:
            ex.shutdown(cancel_futures=True)
            done = sum(not (job.cancelled() or job.exception()) for job in jobs)
            problem = str(error) or "interrupted"
            raise StorageError(
                f"{problem}. {done} of {objects(len(sizes))} had arrived, "
                ".dvc/config is as it was, and nothing was deleted: type the same "
                "command again to go on"
            ) from error
    return sum(job.result() for job in jobs)


def refuse_absent(absent: tuple[str, ...]) -> None:
    """Refuse to leave behind what the repository names.

    Raises:
        StorageError: the first few that are named and absent.
    """
    if absent:
        raise StorageError(
            f"the old storage lacks {len(absent)} of what the repository names: "
            f"{_some(absent)}; bring them back with `make push` where they are, or add "
            "--without-absent if they are known to be lost"
        )


def _some(names: list[str] | tuple[str, ...]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

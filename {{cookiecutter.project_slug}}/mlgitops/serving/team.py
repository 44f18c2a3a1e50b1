"""Several workers on one port: what each of them has counted, for any of them to say.

The workers share a file in memory, a slot for each. A worker writes its numbers there
twice a second; who is asked for /metrics or /info adds those of the others to its own.
A worker that takes the place of a dead one begins with its numbers, so that no counter
goes back; what was counted in the last half second before a `kill -9` is missing.
"""

import os
import tempfile
import zlib
from collections import Counter
from copy import copy
from struct import Struct
from typing import Any

import msgspec

from mlgitops.serving.metrics import Counts

SLOT = 2**20  # bytes
HEAD = Struct("<II")  # length and CRC-32 of what follows
TRIES = 5  # reads of a slot while it is written
PENDING = ("queued",)  # a state of the log that a dead worker does not leave behind
AGAIN = "unrecorded"  # lines, lost or dropped, that the next log in the folder counts

Numbers = dict[str, Any]


def memory(workers: int) -> int:
    """Return a new shared file with so many empty slots."""
    if hasattr(os, "memfd_create"):  # needs no writable folder
        file = os.memfd_create("workers", 0)
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    os.ftruncate(file, workers * SLOT)
    os.set_inheritable(file, True)
    return file


class Team:
    """The numbers of all workers, seen from one of them."""

    def __init__(self, file: int, number: int) -> None:
        """Be the worker of a number, from 0."""
        self.file, self.number = file, number
        self.workers = os.fstat(file).st_size // SLOT
        self._seen: dict[int, Numbers] = {}
        self.before = self._slot(number)
        log = self.before.get("log", {})
        for name in PENDING:
            log.pop(name, None)
        again = log.pop(AGAIN, 0)
        for name in ("lost", "dropped"):  # or they would be counted twice
            part = min(again, log.get(name, 0))
            again -= part
            log[name] = log.get(name, 0) - part

    def publish(self, counts: Counts, refused: int, log: dict[str, int] | None) -> None:
        """Write this worker's numbers for the others."""
        data = msgspec.json.encode(self._own(counts, refused, log))
        if len(data) + HEAD.size <= SLOT:
            head = HEAD.pack(len(data), zlib.crc32(data))
            os.pwrite(self.file, head + data, self.number * SLOT)

    def all(
        self, counts: Counts, refused: int, log: dict[str, int] | None
    ) -> tuple[Counts, int, dict[str, int] | None]:
        """Return the numbers of all workers together, given this one's own."""
        own = self._own(counts, refused, log)
        others = [n for n in range(self.workers) if n != self.number]
        for number in others:
            own = _sum(own, self._slot(number))
        own.get("log", {}).pop(AGAIN, None)
        return _counts(counts, own["counts"]), own["refused"], own.get("log")

    def _own(self, counts: Counts, refused: int, log: dict[str, int] | None) -> Numbers:
        numbers: Numbers = {"counts": _plain(counts), "refused": refused}
        if log is not None:
            numbers["log"] = log
        total: Numbers = _sum(numbers, self.before)
        return total

    def _slot(self, number: int) -> Numbers:
        """Return a worker's numbers; the last that could be read, while it writes."""
        for _ in range(TRIES):
            size, crc = HEAD.unpack(os.pread(self.file, HEAD.size, number * SLOT))
            data = os.pread(self.file, size, number * SLOT + HEAD.size)
            if size and zlib.crc32(data) == crc:
                self._seen[number] = msgspec.json.decode(data)
                break
        return self._seen.get(number, {})


def _plain(counts: Counts) -> Numbers:
    """Return what a server counted, as JSON has it: a Counter as pairs.

    That is each number, list of numbers and Counter; what else there is stays at home.
    """
    return {
        name: [[key, n] for key, n in value.items()] if _pairs(value) else value
        for name, value in vars(counts).items()
        if not name.startswith("_") and type(value) in (int, float, list, Counter)
    }


def _counts(counts: Counts, numbers: Numbers) -> Counts:
    """Return numbers as what a server counts."""
    total = copy(counts)
    for name, value in numbers.items():
        if _pairs(getattr(counts, name, None)):
            value = Counter({_key(key): n for key, n in value})
        setattr(total, name, value)
    return total


def _sum(first: Any, second: Any) -> Any:
    """Return the sum of numbers, or of what holds them."""
    if isinstance(first, dict):
        return {
            key: _sum(first[key], second[key])
            if key in first and key in second
            else first.get(key, second.get(key))
            for key in {**first, **second}
        }
    if isinstance(first, list) and (_are_pairs(first) or _are_pairs(second)):
        total: Counter[Any] = Counter()
        for key, number in (*first, *second):
            total[_key(key)] += number
        return [[key, number] for key, number in total.items()]
    if isinstance(first, list):
        return [_sum(a, b) for a, b in zip(first, second, strict=True)]
    return first + second


def _pairs(value: object) -> bool:
    """Return whether a value counts by key."""
    return isinstance(value, Counter)


def _are_pairs(value: list[Any]) -> bool:
    """Return whether a list was a Counter."""
    return bool(value) and isinstance(value[0], list)


def _key(key: Any) -> Any:
    """Return a Counter's key; JSON has tuples as lists."""
    return tuple(key) if isinstance(key, list) else key

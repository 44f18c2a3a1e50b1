"""What readers of Arrow streams do with altered streams: end, take memory, or refuse.

    python -m benchmarks.serving.readers [STREAMS]

The server's own reader, pyarrow, and nanoarrow where that is installed. Each reads the
same streams, in processes with 6 GB of addresses.
"""

from __future__ import annotations

import io
import os
import random
import resource
import struct
import sys
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

TEMPLATE = Path(__file__).parents[2] / "{{cookiecutter.project_slug}}"
STREAMS = int(sys.argv[1]) if sys.argv[1:] else 10_000
BLOCK = 250  # streams of one process
MEMORY = 6 * 2**30  # bytes
TABLE = pa.table(
    {
        "number": pa.array([1.0, None, 3.0, 4.0, 5.0] * 4),
        "flag": pa.array([True, None, False, True, True] * 4),
        "text": pa.array(["a", None, "ü", "", "d"] * 4),
        "again": pa.array(["a", None, "ü", "a", "a"] * 4).dictionary_encode(),
    }
)
LARGE = (-1, 1, 2**31 - 1, 2**40, 2**62)


def stream(table: pa.Table) -> bytes:
    """Return a table as a stream."""
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


BASES = (stream(TABLE), stream(TABLE.drop_columns(["again"])))


def altered(seed: int) -> bytes:
    """Return a stream that was cut, or has other bits or another large number."""
    chance = random.Random(seed)  # noqa: S311
    data = bytearray(chance.choice(BASES))
    if chance.random() < 0.2:
        return bytes(data[: chance.randrange(len(data))])
    for _ in range(chance.choice((1, 1, 2, 4))):
        index = chance.randrange(len(data))
        if chance.random() < 0.7:
            data[index] ^= 1 << chance.randrange(8)
        else:
            place = min(index & ~7, len(data) - 8)
            struct.pack_into("<q", data, place, chance.choice(LARGE))
    return bytes(data)


def own(data: bytes) -> None:
    """Read as the server does."""
    from mlgitops.serving import arrow_reader

    table = arrow_reader.read(data, TABLE.column_names, 1_000, 100_000)
    for vector in table.columns.values():
        vector.part(0, table.rows)


def with_nanoarrow(data: bytes) -> None:
    """Read to Python's values."""
    import nanoarrow

    nanoarrow.ArrayStream.from_readable(data).read_all().to_pylist()


def with_pyarrow(data: bytes) -> None:
    """Read, and check as far as the library can."""
    table = pa.ipc.open_stream(data).read_all()
    table.validate(full=True)
    table.to_pylist()


READERS: dict[str, Callable[[bytes], None]] = {
    "mlgitops": own,
    "nanoarrow": with_nanoarrow,
    "pyarrow": with_pyarrow,
}


def child(read: Callable[[bytes], None], seeds: range, report: int) -> None:
    """Read streams; tell which one is next, and what became of it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for seed in seeds:
        try:
            read(altered(seed))
            outcome = b"r"
        except MemoryError:
            outcome = b"m"
        except BaseException:
            outcome = b"f"
        os.write(report, outcome)


def outcomes(read: Callable[[bytes], None]) -> Counter[str]:
    """Return how many streams were read, refused, took memory or ended the process."""
    found, seed = Counter[str](), 0
    while seed < STREAMS:
        reading, writing = os.pipe()
        seeds = range(seed, min(STREAMS, seed + BLOCK))
        pid = os.fork()
        if pid == 0:
            child(read, seeds, writing)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            said = file.read().decode()
        os.waitpid(pid, 0)
        found.update(said)
        found["x"] += len(said) < len(seeds)
        seed += min(len(said) + 1, len(seeds))
    return found


def main() -> None:
    """Print a line for each reader."""
    sys.path.insert(0, str(TEMPLATE))
    import mlgitops.serving.arrow_reader  # noqa: F401

    given: dict[str, Any] = {n: r for n, r in READERS.items() if find_spec(n)}
    print(f"of {STREAMS:,} altered streams: read, refused, > 6 GB, ended the process")
    for name, read in given.items():
        found = outcomes(read)
        print(f"{name:10} {found['r']:7} {found['f']:7} {found['m']:7} {found['x']:7}")


if __name__ == "__main__":
    main()

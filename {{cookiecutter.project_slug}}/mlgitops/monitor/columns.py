"""Reads shipped parts of a log by their columns, and the lines of what is kept.

A part has each line beside the id, times and manifest that are in it (`shipping/`).
These decide whether a row is a duplicate, or in the window; the line, which is most of
a part, is read and parsed for the rows that stay. Whatever is counted is as by line.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from sys import intern
from typing import IO, TYPE_CHECKING, Protocol

from mlgitops.prediction_log import Entry, moment, parse
from mlgitops.production_data import UNREADABLE_FILE, ProductionDataError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 20_000  # rows in memory, as of a row group
NAMES = ("id", "time", "logged_at", "manifest_sha256")
ALWAYS = ("id", "logged_at", "manifest_sha256")  # in each row
Opened = Callable[[str], IO[bytes]]


class Kept(Protocol):
    """What takes entries, and says which ids it takes none of any more."""

    def thinned(self, ids: Sequence[str]) -> Sequence[int]:
        """Return which of these ids may still be looked at."""
        ...

    def offer(self, entry: Entry, size: int) -> None:
        """Take an entry with so many characters, or count why not."""
        ...


@dataclass(slots=True)
class Pending(Entry):
    """An entry of which the columns are known, and where its line is."""

    path: str = ""
    index: int = 0  # of the row in the part


def offer(
    path: str, opened: Opened, kept: Kept, counts: Counter[str], by_arrival: bool
) -> bool:
    """Offer each row of a part that can belong to a window; count the others.

    Returns False for a part without these columns, which is not one of ours.

    Raises:
        ProductionDataError: the part cannot be read.
    """
    first = 0
    for batch in _batches(path, opened):
        if batch is None:
            return False
        counts["lines"] += len(batch)
        ids = batch["id"].to_pylist()
        chosen = (_arrived if by_arrival else _timed)(batch, ids, counts)
        looked_at = kept.thinned([ids[n] for n in chosen])
        if left_out := len(chosen) - len(looked_at):
            counts["not looked at"] += left_out
        try:
            for row, size in _rows(batch, [chosen[n] for n in looked_at], by_arrival):
                row.path, row.index = path, first + row.index
                kept.offer(row, size)
        except (TypeError, ValueError) as error:
            raise _changed(path) from error
        first += len(batch)
    return True


def filled(entries: list[Entry], opened: Opened) -> tuple[list[Entry], int]:
    """Return the entries as their lines have them, and how many lines are none now.

    Raises:
        ProductionDataError: a part cannot be read, or a line is not that of its row.
    """
    complete, corrupt = list[Entry](), 0
    for path, group in groupby(entries, key=lambda each: getattr(each, "path", "")):
        rows = list(group)
        if not path:
            complete += rows
            continue
        pending = [row for row in rows if isinstance(row, Pending)]
        lines = _lines(path, opened, [row.index for row in pending])
        for row in pending:
            if (line := next(lines, None)) is None:  # another part took its place
                raise _changed(path)
            if (entry := parse(line)) is None:  # to an earlier machinery it was one
                corrupt += 1
            elif not _is_line_of(row, entry):
                raise _changed(path)
            else:
                entry.time = row.time
                complete.append(entry)
    return complete, corrupt


def candidates(
    path: str, opened: Opened, ids: Collection[str], fits: Callable[[str], bool]
) -> Iterator[str] | None:
    """Return lines of a part that say all that its lines say of these ids and of times.

    That is each line of one of the ids, and of each manifest the first line, and the
    first and last by `logged_at`, of every piece; all lines of a piece where one of
    these does not fit. None for a part without these columns.
    """
    batches = _batches(path, opened, ["line"])
    first = next(batches, None)
    if first is None:
        return None
    return (
        text
        for batch in chain([first], batches)
        if batch is not None
        for text in _telling(batch, ids, fits)
    )


def _telling(
    batch: pa.Table, ids: Collection[str], fits: Callable[[str], bool]
) -> Iterator[str]:
    """Yield such lines of a piece, in its order."""
    times, lines = batch["logged_at"].to_pylist(), batch["line"]
    ends = dict[str, list[int]]()  # by manifest: the first row, the earliest, the last
    for n, sha256 in enumerate(batch["manifest_sha256"].to_pylist()):
        span = ends.setdefault(sha256, [n, n, n])
        if times[n] < times[span[1]]:
            span[1] = n
        elif times[n] > times[span[2]]:
            span[2] = n
    marked = {n for span in ends.values() for n in span}
    if not all(fits(lines[n].as_py()) for n in marked):
        yield from lines.to_pylist()
        return
    of_ids = (n for n, row_id in enumerate(batch["id"].to_pylist()) if row_id in ids)
    for n in sorted(marked.union(of_ids)):
        yield lines[n].as_py()


def _is_line_of(row: Pending, entry: Entry) -> bool:
    """Tell whether columns are those of a line."""
    known = (row.id, row.manifest_sha256, row.logged_at)
    line = (entry.id, entry.manifest_sha256, entry.logged_at)
    return known == line and row.time in (entry.time, entry.arrival)


def _timed(batch: pa.Table, ids: list[str], counts: Counter[str]) -> list[int]:
    """Return the rows whose event has a time."""
    missing = batch["time"].null_count
    if not missing:
        return list(range(len(ids)))
    counts["without a time"] += missing  # golden rows of a deployment, say
    return [n for n, valid in enumerate(batch["time"].is_valid().to_pylist()) if valid]


def _arrived(batch: pa.Table, ids: list[str], counts: Counter[str]) -> list[int]:
    """Return the rows whose arrival is known, but for those of a deployment."""
    chosen, times = list[int](), batch["time"].is_valid().to_pylist()
    for n, logged_at in enumerate(batch["logged_at"].to_pylist()):
        row = Pending(ids[n], None, "", None, 0.0, None, logged_at, {})
        if not times[n] and row.is_golden:
            counts["asked by a deployment"] += 1
        elif row.arrival is None:
            counts["without a time"] += 1
        else:
            chosen.append(n)
    return chosen


def _rows(
    batch: pa.Table, chosen: list[int], by_arrival: bool
) -> Iterator[tuple[Pending, int]]:
    """Yield rows of a batch, each with the size of its line."""
    import pyarrow.compute as pc

    if not chosen:
        return
    taken = batch.take(chosen) if len(chosen) < len(batch) else batch
    sizes = (
        taken["size"] if "size" in taken.column_names else pc.utf8_length(taken["line"])
    )
    columns = [taken[name].to_pylist() for name in NAMES]
    table = zip(chosen, *columns, sizes.to_pylist(), strict=True)
    for n, row_id, time, logged_at, sha256, size in table:
        sha256 = intern(sha256)  # one object for all rows
        row = Pending(row_id, None, sha256, None, 0.0, None, logged_at, {}, index=n)
        row.time = row.arrival if by_arrival else moment(time)
        yield row, size


def _batches(
    path: str, opened: Opened, others: Sequence[str] = ()
) -> Iterator[pa.Table | None]:
    """Yield the columns of a part by pieces, or None where it lacks them.

    The lines come along where the part lacks their sizes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with opened(path) as file, pq.ParquetFile(file) as part:
            names = set(part.schema_arrow.names)
            if not names.issuperset(NAMES):
                yield None
                return
            size = "size" if "size" in names else "line"
            columns = list(dict.fromkeys([*NAMES, *(others or [size])]))
            for batch in part.iter_batches(BATCH, columns=columns):
                table = pa.Table.from_batches([batch])
                texts = all(_is_text(table[name].type) for name in NAMES)
                if not texts or any(table[name].null_count for name in ALWAYS):
                    raise _changed(path)
                yield table
    except (*UNREADABLE_FILE, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _is_text(kind: pa.DataType) -> bool:
    """Tell whether values of a column are texts, or missing."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    known = (pa.string(), pa.large_string(), pa.string_view(), pa.null())
    return kind in known


def _lines(path: str, opened: Opened, indices: list[int]) -> Iterator[str]:
    """Yield the lines of these rows of a part, which ascend.

    Row groups without one of them are not read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = position = 0
    try:
        with opened(path) as file, pq.ParquetFile(file) as part:
            for group in range(part.num_row_groups):
                end = first + part.metadata.row_group(group).num_rows
                until = bisect_left(indices, end, position)
                if until > position:
                    column = part.read_row_group(group, columns=["line"])["line"]
                    chosen = [index - first for index in indices[position:until]]
                    yield from column.take(chosen).to_pylist()
                first, position = end, until
    except (*UNREADABLE_FILE, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> ProductionDataError:
    """Return the sentence that a part cannot be read."""
    return ProductionDataError(f"{path.rsplit('/', 1)[-1]} cannot be read: {error}")


def _changed(path: str) -> ProductionDataError:
    """Return the sentence that the columns of a part are not those of its lines."""
    return ProductionDataError(
        f"{path.rsplit('/', 1)[-1]} was changed since it was shipped: its columns are "
        "not those of its lines; bring back the file that was shipped, or delete it"
    )

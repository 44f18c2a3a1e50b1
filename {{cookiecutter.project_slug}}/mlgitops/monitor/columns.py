"""Reads shipped parts of a log by their columns, and the lines of what is kept.

A part has each line beside the id, times and manifest that are in it (`shipping/`).
These decide whether a row is a duplicate, or in the window; the line, which is most of
a part, is read and parsed for the rows that stay. Whatever is counted is as by line.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from sys import intern
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol

from mlgitops.prediction_log import Entry, moment, parse
from mlgitops.production_data import UNREADABLE_FILE, ProductionDataError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 20_000  # rows in memory, as of a row group
NAMES = ("id", "time", "logged_at", "manifest_sha256")
ALWAYS = ("id", "logged_at", "manifest_sha256")  # in each row
EVERY = 2**32  # of ids: no hash is as large
GONE: Any = object()  # in the place of a line that a part has no more
Opened = Callable[[str], IO[bytes]]
Thinned = Callable[[Sequence[str]], Sequence[int]]  # of ids, those to look at
Lookup = tuple[str, list[int]]  # rows of a part
Load = Callable[[Iterable[Lookup]], Iterable[Iterable[Entry | None]]]  # their lines


class Kept(Protocol):
    """What takes entries."""

    def offer(self, entry: Entry, size: int) -> None:
        """Take an entry with so many characters, or count why not."""
        ...


@dataclass(slots=True)
class Pending(Entry):
    """An entry of which the columns are known, and where its line is."""

    path: str = ""
    index: int = 0  # of the row in the part


class Piece(NamedTuple):
    """Rows of a part that may belong to a window, and how many others were what."""

    counts: Counter[str]
    rows: pa.Table  # the columns `NAMES`, and the size of each line in characters
    indices: list[int]  # of these rows in the part

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Return these rows alone: a pickle of a slice has all that was read."""
        import pyarrow as pa

        sent = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_stream(sent, self.rows.schema, options=options) as stream:
            stream.write_table(self.rows)
        return _received, (self.counts, sent.getvalue().to_pybytes(), self.indices)


def id_hash(row_id: str) -> int:
    """Return 32 bits of an id, the same on every machine."""
    digest = hashlib.blake2b(row_id.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")


def below(max_hash: int, ids: Sequence[str]) -> Sequence[int]:
    """Return which of these ids have a smaller hash."""
    if max_hash == EVERY:
        return range(len(ids))
    return [n for n, row_id in enumerate(ids) if id_hash(row_id) < max_hash]


def pieces(
    path: str, opened: Opened, by_arrival: bool, thinned: Thinned
) -> Iterator[Piece | None]:
    """Yield a part by pieces, in its order; None if it lacks the columns.

    Such a part is not one of ours. ``thinned`` is asked once for each piece.

    Raises:
        ProductionDataError: the part cannot be read.
    """
    first = 0
    for batch in _batches(path, opened):
        if batch is None:
            yield None
            return
        counts = Counter(lines=len(batch))
        ids = batch["id"].to_pylist()
        chosen = (_arrived if by_arrival else _timed)(batch, ids, counts)
        looked_at = thinned([ids[n] for n in chosen])
        if left_out := len(chosen) - len(looked_at):
            counts["not looked at"] = left_out
        rows = [chosen[n] for n in looked_at]
        yield Piece(counts, _taken(batch, rows), [first + n for n in rows])
        first += len(batch)


def offer(
    path: str,
    content: Iterable[Piece | None],
    kept: Kept,
    counts: Counter[str],
    by_arrival: bool,
) -> bool:
    """Offer each row of a part's pieces, and count the others; False if it has none.

    Raises:
        ProductionDataError: the part cannot be read.
    """
    for piece in content:
        if piece is None:
            return False
        counts.update(piece.counts)
        try:
            for row, size in _rows(piece, by_arrival):
                row.path = path
                kept.offer(row, size)
        except (TypeError, ValueError) as error:
            raise _changed(path) from error
    return True


def entries_of(
    path: str, opened: Opened, indices: Sequence[int]
) -> Iterator[Entry | None]:
    """Yield what the lines of these rows of a part are, which ascend.

    Raises:
        ProductionDataError: the part cannot be read.
    """
    return map(parse, _lines(path, opened, indices))


def filled(entries: list[Entry], load: Load) -> tuple[list[Entry], int]:
    """Return the entries as their lines have them, and how many lines are none now.

    Raises:
        ProductionDataError: a part cannot be read, or a line is not that of its row.
    """
    complete, corrupt = list[Entry](), 0
    pending = (entry for entry in entries if isinstance(entry, Pending))
    by_part = groupby(pending, lambda row: row.path)
    lookups = ((path, [row.index for row in rows]) for path, rows in by_part)
    lines = chain.from_iterable(load(lookups))
    for row in entries:
        if not isinstance(row, Pending):
            complete.append(row)
        elif (entry := next(lines, GONE)) is None:  # to an earlier machinery it was one
            corrupt += 1
        elif entry is GONE or not _is_line_of(row, entry):  # of another part now
            raise _changed(row.path)
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


def _taken(batch: pa.Table, chosen: list[int]) -> pa.Table:
    """Return the columns of some rows, with the size of each line."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = pa.array(chosen, pa.int64())  # of none, too
    taken = batch.take(rows) if len(chosen) < len(batch) else batch
    if "size" in taken.column_names:
        return taken
    sizes = pc.utf8_length(taken["line"])
    return taken.select(NAMES).append_column("size", sizes)


def _received(counts: Counter[str], rows: bytes, indices: list[int]) -> Piece:
    """Return a piece that another process has read."""
    import pyarrow as pa

    return Piece(counts, pa.ipc.open_stream(rows).read_all(), indices)


def _rows(piece: Piece, by_arrival: bool) -> Iterator[tuple[Pending, int]]:
    """Yield rows of a piece, each with the size of its line."""
    columns = [piece.rows[name].to_pylist() for name in (*NAMES, "size")]
    for n, row_id, time, logged_at, sha256, size in zip(
        piece.indices, *columns, strict=True
    ):
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


def _lines(path: str, opened: Opened, indices: Sequence[int]) -> Iterator[str]:
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

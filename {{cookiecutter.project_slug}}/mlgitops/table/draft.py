"""The typed file, written in the one reading of the file, as the first rows suggest.

Which types and roles the columns have is certain only once all rows are read, but
mostly the first rows tell it already. So the typed file is drafted in that reading,
beside what is asked of later. The draft stands if the whole table asks for the same
columns by the same SQL; else the file is written anew, from what was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlgitops.table.columnar import as_read, group_rows, values
from mlgitops.table.drawn import Drawn
from mlgitops.table.engine import Table, quoted
from mlgitops.table.look import Look

DRAWN = "drawn"  # the hash of a row's id; beside what is asked of
LINE = "line"  # the hash of a few typed values of a row; beside what is asked of
FEW = 4  # such values: rows that differ in them need no look at the others
EXACT = 12  # letters of a number, in the mean, of which no compression makes fewer
BATCH = 65_536  # values that are encoded together
REPEATED = 0.5  # of the first values that differ, at most: then a dictionary is shorter
Pairs = Sequence[tuple[str, str]]  # the name and the SQL of each column to write


class NotFiniteError(Exception):
    """A number is infinite or NaN: its text has to be told."""


@dataclass(frozen=True)
class Draft:
    """A typed file, and the SQL that it was written with."""

    path: Path
    pairs: tuple[tuple[str, str], ...]
    sample: Any  # Arrow table of the rows to look at one by one
    only: Mapping[int, int]  # columns that stand nowhere else: their index in the file


def drafted(
    table: Table,
    look: Look,
    pairs: Pairs,
    nulls: Sequence[str],
    path: Path,
    typed: Path,
) -> Table:
    """Return the table as `columnar.stored` does, and write its typed file as well.

    Numbers with fractions stand in the typed file only, if it takes them as they are.

    Raises:
        NotFiniteError: a number is not finite.
        duckdb.Error: a value is not a number, or the file cannot be read.
        pyarrow.ArrowException: the same, in the midst of the file.
    """
    batch = values(as_read(table, look.numbers, nulls), look, look.numbers)
    order = {sql: index for index, (_, sql) in enumerate(pairs)}
    numbers = [n for n in look.numbers if look.fraction[n] and f"c{n}" in order]
    only = {n: order[f"c{n}"] for n in numbers}
    extra = [name for name in batch.columns if name not in {f"c{n}" for n in only}]
    typed_as = [f"f{index}" for index in range(len(pairs))]
    expressions = [f"{sql} as f{index}" for index, (_, sql) in enumerate(pairs)]
    inner = f"select {', '.join([*extra, *expressions])} from ({batch.sql})"
    telling = [typed_as[index] for index in only.values()][:FEW] or typed_as[1:]
    selected = [f"hash(f0) as {DRAWN}", *extra, f"{line(telling)} as {LINE}"]
    selected += typed_as
    rows = group_rows(len(selected))
    sql = f"select {', '.join(selected)} from ({inner})"
    firsts = enumerate(look.first)
    repeated = [n for n, few in firsts if len(set(few)) <= REPEATED * len(few)]
    path.parent.mkdir(parents=True, exist_ok=True)
    batches = table.stream("Reading", sql, rows)
    beside, as_is = (DRAWN, *extra, LINE), (DRAWN, LINE)
    first = File(path, beside, tuple(f"c{n}" for n in repeated), as_is)
    short = tuple(table.names[n] for n in repeated)
    dense = tuple(table.names[n] for n in only if _is_dense(look.first[n]))
    second = File(typed, tuple(name for name, _ in pairs), short, dense)
    sample = _split(pieces(batches, rows), first, second)
    relation = f"read_parquet({quoted(path)})"
    draft = Draft(typed, tuple(pairs), sample, only)
    return replace(table, relation=relation, odd=batch.odd, draft=draft)


def _is_dense(values: Sequence[str]) -> bool:
    """Tell whether numbers have so many digits that compression makes none fewer.

    zstd and snappy take their time to find that out.
    """
    return sum(map(len, values)) >= EXACT * len(values)


def line(columns: Iterable[str]) -> str:
    """Return the expression that tells rows apart which differ in these columns."""
    return f"hash({', '.join(columns)})"


@dataclass(frozen=True)
class File:
    """A Parquet file to write."""

    path: Path
    names: tuple[str, ...]
    dictionaries: tuple[str, ...]  # columns whose values are worth a dictionary
    dense: tuple[str, ...] = ()  # columns that are not worth compression


def pieces(batches: Iterable[Any], rows: int) -> Iterator[Any]:
    """Yield Arrow tables of so many rows each, the last one of fewer.

    The bytes of a file do not depend on where the batches that came broke off.
    """
    import pyarrow as pa

    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        while sum(part.num_rows for part in held) >= rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, rows).combine_chunks()
            held = table.slice(rows).to_batches()
    if held:
        yield pa.Table.from_batches(held).combine_chunks()


def _split(tables: Iterable[Any], extra: File, typed: File) -> Any:
    """Write the columns of tables to two files; the first of all hashes the ids.

    One table is written while the next one is read.

    Returns:
        The sample of the second file's rows that this column draws.
    """
    drawn, writers = Drawn(), dict[File, Any]()
    parts = {extra: slice(len(extra.names)), typed: slice(len(extra.names), None)}

    def write(table: Any) -> None:
        for file, which in parts.items():
            part = table.select(table.column_names[which]).rename_columns(file.names)
            _check(part)
            if file not in writers:
                writers[file] = stack.enter_context(_writer(file, part.schema))
            writers[file].write_table(part, row_group_size=max(1, part.num_rows))
        drawn.add(part, table[0])

    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        writing: Future[None] | None = None
        for table in tables:
            if writing:
                writing.result()
            writing = pool.submit(write, table)
        if writing:
            writing.result()
    return drawn.table()


def _writer(file: File, schema: Any) -> Any:
    """Return what writes Arrow tables to a file."""
    import pyarrow.parquet as pq

    worth = [name for name in file.dictionaries if name in file.names]
    return pq.ParquetWriter(
        file.path,
        schema,
        compression={n: "none" if n in file.dense else "zstd" for n in file.names},
        use_dictionary=worth,
        write_batch_size=BATCH,
        store_schema=False,
    )


def _check(table: Any) -> None:
    """Refuse numbers that are not finite.

    Raises:
        NotFiniteError: a column has one.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute

    floating = (c for c in table.columns if pa.types.is_floating(c.type))
    for chunk in (chunk for column in floating for chunk in column.chunks):
        if not chunk.null_count:  # numpy does it in half the time
            finite = np.isfinite(chunk.to_numpy()).all()
        else:
            finite = compute.all(compute.is_finite(chunk)).as_py()
        if finite is not None and not finite:  # None: no value
            raise NotFiniteError


def whole(table: Table) -> str:
    """Return the relation that has every column of a table, drafted or not."""
    draft = table.draft
    if draft is None or not draft.only:
        return table.relation
    names = ", ".join(f"f{index}" for index in range(len(draft.pairs)))
    columns = ", ".join(f"f{index} as c{n}" for n, index in draft.only.items())
    typed = f"read_parquet({quoted(draft.path)}) as t({names})"
    return f"({table.relation} positional join (select {columns} from {typed}))"

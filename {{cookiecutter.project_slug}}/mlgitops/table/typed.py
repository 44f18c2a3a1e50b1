"""Writes the one typed Parquet file of a table, and reads back what is in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlgitops.table.columnar import grouped
from mlgitops.table.draft import LINE, line, whole
from mlgitops.table.drawn import highest
from mlgitops.table.engine import Table, filled, quoted, same_but_case
from mlgitops.table.guess import Guess
from mlgitops.table.roles import ROW, Roles
from mlgitops.table.target import Target

if TYPE_CHECKING:
    import pandas as pd

HOLDOUT = 0.2  # of the rows
ADDED = 10  # values; of fewer, as 1, 1 and 2, one is the sum of others by chance


@dataclass(frozen=True)
class Measured:
    """What is in the file that was written."""

    rows: int
    categories: dict[str, list[tuple[str, int]]]  # with their rows, most first
    duplicates: int  # rows that repeat another in all but the id
    sample: pd.DataFrame
    span: tuple[Any, Any] | None = None  # the first and the last time
    holdout_days: float = 0.0
    holdout: int = 0  # rows, about
    held: dict[str, int] = field(default_factory=dict)  # of each class, if by time
    stray: int = 0  # rows so much later than the others that they alone are held out
    groups: int = 0
    longest: dict[str, int] = field(default_factory=dict)  # characters of each text
    total: float | None = None  # the target that is the sum of all others, if one is


def pairs(
    table: Table,
    roles: Roles,
    time: Guess | None,
    inputs: Sequence[Guess],
    target: Target,
) -> list[tuple[str, str]]:
    """Return name and SQL of the columns: id, time, group, part, inputs, target."""
    found = [(roles.id or ROW, "printf('row-%08d', row_number() over ())")]
    if roles.id:
        found = [(roles.id, table.column(roles.id))]
    if time:
        found.append((time.name, time.sql(table.column(time.name))))
    if roles.group:
        found.append((roles.group, table.column(roles.group)))
    if roles.part:
        found.append((roles.part, table.column(roles.part)))
    found += [(guess.name, guess.sql(table.column(guess.name))) for guess in inputs]
    return [*found, (target.name, target.sql)]


def write(
    table: Table, columns: Sequence[tuple[str, str]], unlabelled: int, path: Path
) -> Table:
    """Write the file; return the table, with its draft only if that became the file.

    Where rows are `unlabelled` it does not: they are left out, and so is their number.
    """
    draft = table.draft
    if draft and draft.pairs == tuple(columns) and not unlabelled:
        draft.path.replace(path)
        return table
    names = [name for name, _ in columns]
    listed = ", ".join(f"{sql} as {identifier(name)}" for name, sql in columns)
    present = f"{filled(table.column(names[-1]))} is not null"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.run(
        "Writing",
        f"copy (select {listed} from {whole(table)} where {present}) to "
        f"{quoted(path)} (format parquet, compression zstd, {grouped(len(columns))})",
    )
    if same_but_case(names):
        _rename(path, names)
    return replace(table, draft=None)


def _rename(path: Path, names: list[str]) -> None:
    """Write a file again under these names of its columns, piece by piece."""
    import pyarrow.parquet as pq

    copy = path.with_suffix(".renamed")
    with pq.ParquetFile(path) as source:
        first = source.schema_arrow
        schema = first.empty_table().rename_columns(names).schema
        with pq.ParquetWriter(copy, schema, compression="zstd") as writer:
            for batch in source.iter_batches():
                writer.write_batch(batch.rename_columns(names))
    copy.replace(path)


def identifier(name: str) -> str:
    """Return a name as SQL quotes it."""
    return '"' + name.replace('"', '""') + '"'


def measure(
    table: Table,
    path: Path,
    names: list[str],
    roles: Roles,
    inputs: Sequence[Guess],
    target: Target,
) -> Measured:
    """Return what the file holds."""
    columns = {name: f"c{number}" for number, name in enumerate(names)}
    aliases = ", ".join(columns.values())
    source = f"read_parquet({quoted(path)}) as t({aliases})"

    def ask(step: str, sql: str) -> list[tuple[Any, ...]]:
        return table.run(step, f"{sql}")

    rows = int(ask("Counting", f"select count(*) from {source}")[0][0])
    categories = {}
    for guess in inputs:
        if guess.type == "category":
            column = columns[guess.name]
            counted = ask(
                "Counting categories",
                f"select {column}, count(*) from {source} where {column} is not null "
                "group by 1 order by 2 desc, 1",
            )
            categories[guess.name] = [(str(v), int(c)) for v, c in counted]
    longest = {}
    for guess in inputs:
        if guess.type == "text":
            sql = (
                f"select coalesce(max(length({columns[guess.name]})), 0) from {source}"
            )
            longest[guess.name] = int(ask("Measuring texts", sql)[0][0])
    unique = _different(table, path, names, rows)
    sample = _sampled(table, path, names, rows)
    groups = 0
    if roles.group:
        column = columns[roles.group]
        groups = int(
            ask("Groups", f"select count(distinct {column}) from {source}")[0][0]
        )
    timed: dict[str, Any] = {}
    if target.task == "regression":
        timed["total"] = _total(ask, source, columns[target.name])
    if roles.time:
        timed |= _timed(ask, source, columns[roles.time], columns[target.name], target)
    if roles.split == "column":
        listed = ", ".join(quoted(value) for value in roles.held)
        part = f"cast({columns[roles.part]} as varchar) in ({listed})"
        timed |= _held(ask, source, part, columns[target.name], target)
    elif roles.split != "time":
        timed |= {"holdout": round(HOLDOUT * rows)}
    return Measured(
        rows,
        categories,
        rows - unique,
        sample,
        groups=groups,
        longest=longest,
        **timed,
    )


def _total(ask: Any, source: str, value: str) -> float | None:
    """Return the largest target if it is the sum of all others, as below a bill."""
    sql = (
        f"select max({value}), sum({value}), count(*) from {source} where {value} <> 0"
    )
    high, every, count = ask("Looking for a total", sql)[0]
    if count < ADDED or not math.isclose(high, every - high, rel_tol=1e-6):
        return None
    return float(high)


def _different(table: Table, path: Path, names: Sequence[str], rows: int) -> int:
    """Return how many rows differ, id aside.

    Where a few values of each tell them all apart, the file need not be read.
    """
    step = "Looking for duplicates"
    if table.draft:
        sql = f"select count(distinct {LINE}) from {table.relation}"
        if table.run(step, sql)[0][0] == rows:
            return rows
    columns = ", ".join(f"c{number}" for number in range(len(names)))
    hashed = line(f"c{number}" for number in range(1, len(names)))
    source = f"read_parquet({quoted(path)}) as t({columns})"
    return int(table.run(step, f"select count(distinct {hashed}) from {source}")[0][0])


def _sampled(table: Table, path: Path, names: Sequence[str], rows: int) -> pd.DataFrame:
    """Return the rows whose ids have the lowest hashes, in the file's order."""
    columns = ", ".join(f"c{number}" for number in range(len(names)))
    if table.draft:
        table.connection.register("drawn", table.draft.sample)
        sample = table.connection.execute(f"select * from drawn as t({columns})").df()
    else:
        table.run(
            "Sampling",
            f"create or replace temp table looked as select * from read_parquet("
            f"{quoted(path)}, file_row_number = true) as t({columns}, line) "
            f"where hash(c0) <= {highest(rows)}",
        )
        ordered = f"select {columns} from looked order by line"
        sample = table.connection.execute(ordered).df()
    sample.columns = list(names)
    return sample


def _held(
    ask: Any, source: str, condition: str, value: str, target: Target
) -> dict[str, Any]:
    """Return how many rows are held out, and of each class."""
    held = ask(
        "Splitting",
        f"select cast({value} as varchar), count(*) from {source} "
        f"where {condition} group by 1",
    )
    counts = {str(v): int(c) for v, c in held}
    if target.task == "binary":
        names = {"1": target.positive, "0": target.negative}
        counts = {names.get(v, v): c for v, c in counts.items()}
    return {
        "holdout": sum(counts.values()),
        "held": counts if target.task != "regression" else {},
    }


def _timed(
    ask: Any, source: str, time: str, value: str, target: Target
) -> dict[str, Any]:
    """Return the span, and what the newest fifth of the rows is."""
    seconds = f"epoch({time})"
    low, high, cut, late, first, last = ask(
        "Looking at the times",
        f"select min({seconds}), max({seconds}), quantile_disc({seconds}, "
        f"{1 - HOLDOUT}), quantile_disc({seconds}, 0.99), min({time}), max({time}) "
        f"from {source}",
    )[0]
    days = round_up((high - cut) / 86_400 or 0.001)
    border = high - days * 86_400
    stray = 0
    if high - late > late - low:  # the newest 1 % reach further than all others
        far = (high + late) / 2
        stray = int(
            ask(
                "Splitting", f"select count(*) from {source} where {seconds} > {far!r}"
            )[0][0]
        )
    return {
        "span": (first, last),
        "holdout_days": days,
        **_held(ask, source, f"{seconds} > {border!r}", value, target),
        "stray": stray,
    }


def round_up(value: float, digits: int = 2) -> float:
    """Return a number rounded up to some digits; whole from 10 on."""
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    if value >= 10:
        step = max(1.0, step)
    return round(math.ceil(value / step - 1e-9) * step, 6)

"""Compares rows that are numbered with those of an earlier run."""

from __future__ import annotations

from pathlib import Path

from mlgitops.table.engine import connect, quoted
from mlgitops.table.roles import ROW


def moved(earlier: Path, table: Path) -> list[str]:
    """Say that numbers of an earlier table stand for other rows now, if some do."""
    if not earlier.exists():
        return []
    connection = connect(table.parent)
    columns, sources = [], []
    for file, letter in ((earlier, "a"), (table, "b")):
        source = f"read_parquet({quoted(file)})"
        described = connection.execute(f"describe select * from {source}").fetchall()
        aliases = {row[:2]: f"{letter}{n}" for n, row in enumerate(described)}
        columns.append(aliases)
        sources.append(f"{source} as t{letter}({', '.join(aliases.values())})")
    before, now = columns
    pairs = {name: (before[name], now[name]) for name in before if name in now}
    key = pairs.pop((ROW, "VARCHAR"), None)
    if key is None or not pairs:
        return []
    differ = " or ".join(f"{a} is distinct from {b}" for a, b in pairs.values())
    count, rows = connection.execute(
        f"select count(*) filter ({differ}), count(*) from {sources[0]} "
        f"join {sources[1]} on {key[0]} = {key[1]}"
    ).fetchone()
    if not count:
        return []
    return [
        f"{ROW}: {count:,} of {rows:,} numbers stand for another row than before, so "
        "these rows may change sides, and a model may be judged on rows that it was "
        "trained on: add newer rows at the end of the file, or name an ID=column"
    ]

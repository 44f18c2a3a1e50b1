"""A prediction log as it is shipped, of as many rows as a benchmark wants.

DuckDB writes the lines, as a server would take minutes for a million rows. They are
rows of the table that `cost.csv` makes, of the 28 days after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.cost import COLUMNS

PART = 25_000  # rows of a part, about what a busy server ships in a few minutes
GROUP = 20_000  # rows of a row group, as in mlgitops/shipping/parts.py
DAYS = 28
START = "timestamp '2025-01-01'"  # where the table ends
LINE = """
    select printf('c%012d', {first} + i) as id,
        strftime({start} + to_microseconds(cast(({first} + i) * {step} as bigint)),
            '%Y-%m-%dT%H:%M:%S+00:00') as time,
        to_json({{{columns}}}) as row, random() as p
    from range({count}) as t(i)
"""
PARTS = """
    copy (
        select id, time, time as logged_at, '{sha256}' as manifest_sha256,
            'v1.0.0' as version, line, cast(length(line) as int) as size
        from (
            select id, time, printf('{{"id": "%s", "time": "%s", "manifest_sha256": '
                '"{sha256}", "version": "v1.0.0", "probability": %.6f, "decision": %s, '
                '"logged_at": "%s", "row": %s}}' || chr(10),
                id, time, p, case when p > 0.5 then 'true' else 'false' end, time,
                cast(row as varchar)) as line
            from ({lines})
        )
    ) to '{path}' (format parquet, compression zstd, row_group_size {group})
"""


def write(folder: Path, rows: int, kinds: Sequence[str], sha256: str) -> None:
    """Write the parts of a log of so many rows of a version, over 28 days."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("select setseed(0.25)")
    columns = ", ".join(f"'{k}_{n}': {COLUMNS[k]}" for n, k in enumerate(kinds))
    step = DAYS * 86_400_000_000 / rows  # microseconds
    for first in range(0, rows, PART):
        day = f"2025-01-{1 + int(first * step / 86_400_000_000):02}"
        path = folder / f"day={day}" / f"predictions-{day}-{first:012}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        count = min(PART, rows - first)
        facts = {"first": first, "count": count, "step": step, "start": START}
        lines = LINE.format(**facts, columns=columns)
        known = {"sha256": sha256, "path": path, "group": GROUP, "lines": lines}
        connection.execute(PARTS.format(**known))

"""What the data has that the champion's had not."""

from mlgitops.judgement import (
    ColumnChange,
    TargetRate,
    TargetShares,
    TargetSpread,
)
from mlgitops.report.facts import Facts
from mlgitops.report.text import MIXED, code, number, table


def changes(facts: Facts) -> str:
    """What the data has that the champion's had not."""
    found = facts.found.changes
    if found is None:
        return ""
    if found.same:
        return "None: both models come from the same table."
    if found.rows is None or found.target is None:
        return "Not known: the champion's data is not in storage, or fits no more."
    rows = found.rows
    words = (
        f"{rows.champion:,} rows became {rows.challenger:,}: {rows.added:,} "
        f"added, {rows.removed:,} removed, {rows.changed:,} changed. "
        f"{_target(found.target)}\n\n"
    )
    cells = [
        [
            code(column.column),
            number(column.distance),
            " → ".join(f"{share:.1%}" for share in column.missing),
            _fresh(column),
        ]
        for column in sorted(found.columns, key=lambda c: -(c.distance or 0))
    ]
    return words + table(["Column", "Distance", "Missing", "New categories"], cells)


def _target(found: TargetRate | TargetSpread | TargetShares) -> str:
    """How the target went: its rate, its mean and spread, or its classes' shares."""
    if isinstance(found, TargetRate):
        return f"The rate of the target went from {found.old:.1%} to {found.new:.1%}."
    if isinstance(found, TargetSpread):
        (old, new), (spread, wide) = found.mean, found.spread
        return (
            f"The mean of the target went from {old:.4g} to {new:.4g}, its spread from "
            f"{spread:.4g} to {wide:.4g}."
        )
    most = sorted(found.classes, key=lambda row: -abs(row[2] - row[1]))[:MIXED]
    shares = ", ".join(f"{code(n)} {old:.1%} → {new:.1%}" for n, old, new in most)
    return f"The shares of the target: {shares}."


def _fresh(column: ColumnChange) -> str:
    """Return the categories that a column has newly."""
    named = ", ".join(map(code, column.new))
    return f"{column.new_count}: {named}" if named else str(column.new_count or "none")

"""What the data has that the champion's had not."""

from mlgitops.judgement import TargetRate, TargetShares, TargetSpread
from mlgitops.report.facts import Facts
from mlgitops.report.text import code, number, shares, table


def changes(facts: Facts) -> str:
    """What the data has that the champion's had not."""
    changes = facts.judgement.changes
    if changes is None:
        return ""
    if changes.same:
        return "None: both models come from the same table."
    if changes.rows is None or changes.target is None:
        return (
            "Not known: the champion's data is not in storage, or no longer fits the "
            "contract."
        )
    rows, cells = changes.rows, []
    for column in sorted(changes.columns, key=lambda column: -(column.distance or 0)):
        missing = " → ".join(f"{share:.1%}" for share in column.missing)
        categories = str(column.new_count or "none")
        if column.new:
            categories += f": {', '.join(map(code, column.new))}"
        distance = number(column.distance)
        cells.append([code(column.column), distance, missing, categories])
    return (
        f"{rows.champion:,} rows became {rows.challenger:,}: {rows.added:,} "
        f"added, {rows.removed:,} removed, {rows.changed:,} changed. "
        f"{_target(changes.target)}\n\n"
        f"{table(['Column', 'Distance', 'Missing', 'New categories'], cells)}"
    )


def _target(target: TargetRate | TargetSpread | TargetShares) -> str:
    """How the target went: its rate, its mean and spread, or its classes' shares."""
    if isinstance(target, TargetRate):
        return f"The rate of the target went from {target.old:.1%} to {target.new:.1%}."
    if isinstance(target, TargetSpread):
        (old, new), (old_spread, new_spread) = target.mean, target.spread
        return (
            f"The mean of the target went from {old:.4g} to {new:.4g}, "
            f"its spread from {old_spread:.4g} to {new_spread:.4g}."
        )
    moved = sorted(target.classes, key=lambda row: -abs(row[2] - row[1]))
    return f"The shares of the target: {shares(moved)}."

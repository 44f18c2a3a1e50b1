"""Where the challenger does worse, and how alike groups are treated."""

from mlgitops.judgement import Fairness
from mlgitops.report import plots
from mlgitops.report.facts import Facts
from mlgitops.report.sections import mitigation
from mlgitops.report.text import code, interval, number, table, text

ODDS = "true positive rate"


def slices(facts: Facts) -> str:
    """Where the challenger does worst, of all that was looked at."""
    slices = facts.judgement.slices
    if not slices or not slices.rows:
        return ""
    header = ["Slice", "Rows", "Champion", "Challenger", "Difference", "Interval"]
    rows = [
        [
            f"{text(row.column)}: {text(row.value)}",
            f"{row.rows:,}",
            *map(number, (row.champion, row.challenger)),
            number(row.difference, "+"),
            ("⛔ significantly worse, " if row.failed else "") + interval(row),
        ]
        for row in slices.rows
    ]
    if all(row.champion is None for row in slices.rows):
        header, rows = (
            ["Slice", "Rows", "Challenger"],
            [[*row[:2], row[3]] for row in rows],
        )
    return (
        f"The worst {len(rows)} of {slices.looked_at} slices by {text(slices.metric)} "
        f"(lower is better).\n\n{table(header, rows)}"
    )


def slices_plot(facts: Facts) -> str:
    """The difference in every slice that is listed, on one scale."""
    if not (slices := facts.judgement.slices):
        return ""
    rows = [
        plots.Interval(
            f"{row.column}: {row.value}",
            (row.low, row.difference, row.high),
            f"{row.difference:+.4f}, {row.rows:,} rows",
            row.failed,
        )
        for row in slices.rows
        if row.low is not None and row.difference is not None and row.high is not None
    ]
    across = f"{slices.metric}: challenger minus champion; right is worse"
    return plots.intervals(rows, across)


def fairness(facts: Facts) -> str:
    """How alike groups are treated, column by column."""
    columns = facts.judgement.fairness
    parts = [part for column in columns for part in _column(column)]
    if any(gap.rate == ODDS for column in columns for gap in column.gaps):
        parts.append(
            "The equalized odds difference is the larger gap of the true and the false "
            "positive rate."
        )
    if part := mitigation.mitigation(facts):
        parts.append(part)
    return "\n\n".join(parts)


def _column(column: Fairness) -> list[str]:
    """Return the rates of a column's groups, and the gaps between them."""
    alone = column.groups[0].champion is None
    first, *rest = map(text, column.rates)
    header = ["Group", "Rows"]
    for model in ("challenger",) if alone else ("champion", "challenger"):
        header += [f"{model}: {first}", *rest]
    groups = []
    for group in column.groups:
        rates = map(number, [*(group.champion or []), *group.challenger])
        groups.append([code(group.group), f"{group.rows:,}", *rates])
    gaps = [
        [
            text(gap.rate),
            *([] if alone else [number(gap.champion)]),
            number(gap.challenger),
            interval(gap),
            f"{gap.limit:g}",
            " above ".join(map(code, gap.pair)),
        ]
        for gap in column.gaps
    ]
    models = ["Challenger"] if alone else ["Champion", "Challenger"]
    columns = ["Gap", *models, "Interval", "Limit", "Between"]
    return [f"{code(column.column)}\n\n{table(header, groups)}", table(columns, gaps)]

"""How well the models do: metrics, calibration, ROC curve, residuals."""

from collections.abc import Iterator, Sequence

from mlgitops.judgement import Bin, Curves
from mlgitops.report import charts, plots
from mlgitops.report.facts import Facts
from mlgitops.report.text import interval, label, number, signed, table, text

GRID = [n / 10 for n in range(11)]  # false positive rates at which ROC is drawn
FEWEST = 30  # rows of a point that is drawn; the table has all


def metrics(facts: Facts) -> str:
    """Every metric, champion beside challenger, on the same rows."""
    found = facts.found
    rows = [
        [
            text(m.label),
            number(m.champion),
            number(m.challenger),
            signed(m.difference),
            interval(m),
            m.better,
        ]
        for m in found.metrics
    ]
    if not rows:
        return ""
    header = ["Metric", "Champion", "Challenger", "Difference", "Interval"]
    words = _methods(facts)
    if power := found.power:
        words += (
            f"\n\nA true difference of {power.smallest:.4f} in {label(facts)} "
            f"would have shown on these rows {power.power:.0%} of the time; a "
            "smaller one may be there."
        )
    if facts.uses:
        words += f" This holdout has decided on {facts.uses} models, this one included."
    return table([*header, "Better when"], rows) + words


def _methods(facts: Facts) -> str:
    """How the intervals were found, and whose rows count as one in them."""
    found = dict[str, list[str]]()
    for metric in facts.found.metrics:
        if metric.method:
            found.setdefault(metric.method, []).append(text(metric.label))
    if not found:
        return ""
    each = "; ".join(f"{method} for {', '.join(of)}" for method, of in found.items())
    if entity := facts.found.entity:
        name = text(entity.column, 40)
        each += f". All are by {name}: the rows of each of {entity.count:,} count as "
        each += "one"
    return f"\n\nIntervals: {each}."


def metrics_plot(facts: Facts) -> str:
    """The difference of every metric with its interval, each on a scale of its own."""
    rows = [
        plots.Interval(
            m.label,
            m.low,
            m.difference,
            m.high,
            f"{m.difference:+.4f}",
            m.high < 0 if m.better == "higher" else m.low > 0,
        )
        for m in facts.found.metrics
        if m.low is not None and m.difference is not None and m.high is not None
    ]
    across = "challenger minus champion, each row on a scale of its own"
    return plots.intervals(rows, across, shared=False)


def calibration(facts: Facts) -> str:
    """Predicted against observed share: both models, drawn and as a table."""
    sides = {
        who: {bin.low: bin for bin in curves.calibration}
        for who, curves in _curves(facts)
        if curves.calibration
    }
    if not sides.get("challenger"):
        return ""
    lows = sorted(set().union(*sides.values()))
    whole = {low: next(s[low] for s in sides.values() if low in s) for low in lows}
    header = ["Predicted"]
    for who in sides:
        header += [f"{who}: rows", "predicted", "observed"]
    rows = [
        [
            _span(whole[low]),
            *(cell for s in sides.values() for cell in _bin(s.get(low))),
        ]
        for low in lows
    ]
    shared = [low for low in lows if all(low in side for side in sides.values())]
    chart = ""
    if len(shared) > 1:  # mermaid's lines have no gaps
        first = sides["challenger"]
        ideal = [(first[low].low + first[low].high) / 2 for low in shared]
        drawn = {w: [s[low].observed for low in shared] for w, s in sides.items()}
        labels = [_span(first[low]) for low in shared]
        axes = ("Calibration", "probability predicted", "share observed")
        chart = charts.lines(*axes, labels, {"ideal": ideal, **drawn})
    return chart + table(header, rows)


def _span(bin: Bin) -> str:
    """Return the limits of a bin."""
    return f"{bin.low:.1f} to {bin.high:.1f}"


def _bin(bin: Bin | None) -> list[str]:
    """Return the cells of a bin that may be empty."""
    if bin is None:
        return ["0", "none", "none"]
    return [f"{bin.rows:,}", f"{bin.predicted:.3f}", f"{bin.observed:.3f}"]


def calibration_plot(facts: Facts) -> str:
    """Predicted probability against the share observed."""
    series = {
        who: [(b.predicted, b.observed) for b in curves.calibration if b.rows >= FEWEST]
        for who, curves in _curves(facts)
        if curves.calibration
    }
    axes = (f"probability predicted, {FEWEST} rows or more", "share observed")
    return plots.lines(*axes, _beside("ideal", series), whole=True)


def roc(facts: Facts) -> str:
    """True against false positive rate: both models, drawn and as a table."""
    values = {
        who: [charts.at(curves.roc, x) for x in GRID]
        for who, curves in _curves(facts)
        if curves.roc
    }
    if not values:
        return ""
    labels = [f"{x:.1f}" for x in GRID]
    axes = ("ROC", "false positive rate", "true positive rate")
    rows = [
        [label, *(f"{line[n]:.3f}" for line in values.values())]
        for n, label in enumerate(labels)
    ]
    chart = charts.lines(*axes, labels, {"chance": GRID, **values})
    header = ["False positive rate", *(f"{who}: true positive rate" for who in values)]
    return chart + table(header, rows)


def roc_plot(facts: Facts) -> str:
    """All points of the curves."""
    series = {who: curves.roc for who, curves in _curves(facts) if curves.roc}
    axes = ("false positive rate", "true positive rate")
    return plots.lines(*axes, _beside("chance", series), whole=True)


def residuals(facts: Facts) -> str:
    """The truth minus the answer, by the answer: both models, drawn and as a table."""
    found = {
        who: curves.residuals for who, curves in _curves(facts) if curves.residuals
    }
    if not found:
        return ""
    count = min(map(len, found.values()))
    values = {who: [row.mean for row in rows][:count] for who, rows in found.items()}
    labels = [f"{n + 1} of {count}" for n in range(count)]
    axes = ("Residuals", "rows by their answer, lowest first", "truth minus answer")
    chart = charts.lines(*axes, labels, {"ideal": [0.0] * count, **values})
    rows = [
        [
            who,
            f"{row.low:.4g} to {row.high:.4g}",
            f"{row.rows:,}",
            f"{row.mean:+.4g}",
            f"{row.p10:+.4g} to {row.p90:+.4g}",
        ]
        for who, each in found.items()
        for row in each
    ]
    header = ["Model", "Answer", "Rows", "Mean residual", "10 % to 90 %"]
    return (chart if count > 1 else "") + table(header, rows)


def residuals_plot(facts: Facts) -> str:
    """The mean residual, by the answer."""
    series = {
        who: [((row.low + row.high) / 2, row.mean) for row in curves.residuals]
        for who, curves in _curves(facts)
        if curves.residuals
    }
    return plots.lines("answer", "truth minus answer", series)


def _curves(facts: Facts) -> Iterator[tuple[str, Curves]]:
    """Give each model's curves, where something was measured."""
    if facts.found.curves:
        yield from facts.found.curves.items()


def _beside(
    name: str, series: dict[str, list[plots.Point]]
) -> dict[str, Sequence[plots.Point]]:
    """Return the curves after their line of reference, if there are any."""
    return {name: [(0.0, 0.0), (1.0, 1.0)], **series} if series else {}

"""How well the models do: metrics, calibration, ROC curve, residuals."""

from mlgitops.judgement import Bin
from mlgitops.report import charts, plots
from mlgitops.report.facts import Facts
from mlgitops.report.text import interval, number, primary_label, table, text

GRID = [n / 10 for n in range(11)]  # false positive rates at which ROC is drawn
FEWEST = 30  # rows of a point that is drawn; the table has all


def metrics(facts: Facts) -> str:
    """Every metric, champion beside challenger, on the same rows."""
    results = facts.judgement.metrics
    if not results:
        return ""
    if all(metric.champion is None for metric in results):
        header = ["Metric", "Challenger", "Better when"]
        alone = ([text(m.label), number(m.challenger), m.better] for m in results)
        return table(header, alone) + _uses(facts)
    rows = (
        [
            text(metric.label),
            *map(number, (metric.champion, metric.challenger)),
            number(metric.difference, "+"),
            interval(metric),
            metric.better,
        ]
        for metric in results
    )
    header = ["Metric", "Champion", "Challenger", "Difference", "Interval"]
    notes = _methods(facts)
    if power := facts.judgement.power:
        notes += (
            f"\n\nA true difference of {power.smallest:.4f} in {primary_label(facts)} "
            f"would have shown on these rows {power.power:.0%} of the time; a "
            "smaller one may be there."
        )
    return table([*header, "Better when"], rows) + notes + _uses(facts)


def _uses(facts: Facts) -> str:
    """How often these rows have decided."""
    if not facts.uses:
        return ""
    return f"\n\nThis holdout has decided on {facts.uses} models, this one included."


def _methods(facts: Facts) -> str:
    """How the intervals were found, and whose rows count as one in them."""
    labels = dict[str, list[str]]()
    for metric in facts.judgement.metrics:
        if metric.method:
            labels.setdefault(metric.method, []).append(text(metric.label))
    if not labels:
        return ""
    methods = "; ".join(f"{m} for {', '.join(names)}" for m, names in labels.items())
    if entity := facts.judgement.entity:
        methods += f". All are by {text(entity.column, 40)}: the rows of each of "
        methods += f"{entity.count:,} count as one"
    return f"\n\nIntervals: {methods}."


def metrics_plot(facts: Facts) -> str:
    """The difference of every metric with its interval, each on a scale of its own."""
    rows = [
        plots.Interval(
            m.label,
            (m.low, m.difference, m.high),
            f"{m.difference:+.4f}",
            m.high < 0 if m.better == "higher" else m.low > 0,
        )
        for m in facts.judgement.metrics
        if m.low is not None and m.difference is not None and m.high is not None
    ]
    across = "challenger minus champion, each row on a scale of its own"
    return plots.intervals(rows, across, shared=False)


def calibration(facts: Facts) -> str:
    """Predicted against observed share: both models, drawn and as a table."""
    curves = facts.by_model(lambda curves: curves.calibration)
    models = {name: {bin.low: bin for bin in bins} for name, bins in curves.items()}
    if "challenger" not in models:
        return ""
    header, rows, shared = ["Predicted"], [], []
    for name in models:
        header += [f"{name}: rows", "predicted", "observed"]
    for low in sorted(set().union(*models.values())):
        bins = [bins.get(low) for bins in models.values()]
        span = next(f"{bin.low:.1f} to {bin.high:.1f}" for bin in bins if bin)
        rows.append([span, *(cell for bin in bins for cell in _cells(bin))])
        if all(bins):  # mermaid's lines have no gaps
            shared.append((low, span))
    chart = ""
    if len(shared) > 1:
        drawn = {
            "ideal": [(low + models["challenger"][low].high) / 2 for low, _ in shared]
        }
        for name, by_low in models.items():
            drawn[name] = [by_low[low].observed for low, _ in shared]
        axes = ("Calibration", "probability predicted", "share observed")
        chart = charts.lines(*axes, [span for _, span in shared], drawn)
    return chart + table(header, rows)


def _cells(bin: Bin | None) -> list[str]:
    """Return the cells of a bin that may be empty."""
    if bin is None:
        return ["0", "none", "none"]
    return [f"{bin.rows:,}", f"{bin.predicted:.3f}", f"{bin.observed:.3f}"]


def calibration_plot(facts: Facts) -> str:
    """Predicted probability against the share observed."""
    points = {
        name: [(bin.predicted, bin.observed) for bin in bins if bin.rows >= FEWEST]
        for name, bins in facts.by_model(lambda curves: curves.calibration).items()
    }
    axes = (f"probability predicted, {FEWEST} rows or more", "share observed")
    return plots.lines(*axes, plots.of_models(points, "ideal"), shares=True)


def roc(facts: Facts) -> str:
    """True against false positive rate: both models, drawn and as a table."""
    heights = {
        name: [charts.height(curve, x) for x in GRID]
        for name, curve in facts.by_model(lambda curves: curves.roc).items()
    }
    if not heights:
        return ""
    labels = [f"{x:.1f}" for x in GRID]
    columns = ([f"{y:.3f}" for y in line] for line in heights.values())
    axes = ("ROC", "false positive rate", "true positive rate")
    chart = charts.lines(*axes, labels, {"chance": GRID, **heights})
    header = [
        "False positive rate",
        *(f"{name}: true positive rate" for name in heights),
    ]
    return chart + table(header, zip(labels, *columns, strict=True))


def roc_plot(facts: Facts) -> str:
    """All points of the curves."""
    points = facts.by_model(lambda curves: curves.roc)
    axes = ("false positive rate", "true positive rate")
    return plots.lines(*axes, plots.of_models(points, "chance"), shares=True)


def residuals(facts: Facts) -> str:
    """The truth minus the prediction, by the prediction: drawn and as a table."""
    models = facts.by_model(lambda curves: curves.residuals)
    if not models:
        return ""
    count = min(map(len, models.values()))
    means = {name: [bin.mean for bin in bins][:count] for name, bins in models.items()}
    labels = [f"{n + 1} of {count}" for n in range(count)]
    axes = ("Residuals", "rows by prediction, lowest first", "truth minus prediction")
    chart = charts.lines(*axes, labels, {"ideal": [0.0] * count, **means})
    rows = [
        [
            name,
            f"{bin.low:.4g} to {bin.high:.4g}",
            f"{bin.rows:,}",
            f"{bin.mean:+.4g}",
            f"{bin.p10:+.4g} to {bin.p90:+.4g}",
        ]
        for name, bins in models.items()
        for bin in bins
    ]
    header = ["Model", "Prediction", "Rows", "Mean residual", "10 % to 90 %"]
    return (chart if count > 1 else "") + table(header, rows)


def residuals_plot(facts: Facts) -> str:
    """The mean residual, by the prediction."""
    points = {
        name: [((bin.low + bin.high) / 2, bin.mean) for bin in bins]
        for name, bins in facts.by_model(lambda curves: curves.residuals).items()
    }
    axes = ("prediction", "truth minus prediction")
    return plots.lines(*axes, plots.of_models(points))

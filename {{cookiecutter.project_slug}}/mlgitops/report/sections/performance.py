"""How well the models do: measures, calibration, curves, what is left over."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlgitops.report import charts
from mlgitops.report.text import interval, label, number, table, text

Facts = Mapping[str, Any]
GRID = [n / 10 for n in range(11)]  # false positive rates at which ROC is drawn


def measures(facts: Facts) -> str:
    """Every metric, champion beside challenger, on the same rows."""
    rows = [
        [
            text(m["name"]),
            number(m["champion"]),
            number(m["challenger"]),
            f"{m['difference']:+.4f}" if m.get("difference") is not None else "none",
            interval(m),
            m["better"],
        ]
        for m in facts.get("metrics") or []
    ]
    if not rows:
        return ""
    header = ["Metric", "Champion", "Challenger", "Difference", "Interval"]
    words = _methods(facts)
    if power := facts.get("power"):
        words += (
            f"\n\nA true difference of {power['smallest']:.4f} in {label(facts)} "
            f"would have shown on these rows {power['power']:.0%} of the time; a "
            "smaller one may be there."
        )
    if uses := facts.get("uses"):
        words += f" This holdout has decided on {uses} models, this one included."
    return table([*header, "Better when"], rows) + words


def _methods(facts: Facts) -> str:
    """How the intervals were found, and whose rows count as one in them."""
    head, found = facts.get("headline") or {}, dict[str, list[str]]()
    for metric in facts.get("metrics") or []:
        if method := metric.get("method"):
            own = head.get("method") if metric.get("key") == head.get("metric") else ""
            found.setdefault(own or method, []).append(text(metric["name"]))
    if not found:
        return ""
    each = "; ".join(f"{method} for {', '.join(of)}" for method, of in found.items())
    if entity := facts.get("entity"):
        name = text(entity["column"], 40)
        each += (
            f". All are by {name}: the rows of each of {entity['count']:,} count as "
        )
        each += "one"
    return f"\n\nIntervals: {each}."


def calibration(bins: Mapping[str, Sequence[Facts]] | None) -> str:
    """Predicted against observed share: both models, drawn and as a table."""
    sides = {who: {r["low"]: r for r in rows} for who, rows in (bins or {}).items()}
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
        ideal = [(first[low]["low"] + first[low]["high"]) / 2 for low in shared]
        drawn = {w: [s[low]["observed"] for low in shared] for w, s in sides.items()}
        labels = [_span(first[low]) for low in shared]
        axes = ("Calibration", "probability predicted", "share observed")
        chart = charts.lines(*axes, labels, {"ideal": ideal, **drawn})
    return chart + table(header, rows)


def _span(row: Facts) -> str:
    """Return the limits of a bin."""
    return f"{row['low']:.1f} to {row['high']:.1f}"


def _bin(row: Facts | None) -> list[str]:
    """Return the cells of a bin that may be empty."""
    if row is None:
        return ["0", "none", "none"]
    return [f"{row['rows']:,}", f"{row['predicted']:.3f}", f"{row['observed']:.3f}"]


def roc(curves: Mapping[str, Sequence[Sequence[float]]] | None) -> str:
    """True against false positive rate: both models, drawn and as a table."""
    if not curves:
        return ""
    values = {who: [charts.at(c, x) for x in GRID] for who, c in curves.items()}
    labels = [f"{x:.1f}" for x in GRID]
    axes = ("ROC", "false positive rate", "true positive rate")
    rows = [
        [label, *(f"{line[n]:.3f}" for line in values.values())]
        for n, label in enumerate(labels)
    ]
    chart = charts.lines(*axes, labels, {"chance": GRID, **values})
    header = ["False positive rate", *(f"{who}: true positive rate" for who in values)]
    return chart + table(header, rows)


def residuals(found: Mapping[str, Sequence[Facts]] | None) -> str:
    """The truth minus the answer, by the answer: both models, drawn and as a table."""
    if not found:
        return ""
    count = min(map(len, found.values()))
    values = {who: [row["mean"] for row in rows][:count] for who, rows in found.items()}
    labels = [f"{n + 1} of {count}" for n in range(count)]
    axes = ("Left over", "rows by their answer, lowest first", "truth minus answer")
    chart = charts.lines(*axes, labels, {"ideal": [0.0] * count, **values})
    rows = [
        [
            who,
            f"{row['low']:.4g} to {row['high']:.4g}",
            f"{row['rows']:,}",
            f"{row['mean']:+.4g}",
            f"{row['p10']:+.4g} to {row['p90']:+.4g}",
        ]
        for who, each in found.items()
        for row in each
    ]
    header = ["Model", "Answer", "Rows", "Mean left over", "10 % to 90 %"]
    return (chart if count > 1 else "") + table(header, rows)

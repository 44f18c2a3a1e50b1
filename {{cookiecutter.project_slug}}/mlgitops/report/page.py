"""The same report as one HTML file: nothing is cut, plots are drawn, nothing is loaded.

Same facts, same order as the comment. No script, and a policy that allows none: what a
stranger wrote is inert twice.
"""

import re
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from mlgitops.report import plots
from mlgitops.report.render import foot, head
from mlgitops.report.sections import sections
from mlgitops.report.text import details

Facts = Mapping[str, Any]
STYLE = Path(__file__).with_name("page.css")
CHART = re.compile(r"^```mermaid\n.*?^```\n+", re.M | re.S)
FEWEST = 30  # rows of a point that is drawn; the table has all
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write(facts: Facts) -> Path:
    """Write the file to where `validate` hands it over from; return its path."""
    file = Path("build", "report.html")
    file.parent.mkdir(exist_ok=True)
    file.write_text(page(facts), encoding="utf-8")
    return file


def page(facts: Facts) -> str:
    """Return the whole file."""
    text = [part.replace("[!CAUTION]", "**⚠ Caution**<br>") for part in head(facts)]
    text += [
        details(title, _plot(title, facts) + CHART.sub("", body))
        for title, body in sections(facts)
        if body
    ]
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    body = markdown.render("\n\n".join([*text, foot(facts)]))
    number = facts.get("pull_request")
    title = f"Validation report{f' of #{number}' if number else ''}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE.read_text()}</style>\n</head>\n"
        f"<body><main>\n{body}</main></body>\n</html>\n"
    )


def _plot(title: str, facts: Facts) -> str:
    """Return the plots of a section, or nothing."""
    draw = PLOTS.get(title)
    return draw(facts) if draw else ""


def _metrics(facts: Facts) -> str:
    """The difference of every metric with its interval, each on a scale of its own."""
    rows = [
        plots.Interval(
            str(m["name"]),
            m["low"],
            m["difference"],
            m["high"],
            f"{m['difference']:+.4f}",
            m["high"] < 0 if m["better"] == "higher" else m["low"] > 0,
        )
        for m in facts.get("metrics") or []
        if m.get("low") is not None
    ]
    across = "challenger minus champion, each row on a scale of its own"
    return plots.intervals(rows, across, shared=False)


def _slices(facts: Facts) -> str:
    """The difference in every slice that is listed, on one scale."""
    found = facts.get("slices") or {}
    rows = [
        plots.Interval(
            f"{r['column']}: {r['value']}",
            r["low"],
            r["difference"],
            r["high"],
            f"{r['difference']:+.4f}, {r['rows']:,} rows",
            bool(r.get("failed")),
        )
        for r in found.get("rows", [])
        if r.get("low") is not None
    ]
    across = f"{found.get('metric', '')}: challenger minus champion; right is worse"
    return plots.intervals(rows, across)


def _calibration(facts: Facts) -> str:
    """Predicted probability against the share observed."""
    series = _diagonal("ideal", facts.get("calibration")) | {
        who: [(r["predicted"], r["observed"]) for r in rows if r["rows"] >= FEWEST]
        for who, rows in (facts.get("calibration") or {}).items()
    }
    return plots.lines(
        f"probability predicted, {FEWEST} rows or more",
        "share observed",
        series,
        whole=True,
    )


def _roc(facts: Facts) -> str:
    """All points of the curves."""
    series = _diagonal("chance", facts.get("roc")) | {
        who: [(point[0], point[1]) for point in curve]
        for who, curve in (facts.get("roc") or {}).items()
    }
    axes = ("false positive rate", "true positive rate")
    return plots.lines(*axes, series, whole=True)


def _diagonal(name: str, wanted: object) -> dict[str, list[plots.Point]]:
    """Return the line that curves are held against, where there are any."""
    return {name: [(0.0, 0.0), (1.0, 1.0)]} if wanted else {}


def _residuals(facts: Facts) -> str:
    """What is left over, by the answer."""
    series = {
        who: [((row["low"] + row["high"]) / 2, row["mean"]) for row in rows]
        for who, rows in (facts.get("residuals") or {}).items()
    }
    return plots.lines("answer", "truth minus answer", series)


def _dependence(facts: Facts) -> str:
    """The mean answer by the value of a column, where it is one number."""
    drawn = []
    for row in facts.get("dependence") or []:
        series = {
            who: list(enumerate(row[who]))
            for who in ("champion", "challenger")
            if row.get(who) and isinstance(row[who][0], int | float)
        }
        labels = [str(place) for place in row["places"]]
        drawn.append(plots.lines(str(row["column"]), "mean answer", series, labels))
    return "".join(drawn)


PLOTS: dict[str, Callable[[Facts], str]] = {
    "Metrics": _metrics,
    "Slices": _slices,
    "Calibration": _calibration,
    "ROC curve": _roc,
    "What is left over": _residuals,
    "How answers depend on it": _dependence,
}

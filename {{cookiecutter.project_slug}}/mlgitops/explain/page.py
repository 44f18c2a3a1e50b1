"""The page of one version: one HTML file, without a script, that loads nothing.

The numbers of the verdict are shown by the report's own sections; what a stranger wrote
is inert there and here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from markdown_it import MarkdownIt

from mlgitops.explain import error_tree, profile
from mlgitops.explain.counterfactual import Change, Counterfactual, Option
from mlgitops.explain.error_tree import Condition, Leaf
from mlgitops.explain.profile import Part, Profile
from mlgitops.explain.subject import Explained
from mlgitops.report import Facts, plots
from mlgitops.report.document import document
from mlgitops.report.page import CHART, STYLES
from mlgitops.report.sections import SECTIONS
from mlgitops.report.text import code, details, number, rounded, table, text

STYLE = Path(__file__).with_suffix(".css")
TABLE = re.compile(r"<table>.*?</table>", re.S)
TITLE = re.compile(r"<th>(.*?)</th>", re.S)
ROW = re.compile(r"<tr>\s*<td>.*?</tr>", re.S)
CELL = re.compile(r"<td>(.*?)</td>", re.S)
TAG = re.compile(r"<[^>]*>")
JUDGED = ("metrics", "slices", "fairness", "importance", "dependence")
HISTORY = 30  # runs of the monitor that are listed, the newest
OPTIONAL = {
    "slices": "Slices",
    "importance": "Feature importance",
    "dependence": "Partial dependence",
}


def page(about: Explained) -> str:
    """Return the whole file."""
    parts = [_head(about)]
    parts += [details(title, body, True) for title, body in _sections(about) if body]
    parts.append(_foot(about))
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    body = TABLE.sub(_titled, markdown.render("\n\n".join(parts)))
    title = f"{about.name} {about.version or 'in build/'}, explained"
    return document(title, f"<main>\n{body}</main>", (*STYLES, STYLE))


def _titled(match: re.Match[str]) -> str:
    """Return a table whose cells know their column's title, for a narrow screen.

    The renderer has escaped what the titles have of quotes and brackets.
    """
    titles = [
        TAG.sub("", title).replace('"', "&quot;") for title in TITLE.findall(match[0])
    ]

    def row(line: re.Match[str]) -> str:
        cells = zip(CELL.findall(line[0]), titles, strict=True)
        marked = (f'<td data-title="{t}"><div>{cell}</div></td>' for cell, t in cells)
        return f"<tr>{''.join(marked)}</tr>"

    return ROW.sub(row, match[0])


def _sections(about: Explained) -> Iterator[tuple[str, str]]:
    """Yield each section's title and text."""
    yield "Where it fails", _errors(about)
    yield "What would have to differ", _counterfactuals(about)
    yield from _judged(about)
    yield "The data", _data(about.profiles)
    yield "Drift since", _since(about)


def _head(about: Explained) -> str:
    """What is explained, and from what."""
    name = f"{text(about.name)} {text(about.version or 'in build/')}"
    verdict = (
        f"Sections that speak of a challenger are of the verdict of "
        f"{text(about.judged[:10])}: the challenger is this version, the champion the "
        "one that production had then."
        if about.judged
        else "No verdict on these bytes is in the ledger: metrics, slices, fairness, "
        "importance and partial dependence are in a report of `make validate`."
    )
    return (
        f"## {name}, explained\n\nA model for the task {text(about.task)}, trained on "
        f"{about.train:,} rows; {about.holdout:,} rows were held out. {verdict}"
    )


def _foot(about: Explained) -> str:
    """Of which bytes this is, made when and by what."""
    report_line = (
        f" · whole report: ledger, {code(about.report, 200)}" if about.report else ""
    )
    made = f" · made {text(about.made)}" if about.made else ""
    return (
        f"---\n\n<sub>manifest: {code(about.manifest_sha256)}{made} · "
        f"{text(about.machinery)}{report_line}</sub>"
    )


def _judged(about: Explained) -> Iterator[tuple[str, str]]:
    """Yield what the verdict found, as its report shows it."""
    if not about.judged:
        return
    facts = Facts(state="here", verdict="", judgement=about.judgement)
    for section in SECTIONS:
        if section.id not in JUDGED:
            continue
        body = section.body(facts)
        plot = section.plot(facts) if section.plot and body else ""
        yield section.title, plot + CHART.sub("", body)
    lacking = [
        title for name, title in OPTIONAL.items() if not getattr(about.judgement, name)
    ]
    if lacking:
        yield (
            "Not kept in the verdict",
            f"{', '.join(lacking)}: the record of this verdict does not have them; its "
            "whole report does, where they were found.",
        )


def _errors(about: Explained) -> str:
    """The leaves of the error tree."""
    tree, loss = about.errors, text(about.loss, 60)
    how = (
        f"A small tree was grown on {tree.grown:,} rows of the holdout, by what the "
        f"model loses on each ({loss}, lower is better), and measured on the other "
        f"{tree.measured:,}, which had no part in choosing it."
    )
    if not tree.leaves:
        return (
            f"{how} It has no leaves: there are too few rows, or nothing to split by."
        )
    worse = [leaf for leaf in tree.leaves if leaf.worse]
    match = (
        "**In no leaf is the model shown to be worse than on all other rows.**"
        if not worse
        else f"**In {len(worse)} of {len(tree.leaves)} leaves the model is shown to be "
        "worse than on all other rows.**"
    )
    decides = any(leaf.wrong is not None for leaf in tree.leaves)
    header = [
        "Leaf",
        "Rows where",
        "Rows",
        "Loss",
        "Other rows",
        "Interval of the difference",
    ]
    if decides:
        header.insert(3, "Wrong decisions")
    rows = (
        [str(place), *_leaf(leaf, decides)] for place, leaf in enumerate(tree.leaves, 1)
    )
    intervals = f"All {error_tree.CONFIDENCE:.0%} intervals hold together"
    note = (
        f"A leaf with fewer than {error_tree.MEASURED} of these rows (or "
        f"{error_tree.ENTITIES} entities) is not shown. A high loss can also be what "
        "nobody could predict there."
    )
    drawn = plots.intervals(
        [
            plots.Interval(
                f"leaf {place}",
                (leaf.low, leaf.loss - leaf.rest, leaf.high),
                f"{leaf.loss - leaf.rest:+.3f}, {leaf.rows:,} rows",
                leaf.worse,
            )
            for place, leaf in enumerate(tree.leaves, 1)
        ],
        "loss minus that on all other rows; right is worse",
    )
    return "\n\n".join(
        [f"{how} {match} {intervals}. {note}", drawn, table(header, rows)]
    )


def _leaf(leaf: Leaf, decides: bool) -> list[str]:
    """Return the cells of one leaf."""
    path = "<br>".join(code(_words(each), 200) for each in leaf.conditions) or "all"
    cells = [path, f"{leaf.rows:,}", number(leaf.loss), number(leaf.rest)]
    if decides:
        cells.insert(2, "" if leaf.wrong is None else f"{leaf.wrong:.1%}")
    mark = "⛔ worse, " if leaf.worse else ""
    return [*cells, f"{mark}{leaf.low:+.4f} to {leaf.high:+.4f}"]


def _words(condition: Condition) -> str:
    """Return a condition in the contract's words."""
    name = condition.column
    if condition.equal is not None:
        return f"{name} is {condition.equal or 'missing'}"
    if condition.other_than:
        names = " or ".join(each or "missing" for each in condition.other_than)
        return f"{name} is not {names}"
    low, high = condition.above, condition.until
    if condition.kind == "boolean" and (np.isfinite(low) or np.isfinite(high)):
        words = f"{name} is {'true' if np.isfinite(low) else 'false'}"
    elif np.isfinite(low) and np.isfinite(high):
        ends = (_border(condition, end) for end in (low, high))
        words = "{} above {}, up to {}".format(name, *ends)
    elif np.isfinite(high):
        words = f"{name} up to {_border(condition, high)}"
    elif np.isfinite(low):
        words = f"{name} above {_border(condition, low)}"
    else:  # a split between missing values and all others
        return f"{name} is {'' if condition.missing else 'not '}missing"
    return f"{words}, or missing" if condition.missing else words


def _border(condition: Condition, value: float) -> str:
    """Return an end of a range."""
    if condition.kind == "datetime":
        return f"{pd.Timestamp(value, unit='D'):%Y-%m-%d %H:%M}"
    if condition.kind == "integer":
        return f"{np.floor(value):.0f}"
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.9g}"


def _counterfactuals(about: Explained) -> str:
    """What flips the decision on a few rows."""
    if about.public and about.task != "regression":
        return (
            "Single rows are not on the page of a release: whoever may read storage "
            f"types {code(f'make explain VERSION={about.version}')}."
        )
    if about.counterfactuals is None:
        return "The model predicts a number and decides nothing: nothing can flip."
    which = (
        "The rows that were asked for."
        if about.chosen
        else "The rows of the holdout whose decision is nearest to another one."
    )
    kept = ""
    if about.unchanged:
        kept = f" Never changed: {', '.join(map(code, about.unchanged))}."
    intro = (
        f"{which} Each line is a smallest change of one column, or of two where none "
        "alone is enough, with which the exported model decides otherwise. Sizes are "
        "in interquartile ranges of the training rows; another category counts as 1."
        f"{kept} This is what the model would decide, not what would happen."
    )
    rows = [
        cells
        for index, each in enumerate(about.counterfactuals, 1)
        for cells in _options(index, each)
    ]
    header = ["Row", "Decision", "What would have to differ", "Then", "Size"]
    return f"{intro}\n\n{table(header, rows)}"


def _options(index: int, about: Counterfactual) -> Iterator[list[str]]:
    """Yield the cells of each change of a row."""
    name = code(about.name) if about.name else f"nearest, {index}"
    decision = f"{code(about.decision)}, {about.prediction:.4f}"
    if not about.options:
        yield [name, decision, "no change that was tried flips it", "", ""]
    for option in about.options:
        yield [name, decision, *_option(option)]


def _option(option: Option) -> list[str]:
    """Return the cells of one change."""
    changes = "<br>".join(map(_change, option.changes))
    then = f"{code(option.decision)}, {option.prediction:.4f}"
    return [changes, then, f"{option.size:.2f}"]


def _change(change: Change) -> str:
    """Return one column's change."""
    before, after = map(_value, (change.before, change.after))
    return f"{code(change.column)} {after} instead of {before}"


def _value(value: object) -> str:
    """Return a value of the model's input."""
    if value is None:
        return "missing"
    if not isinstance(value, float):
        return code(value)
    return str(np.float32(value)).removesuffix(".0")  # as the model reads it, exactly


def _data(profiles: list[Profile]) -> str:
    """The profile of the training rows and the holdout."""
    rows = (
        [
            code(each.column),
            each.kind,
            *(_missing(part) for part in (each.train, each.holdout)),
            *(_values(each, part) for part in (each.train, each.holdout)),
        ]
        for each in profiles
    )
    header = ["Column", "Type", "Missing: train", "Missing: holdout"]
    header += ["Values: train", "Values: holdout"]
    return (
        "Numbers and times by their 5 %, 50 % and 95 % quantiles. Nothing here is "
        f"about fewer than {profile.LEAST} rows, or entities.\n\n{table(header, rows)}"
    )


def _missing(part: Part) -> str:
    """Return the share of missing values."""
    few = f"under {profile.LEAST} rows"
    return few if part.missing is None else f"{part.missing:.1%}"


def _values(about: Profile, part: Part) -> str:
    """Return quantiles or categories."""
    if about.sensitive:
        return "sensitive"
    if part.quantiles:
        return " · ".join(_quantile(about.kind, each) for each in part.quantiles)
    shares = [f"{code(name, 40)} {share:.1%}" for name, share in part.shares]
    if part.others is not None:
        shares.append(f"others {part.others:.1%}")
    return ", ".join(shares) or "–"


def _quantile(kind: str, value: float | None) -> str:
    """Return a quantile; a day of a time."""
    if value is None:
        return "–"
    if kind == "datetime":
        return f"{pd.Timestamp(value, unit='s'):%Y-%m-%d}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _since(about: Explained) -> str:
    """What the monitor found since it serves."""
    if about.public:
        return (
            "This page was made when the version was registered. "
            f"{code(f'make explain VERSION={about.version}')} has what the monitor "
            "found since, and so has the fleet's page."
        )
    if not about.runs:
        return "The monitor has not looked at this version."
    days = [run.time[:10] for run in about.runs]
    has_drift = any(run.drift is not None for run in about.runs)
    alarm = [(float(n), 1.0) for n in range(len(days))]
    drawn = [
        plots.Line("largest", [(n, r.drift) for n, r in enumerate(about.runs)]),
        plots.Line("alarm", alarm, "limit"),
    ]
    plot = plots.lines("run of the monitor", "Drift", drawn, days) if has_drift else ""
    rows = [
        [
            text(run.time[:10]),
            text(run.decision),
            f"{run.rows:,}",
            f"{run.labels:,}",
            "–" if run.measured is None else rounded(run.measured),
            "–" if run.drift is None else f"{run.drift:.2f}",
            text(run.sentence, 300),
        ]
        for run in about.runs[: -HISTORY - 1 : -1]
    ]
    metric = about.judgement.primary_metric
    label = text(metric.label, 40) if metric else "Primary metric"
    header = ["Run", "Decision", "Rows", "Labels", label, "Drift", "Why"]
    intro = "Drift is the largest of all columns and predictions; 1 is where the alarm "
    return f"{intro}begins.\n\n{plot}\n\n{table(header, rows)}"

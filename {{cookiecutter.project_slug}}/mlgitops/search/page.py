"""What a search has found, as text on a terminal and as a page with plots; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import accumulate
from pathlib import Path

from mlgitops.report import plots
from mlgitops.report.document import document
from mlgitops.search.outcome import Outcome, Row
from mlgitops.search.trial import CURRENT, Trial

SHOWN = 15  # trials on the terminal and in the plot; the page lists all
OPTIMISM = (
    "The best of many means tends to be too high: some of it is luck, the more so the "
    "more there are to choose from (Cawley and Talbot 2010, JMLR 11)"
)
ADVICE = "All trials: .venv/bin/dvc exp show; to forget those of this "
ADVICE += "commit: .venv/bin/dvc exp remove --rev HEAD."
PROPOSE = """\
To propose it: .venv/bin/dvc exp apply {name}, commit params.yaml on a branch, open a
pull request."""
Cells = tuple[str, str, str, str, str]
STYLES = (Path(plots.__file__).with_name("page.css"), plots.STYLE)


def verdict(outcome: Outcome) -> list[str]:
    """Return the sentences that say what to make of it."""
    count = len(outcome.rows)
    if not count:
        return ["No trial could be fitted."]
    best, found = outcome.best, outcome.confirmed
    if best is None:
        return [f"No trial of {count} is better than the current settings: keep them."]
    first = (
        f"Best of {count} by the folds: {_label(best.trial)}; {best.difference:+.4f} "
        f"{outcome.metric} against the current settings."
    )
    if found is None:
        return [first, f"{OPTIMISM}, so do not quote it."]
    rows = {
        "time": f"On {outcome.confirming:,} newer training rows",
        "group": f"On {outcome.confirming:,} training rows of other groups",
    }.get(outcome.split, f"On {outcome.confirming:,} other training rows")
    end = "it is better than the current settings there, too."
    if not outcome.distinguished:
        end = (
            "it cannot be distinguished from the current settings: keep them, unless "
            "you have another reason."
        )
    second = (
        f"{rows}, which no trial saw, the difference is {found.difference:+.4f} "
        f"({found.low:+.4f} to {found.high:+.4f} with {found.confidence:.3g} "
        f"confidence): {end}"
    )
    third = f"{OPTIMISM}; so that second number is the one to quote."
    if outcome.looks > 1:
        third += (
            f" Those rows have been asked about {outcome.looks} choices: the interval "
            "is so much wider (Bonferroni)."
        )
    return [first, second, third]


def terminal(outcome: Outcome) -> str:
    """Return the table and the verdict as text."""
    rows = [("trial", "mean ± s.e.", "difference", "interval", "s")]
    shown = outcome.ranked[:SHOWN]
    rows += [*map(_cells, shown), _own(outcome)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in rows
    ]
    for number, row in enumerate(shown, 1):
        if _label(row.trial) != row.trial.name:
            lines[number] += f"  {_settings(row.trial)}"
    lines += [f"failed: {t.name}: {t.problem}" for t in outcome.failed[:SHOWN]]
    lines += [note for note in _notes(outcome) if note]
    sentences = verdict(outcome)
    if outcome.best and outcome.distinguished:
        sentences.append(PROPOSE.format(name=outcome.best.trial.name))
    sentences.append(ADVICE)
    return "\n".join([_title(outcome), "", *lines, "", *sentences])


def page(outcome: Outcome) -> str:
    """Return the page: the verdict, two plots, and every trial with its settings."""
    body = [f"<h2>{escape(_title(outcome))}</h2>"]
    body += [f"<p>{escape(sentence)}</p>" for sentence in verdict(outcome)]
    body += [_differences(outcome), _course(outcome)]
    head = ("trial", "mean ± s.e.", "difference", "interval", "seconds", "settings")
    cells = [(*_unbroken(_cells(row)), _all(row.trial)) for row in outcome.ranked]
    cells.append((*_unbroken(_own(outcome)), ""))
    cells += [(t.name, "failed", "", "", "", t.problem) for t in outcome.failed]
    body.append(_table(head, cells))
    body += [f"<p>{escape(note)}</p>" for note in _notes(outcome) if note]
    return document(_title(outcome), f"<main>{''.join(body)}</main>", STYLES)


def _title(outcome: Outcome) -> str:
    """Say what was measured, and on what."""
    folds = len(outcome.current.scores)
    by = {"time": " by time", "group": " of groups"}.get(outcome.split, "")
    return f"{outcome.metric} of {folds} folds{by} inside the training rows"


def _notes(outcome: Outcome) -> list[str]:
    """Say how to read the table."""
    share = f"{outcome.confidence:.3g}"
    more = len(outcome.rows) - SHOWN
    return [
        f"and {more} more on the page" if more > 0 else "",
        f"{outcome.dropped} others were dropped with less than all of the resource"
        if outcome.dropped
        else "",
        f"Difference to the current settings, paired by fold; {share} interval of each "
        "trial by itself (Nadeau and Bengio 2003, Machine Learning 52).",
    ]


def _cells(row: Row) -> Cells:
    """Return a trial as a row of the table."""
    return (
        row.trial.name,
        f"{row.trial.mean:.4f} ± {row.trial.standard_error:.4f}",
        f"{row.difference:+.4f}",
        f"{row.low:+.4f} to {row.high:+.4f}",
        f"{row.trial.seconds:.1f}",
    )


def _own(outcome: Outcome) -> Cells:
    """Return the current settings as a row of the table."""
    own = outcome.current
    mean = f"{own.mean:.4f} ± {own.standard_error:.4f}"
    return (CURRENT, mean, "", "", f"{own.seconds:.1f}")


def _settings(trial: Trial) -> str:
    """Return what a trial changes, by the last word of each setting."""
    parts = [
        f"{path.split('.')[-1]} {_value(value)}"
        for path, value in trial.changes.items()
    ]
    return ", ".join(parts)


def _value(value: object) -> str:
    """Return a value; of a long list how many entries, and the last ones."""
    if not isinstance(value, list):
        return str(value)
    words = " ".join(map(str, value[-2:]))
    return f"[{len(value)}: … {words}]" if len(value) > 2 else f"[{words}]"


def _label(trial: Trial) -> str:
    """Return the name; with what it changes, if the name does not tell."""
    if not trial.name.startswith("trial-"):
        return trial.name
    return f"{trial.name}: {_settings(trial)}"


def _all(trial: Trial) -> str:
    """Return what a trial changes, with the whole of each value."""
    parts = [f"{p.split('.')[-1]}: {value}" for p, value in trial.changes.items()]
    return ", ".join(parts)


def _unbroken(cells: Cells) -> tuple[str, ...]:
    """Return cells that stay on one line of a page."""
    return tuple(cell.replace(" ", "\u00a0") for cell in cells)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as HTML."""
    lines = [
        f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
        for tag, cells in [("th", head), *(("td", row) for row in rows)]
    ]
    return f"<table>{''.join(lines)}</table>"


def _differences(outcome: Outcome) -> str:
    """Return the plot of the best trials' differences, and of the one confirmed."""
    rows = [
        plots.Interval(
            _label(row.trial),
            (row.low, row.difference, row.high),
            f"{row.difference:+.4f}",
            row.high < 0,
        )
        for row in outcome.ranked[:SHOWN]
    ]
    if found := outcome.confirmed:
        ends = (found.low, found.difference, found.high)
        name = "the best, on rows that no trial saw"
        number = f"{found.difference:+.4f}"
        rows.insert(0, plots.Interval(name, ends, number, found.high < 0))
    across = f"difference in {outcome.metric} to the current settings"
    return plots.intervals(rows, across)


def _course(outcome: Outcome) -> str:
    """Return the plot of the trials in their order, with the best so far."""
    means = [row.trial.mean for row in outcome.rows]
    if len(means) < 2:
        return ""
    own = outcome.current.mean
    points = list(enumerate(means, 1))
    best = list(enumerate(accumulate(means, max), 1))
    drawn = [
        plots.Line(CURRENT, [(1, own), (len(means), own)], "reference"),
        plots.Line("trials", points, "other"),
        plots.Line("best so far", best),
    ]
    return plots.lines("trial", f"{outcome.metric}, mean of folds", drawn)

"""The pages of a fleet: all models, each model, and the thresholds of one date; pure.

Whatever a ledger says is escaped where it enters a page. Without its script a page
shows everything; with it, a part of the rows can be chosen.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from mlgitops.fleet.compliance import Row
from mlgitops.fleet.model import LEVELS, Measurement, Model, Serving
from mlgitops.fleet.trend import trend
from mlgitops.report import plots
from mlgitops.report.document import document

STYLES = (Path(__file__).with_name("page.css"), plots.STYLE)
SCRIPT = Path(__file__).with_name("page.js")
NOT_STATED = '<span class="soft">not stated</span>'
CHOICES = ("owner", "risk", "task")  # what models are filtered by, beside their state
SHOWN = 60  # runs of the monitor in a chart, the newest
MOST = 1_000  # rows of a table on a model's page
RUNS = (
    "run",
    "version",
    "decision",
    "rows",
    "labels",
    "measured",
    "validated",
    "drift",
)
THRESHOLDS = ("check", "compared", "value", "limit", "met", "in force")


def index(models: Sequence[Model], names: Sequence[str], written_at: str) -> str:
    """Return the first page; ``names`` are the files of the models' own pages."""
    counts = [(level, sum(m.level == level for m in models)) for level in LEVELS]
    totals = "".join(
        f'<span class="badge {level}">{count} {level}</span> '
        for level, count in counts
        if count
    )
    titles = ("state", "model", "serving", "metric", "monitor", "machinery")
    body = (
        f'<h1>Fleet</h1><p>{totals}</p><p class="soft">{_plural(len(models))}, read '
        f"from their ledgers at {escape(_minute(written_at))}. As data: "
        '<a href="fleet.json">fleet.json</a>. Thresholds in force: '
        '<a href="compliance.html">compliance.html</a>, '
        '<a href="compliance.csv">compliance.csv</a>.</p>'
        f"{_filters(models)}"
        f'<table class="fleet">{_head(titles)}<tbody>'
        f"{''.join(map(_model_row, models, names))}</tbody></table>"
    )
    return document("Fleet", f"<main>{body}</main>", STYLES, SCRIPT)


def _filters(models: Sequence[Model]) -> str:
    """Return the fields that choose rows; hidden until the script works."""
    fields = [
        '<label>Search <input id="search" type="search" autocomplete="off"></label>',
        _select("level", LEVELS),
    ]
    for name in CHOICES:
        values = sorted({str(getattr(model, name)) for model in models} - {""})
        if values:
            fields.append(_select(name, values))
    count = '<output id="count" aria-live="polite"></output>'
    return f'<div class="filters" id="filters" hidden>{"".join(fields)}{count}</div>'


def _select(name: str, values: Iterable[str]) -> str:
    """Return one field; no choice is every model."""
    options = "".join(f"<option>{escape(value)}</option>" for value in values)
    title = "State" if name == "level" else name.capitalize()
    return (
        f'<label>{title} <select data-key="{name}"><option value="">all</option>'
        f"{options}</select></label>"
    )


def _model_row(model: Model, name: str) -> str:
    """Return one model of the first page."""
    keys = {key: str(getattr(model, key)) for key in ("level", *CHOICES)}
    data = "".join(f' data-{key}="{escape(value)}"' for key, value in keys.items())
    details = [model.task, model.owner, model.risk and f"risk: {model.risk}"]
    if model.licence:
        details.append(f"licence: {model.licence}")
    words = escape(", ".join(filter(None, details)))
    cells = (
        ("state", _badge(model.level)),
        (
            "model",
            f'<a class="name" href="models/{escape(name)}">{escape(model.name)}</a>'
            f'<div class="soft">{words}</div>{_reasons(model)}',
        ),
        ("serving", _serving(model)),
        ("metric", _metric(model) + trend(model)),
        ("monitor", _monitor(model)),
        ("machinery", escape(model.machinery) or _none("not recorded")),
    )
    titles, texts = zip(*cells, strict=True)
    return f"<tr{data}>{_cells(texts, titles)}</tr>"


def _reasons(model: Model) -> str:
    """Return why somebody should look."""
    items = "".join(
        f'<li class="{reason.level}">{escape(reason.text)}' for reason in model.reasons
    )
    return f'<ul class="reasons">{items}</ul>' if items else ""


def _serving(model: Model) -> str:
    """Return each environment's version and its age."""
    lines = [
        f"<div>{escape(s.environment)}: <b>{escape(s.version) or 'nothing'}</b> "
        f'<span class="soft age">{escape(_age(s))}</span></div>'
        for s in model.serving
    ]
    for title, text in (("canary", model.canary), ("shadow", ", ".join(model.shadow))):
        if text:
            lines.append(f"<div>{title}: {escape(text)}</div>")
    return "".join(lines) or _none("nothing deployed")


def _age(serving: Serving) -> str:
    """Return how long it has served, and whether its target confirmed that."""
    age = "" if serving.age_days is None else f"{serving.age_days:.0f} days"
    return ", ".join(filter(None, (age, serving.state)))


def _metric(model: Model) -> str:
    """Return the primary metric: in production, on the holdout, and its floor."""
    numbers = [("production", model.measured), ("holdout", model.validated)]
    numbers.append(("floor", model.floor))
    lines = [
        f'<div><span class="soft">{name}</span> {_number(value)}</div>'
        for name, value in numbers
        if value is not None
    ]
    if not lines:
        return _none("–")
    return f"<div>{escape(model.metric)}</div>{''.join(lines)}"


def _monitor(model: Model) -> str:
    """Return the newest decision, the drift, both runs, and open proposals."""
    lines = []
    if model.decision:
        drift = "" if model.drift is None else f", drift {model.drift:.2f}"
        lines.append(f"{escape(_decision(model.decision))}{drift}")
        lines.append(f'<span class="soft">last</span> {escape(model.last_run[:10])}')
        if model.next_run:
            lines.append(
                f'<span class="soft">next</span> {escape(model.next_run[:10])}'
            )
    lines += [
        f"open proposal {_link(f'#{proposal.pull}', proposal.url)}"
        for proposal in model.proposals
    ]
    return "".join(f"<div>{line}</div>" for line in lines) or _none("never ran")


def of_model(model: Model, date: str, explained: Mapping[str, str]) -> str:
    """Return the page of one model; thresholds in force on a date come first.

    `explained` has the path of a page by the start of a manifest's sha256.
    """
    facts = [
        ("repository", _link(model.address, model.address)),
        ("owner", escape(model.owner) or NOT_STATED),
        ("risk level", escape(model.risk) or NOT_STATED),
        ("licence", escape(model.licence) or NOT_STATED),
        ("task", escape(model.task) or NOT_STATED),
        ("serving", _serving(model)),
        ("primary metric", _metric(model)),
        ("monitor", f"{_monitor(model)}<div>{escape(model.sentence)}</div>"),
        ("machinery", escape(model.machinery) or NOT_STATED),
        ("ledger", f"{model.records:,} records, commit {escape(model.commit[:12])}"),
    ]
    if links := _explained(model, explained):
        facts.insert(-2, ("explained", links))
    listed = "".join(f"<dt>{title}<dd>{value}" for title, value in facts)
    body = (
        f'<p><a href="../index.html">Fleet</a></p><h1>{escape(model.name)}</h1>'
        f"<p>{_badge(model.level)}</p>{_reasons(model)}<dl>{listed}</dl>"
        f'<div class="charts">{_charts(model)}</div>{_runs(model)}'
        f"{_all_thresholds(model, date)}"
    )
    return document(f"{model.name}: fleet", f"<main>{body}</main>", STYLES, SCRIPT)


def _explained(model: Model, pages: Mapping[str, str]) -> str:
    """Return links to the pages that explain what serves, each version once.

    Without one here, a link to the version's release, which has the public one.
    """
    links = dict[str, str]()
    on_github = model.address.startswith("https://") and "@" not in model.address
    for s in (serving for serving in model.serving if serving.version):
        if path := pages.get(s.manifest_sha256[:12]):
            links[s.version] = f'<a href="../{escape(path)}">{escape(s.version)}</a>'
        elif on_github:
            tag = quote(f"{model.name}@{s.version}", safe="@")
            url = f"{model.address.removesuffix('.git')}/releases/tag/{tag}"
            links[s.version] = _link(f"release {s.version}", url)
    return ", ".join(links.values())


def _charts(model: Model) -> str:
    """Return the primary metric and the drift over the newest runs."""
    runs = model.history[-SHOWN:]
    days = [run.time[:10] for run in runs]

    def line(name: str, key: str, kind: str) -> plots.Line:
        return plots.Line(
            name, [(n, getattr(run, key)) for n, run in enumerate(runs)], kind
        )

    drawn = [
        line("production", "measured", "main"),
        line("holdout", "validated", "other"),
        line("floor", "floor", "limit"),
    ]
    alarm = [(float(n), 1.0) for n in range(len(runs))]
    drift = [line("largest", "drift", "main"), plots.Line("alarm", alarm, "limit")]
    title = model.metric or "primary metric"
    drifts = any(run.drift is not None for run in runs)
    return _chart(title, drawn, days) + (_chart("Drift", drift, days) if drifts else "")


def _chart(title: str, drawn: Sequence[plots.Line], days: Sequence[str]) -> str:
    """Return one chart over the runs."""
    with_points = [line for line in drawn if any(y is not None for _, y in line.points)]
    return plots.lines("run of the monitor", title, with_points, days, height=240)


def _runs(model: Model) -> str:
    """Return the runs of the monitor, the newest first."""
    if not model.history:
        return ""
    newest_first = model.history[::-1]
    rows = "".join(map(_run, newest_first[:MOST]))
    rest = _rest(newest_first, "Older runs", "fleet.json")
    return f"<h2>Runs of the monitor</h2>{_table(RUNS, rows)}{rest}"


def _rest(rows: Sequence[object], noun: str, file: str) -> str:
    """Return how many rows a page leaves out, and where they are."""
    if len(rows) <= MOST:
        return ""
    link = f'<a href="../{file}">{file}</a>'
    return f'<p class="soft">{noun}, in {link} alone: {len(rows) - MOST:,}.</p>'


def _run(run: Measurement) -> str:
    """Return one run of the monitor."""
    cells = (
        escape(run.time[:10]),
        escape(run.version),
        escape(_decision(run.decision)),
        f"{run.rows:,}",
        f"{run.labels:,}",
        _number(run.measured),
        _number(run.validated),
        "–" if run.drift is None else f"{run.drift:.2f}",
    )
    return f"<tr>{_cells(cells, RUNS)}</tr>"


def _all_thresholds(model: Model, date: str) -> str:
    """Return every threshold of a model; those that are in force on a date first."""
    if not model.thresholds:
        return ""
    shown = [row for row in model.thresholds if _shown(row)]
    rows = sorted(shown[::-1], key=lambda row: not row.covers(date))
    day = escape(date[:10])
    field = (
        '<div class="filters" id="filters" hidden><label>In force on <input id="date" '
        f'type="date" value="{day}"></label><output id="count"></output></div>'
    )
    table = f"<h2>Thresholds in force</h2>{field}{_thresholds(rows[:MOST])}"
    return table + _rest(rows, "Thresholds of other dates", "compliance.csv")


def compliance(models: Sequence[Model], date: str) -> str:
    """Return the thresholds in force on a date, of every model, to be printed."""
    parts = [
        '<p class="screen"><a href="index.html">Fleet</a></p><h1>Thresholds in force '
        f'on {escape(date)}</h1><p class="soft">By the ledgers alone; dates are in '
        "UTC, by the clocks of the runs. Every check, every digit and every date: "
        '<a href="compliance.csv">compliance.csv</a>.</p>'
    ]
    for model in models:
        rows = [row for row in model.thresholds if row.covers(date)]
        details = ", ".join(
            filter(None, (model.owner, model.risk and f"risk: {model.risk}"))
        )
        where = f"{escape(model.address)} {escape(details)}"
        table = _thresholds(filter(_shown, rows)) if rows else "<p>None.</p>"
        why = _reasons(model) if model.level == "failing" else ""
        parts.append(
            f'<section><h2>{escape(model.name)}</h2><p class="soft">{where}</p>'
            f"{table}{why}</section>"
        )
    return document(
        f"Thresholds on {date}", f"<main>{''.join(parts)}</main>", STYLES, SCRIPT
    )


def _shown(row: Row) -> bool:
    """Tell whether a page shows it: a number, or what was not met."""
    return row.limit is not None or not row.met


def _thresholds(rows: Iterable[Row]) -> str:
    """Return thresholds as a table."""
    return _table(THRESHOLDS, "".join(map(_threshold, rows)), "thresholds")


def _threshold(row: Row) -> str:
    """Return one threshold."""
    met = {True: "met", False: "not met", None: "not known"}[row.met]
    if row.overruled_by:
        met = f"not met, overruled by {row.overruled_by}"
    limit = (
        f"{row.operator} {_number(row.limit)} {row.unit}"
        if row.limit is not None
        else ""
    )
    kind = "bad" if row.met is False or row.kind == "unknown" else ""
    where = f"{row.environment} {row.version}, {row.kind}"
    cells = (
        f"{escape(row.check)}",
        escape(f"{row.statistic} of {row.metric}" if row.metric else row.statistic),
        _number(row.value),
        escape(limit),
        f'<span class="{kind}">{escape(met)}</span>',
        f"{escape(row.began[:10])} to {escape((row.until or 'now')[:10])}"
        f'<div class="soft">{escape(where)}</div>',
    )
    began, until = escape(row.began), escape(row.until or "9")
    period = f'data-began="{began}" data-until="{until}"'
    return f"<tr {period}>{_cells(cells, THRESHOLDS)}</tr>"


def _table(titles: Sequence[str], rows: str, kind: str = "") -> str:
    """Return a table that scrolls by itself where it is too wide."""
    return (
        f'<div class="scroll"><table class="{kind}">{_head(titles)}'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _head(titles: Iterable[str]) -> str:
    """Return the head of a table."""
    cells = "".join(f"<th>{title}</th>" for title in titles)
    return f"<thead><tr>{cells}</tr></thead>"


def _cells(cells: Iterable[str], titles: Iterable[str]) -> str:
    """Return the cells of a row; on a phone each has its title beside it."""
    return "".join(
        f'<td data-title="{title}"><div>{cell}</div></td>'
        for cell, title in zip(cells, titles, strict=True)
    )


def escape(text: str) -> str:
    """Return text so that nothing in it is markup, hidden, or turns what follows."""
    line = " ".join(text.split())
    return html.escape("".join(c if c.isprintable() else "\ufffd" for c in line))


def _badge(level: str) -> str:
    """Return a state."""
    return f'<span class="badge {level}">{level}</span>'


def _none(text: str) -> str:
    """Return what is said where nothing is."""
    return f'<span class="soft">{text}</span>'


def _number(value: float | None) -> str:
    """Return a number for people."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _decision(decision: str) -> str:
    """Return a decision of the monitor in words."""
    return "nothing to do" if decision == "none" else decision


def _plural(count: int) -> str:
    """Return how many models there are."""
    return "1 model" if count == 1 else f"{count:,} models"


def _minute(time: str) -> str:
    """Return a time without its seconds."""
    return f"{time[:16].replace('T', ' ')} UTC"


def _link(text: str, url: str) -> str:
    """Return text as a link where there is an address to link to."""
    if not url.startswith(("https://", "http://")):
        return escape(text)
    return f'<a href="{escape(url)}" rel="noreferrer">{escape(text)}</a>'

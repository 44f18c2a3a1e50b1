"""The same as one HTML page that loads nothing: build/data.html; pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from mlgitops.report.document import document
from mlgitops.table import bars, words
from mlgitops.table.contract_text import RULE
from mlgitops.table.plan import Plan
from mlgitops.table.problem import Problem
from mlgitops.table.words import Row

STYLES = (Path(__file__).with_name("page.css"),)


def page(plan: Plan) -> str:
    """Return the whole page."""
    head, *rest = words.head(plan)
    parts = [
        f"<h1>{escape(plan.options.file)}</h1>",
        "".join(f'<p class="soft">{escape(line)}</p>' for line in (head, *rest)),
    ]
    if rows := words.warned(plan):
        body = _table(rows, ("what", "", "evidence", "to change it"))
        parts.append(f'<h2>Look at</h2><div class="warned">{body}</div>')
    about = ("", "", "why", "to change it")
    parts.append(f"<h2>The table</h2>{_table(words.roles(plan), about)}")
    plots = [_plot(plan, number) for number in range(len(plan.inputs))]
    titles = ("column", "type", "why", "if that is wrong")
    count = f"{len(plan.measured.sample):,} rows"
    key = f"Bars: rows{_key(plan)}, of {count}. Ranges: {RULE}."
    parts.append(
        f"<h2>Columns of the model ({len(plan.inputs)})</h2>"
        f'<p class="key">{escape(key)}</p>{_table(words.columns(plan), titles, plots)}'
    )
    if rows := words.left_out(plan):
        parts.append(f"<h2>Left out ({len(rows)})</h2>{_table(rows, titles)}")
    return document(f"{plan.name}: the data", f"<main>{''.join(parts)}</main>", STYLES)


def refusal(problems: Sequence[Problem], file: str) -> str:
    """Return the page of a table that was refused."""
    rows = [
        Row(
            p.column or "the table",
            f"{p.count:,}" if p.count else "",
            p.sentence + (f" (such as {p.example})" if p.example else ""),
            p.line,
        )
        for p in problems
    ]
    body = _table(rows, ("column", "count", "problem", "what to do"))
    head = f"<h1>{escape(file)} was refused</h1><p>Nothing was written.</p>"
    return document("The data were refused", f"<main>{head}{body}</main>", STYLES)


def _key(plan: Plan) -> str:
    """Return what the line in the plots is."""
    aim = plan.target
    share = {"binary": f"share of {aim.positive}", "regression": f"mean of {aim.name}"}
    if aim.task not in share:
        return ""
    return f"; line: {share[aim.task]}, on one scale"


def _plot(plan: Plan, number: int) -> str:
    """Return the plot of a column."""
    import pandas as pd

    guess, sample = plan.inputs[number], plan.measured.sample
    target = None
    if plan.target.task != "multiclass":
        target = pd.to_numeric(sample[plan.target.name]).to_numpy(float)
    values = sample[guess.name]
    if guess.type == "boolean":
        values = pd.to_numeric(values).map(lambda v: {1: "true", 0: "false"}.get(v))
    drawn = "number" if guess.type == "integer" else guess.type
    return bars.plot(values, drawn, target)


def _table(
    rows: Sequence[Row], titles: Sequence[str], plots: Sequence[str] = ()
) -> str:
    """Return rows as a table; columns without any text are left out."""
    cells = [[r.what, r.value, r.why, f"\0{r.line}" if r.line else ""] for r in rows]
    used = [n for n in range(4) if any(c[n] for c in cells)]
    head = "".join(f"<th>{escape(titles[n])}</th>" for n in used)
    head = head.replace("</th>", '</th><th class="plot"></th>', 1) if plots else head
    lines = []
    for number, cell in enumerate(cells):
        tds = [f"<td>{_cell(cell[n])}</td>" for n in used]
        if plots:
            tds.insert(1, f'<td class="plot">{plots[number]}</td>')
        lines.append(f"<tr>{''.join(tds)}</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _cell(text: str) -> str:
    """Return a cell; what to type is set as code."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in text.lstrip("\0"))
    is_code = text.startswith("\0") and "=" in shown
    return f"<code>{escape(shown)}</code>" if is_code else escape(shown)

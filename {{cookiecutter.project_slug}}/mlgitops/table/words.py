"""What a run saw, in words: for the terminal and for the page alike; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlgitops.pipeline.schema import one_line
from mlgitops.table.baseline import WORDS
from mlgitops.table.contract_text import RULE
from mlgitops.table.guess import Guess
from mlgitops.table.plan import Plan
from mlgitops.table.problem import Problem
from mlgitops.table.roles import NO_GROUP, ROW

WIDTH = 28  # letters of a name or a value in a table of the terminal
UNPROTECTED = (
    "; SENSITIVE= names it: it is in no file that is written here, and no groups of it "
    "are compared"
)
MOST = 60  # columns that the terminal lists; the page lists all


@dataclass(frozen=True)
class Row:
    """A line of a list: what, its value, why, and what to type if it is wrong."""

    what: str
    value: str
    why: str
    line: str = ""


def head(plan: Plan) -> list[str]:
    """Return how the file was read."""
    sentences = [*plan.sentences, f"{plan.rows:,} rows, {len(plan.guesses):,} columns"]
    sample = len(plan.measured.sample)
    if sample < plan.measured.rows:
        sentences.append(
            f"Plots, the quick model and what is said of leakage are of {sample:,} "
            "rows, taken by a hash of the id. All else is of every row; how many "
            "values differ is an estimate, where they are not categories."
        )
    return sentences


def roles(plan: Plan) -> list[Row]:
    """Return the guesses about the table as a whole."""
    chosen, aim, lines = plan.roles, plan.target, plan.roles.lines
    why = chosen.why
    held = f"{why['split']}; about {plan.measured.holdout:,} rows"
    rows = [
        Row("target", aim.name, f"{aim.task}: {aim.why}", aim.line),
        Row("id", chosen.id or ROW, why["id"], lines.get("id", "")),
        _time(plan),
        Row(
            "group",
            chosen.group or "none",
            why.get("group", NO_GROUP),
            lines.get("group", "" if chosen.group else "GROUP=column"),
        ),
        Row("split", chosen.split, held, lines.get("split", "")),
    ]
    if chosen.part:
        rows.insert(4, Row("part", chosen.part, why["part"], lines["part"]))
    if plan.measured.span:
        first, last = plan.measured.span
        rows.append(Row("time span", f"{first:%Y-%m-%d} to {last:%Y-%m-%d}", ""))
    for value, number in aim.counts[:10]:
        share = number / sum(c for _, c in aim.counts)
        rows.append(Row(f"  {one_line(value)}", f"{number:,} rows", f"{share:.2%}"))
    if plan.baseline.together is not None:
        reached = f"{WORDS[aim.task]} {plan.baseline.together:.3f}"
        why_model = (
            "a quick model, on rows that it did not see; the floor of the gate is "
            "halfway to a dummy's"
        )
        rows.append(Row("to be beaten", reached, why_model, "gates in params.yaml"))
    repeated = f"{plan.measured.duplicates:,}"
    rows.append(Row("duplicates", repeated, "rows that repeat another, the id aside"))
    return rows


def _time(plan: Plan) -> Row:
    """Return the guess of the time, with how its values are read."""
    chosen = plan.roles
    why, line = chosen.why.get("time", "not asked for"), chosen.lines.get("time", "")
    for guess in plan.guesses:
        if guess.name == chosen.time:
            why += f"; {guess.why}"
            if guess.facts.style.also:  # another form gives another order of the rows
                line = f"{guess.line}, or {line}" if line else guess.line
    return Row("time", chosen.time or "none", why, line)


def columns(plan: Plan) -> list[Row]:
    """Return each input: its type with its range, why, and the line to change it."""
    rows = []
    for guess in plan.inputs:
        entries = plan.columns[guess.name]
        detail = {
            "category": f"{len(entries.get('categories', ()))} categories",
            "boolean": "",
            "datetime": "",
            "text": f"up to {entries.get('max_length', 0):,} characters",
        }.get(
            guess.type, f"{end(entries.get('min', 0))} to {end(entries.get('max', 0))}"
        )
        why = f"{guess.why}{absent(guess)}"
        if guess.note:
            why += f"; {guess.note}"
        if guess.name in plan.sensitive:
            why += "; sensitive: not an input, until train.columns names it"
        rows.append(Row(guess.name, f"{guess.type} {detail}".strip(), why, guess.line))
    return rows


def end(value: float) -> str:
    """Return an end of a range; 2019 may be a year."""
    return f"{value:g}" if abs(value) < 10_000 else f"{value:,g}"


def absent(guess: Guess) -> str:
    """Return how many values are missing, if any."""
    facts = guess.facts
    missing = facts.rows - (facts.good if guess.type != "category" else facts.filled)
    if not missing:
        return ""
    marks = ", ".join(facts.odd[:3])
    marked = f", {marks} among them" if facts.odd else ""
    return f"; {missing:,} missing ({missing / facts.rows:.1%}{marked})"


def left_out(plan: Plan) -> list[Row]:
    """Return each column that is not in the table, and why."""
    taken = (plan.roles.id, plan.roles.group, plan.roles.part, plan.target.name)
    asked = plan.options.sensitive
    return [
        Row(g.name, g.type, f"{g.why}{UNPROTECTED if g.name in asked else ''}", g.line)
        for g in plan.guesses
        if not g.kept and g.name not in taken
    ]


def warned(plan: Plan) -> list[Row]:
    """Return the warnings."""
    return [Row(w.subject, "", w.evidence, w.line) for w in plan.warned]


def problems(found: Sequence[Problem], file: str) -> str:
    """Return all reasons to refuse a table, with the line to write for each."""
    count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
    lines = [f"{file} was refused, and nothing was written: {count}."]
    for number, problem in enumerate(found, 1):
        line = f"{problem.line[:1].upper()}{problem.line[1:]}"
        lines += [
            f"{number}. {problem}.",
            f"   {line}{'' if line.endswith('?') else '.'}",
        ]
    return "\n".join(lines)


def terminal(plan: Plan) -> str:
    """Return the page for a terminal."""
    parts = [
        "\n".join(head(plan)),
        _listed("", roles(plan)),
        _listed(f"Columns of the model ({len(plan.inputs)})", columns(plan)),
        _listed("Left out", left_out(plan)),
        _listed("Look at", warned(plan)),
        f"Ranges: {RULE}.",
    ]
    return "\n\n".join(part for part in parts if part)


def _listed(title: str, rows: Sequence[Row]) -> str:
    """Return a list with its columns below one another."""
    if not rows:
        return ""
    shown = rows[:MOST]
    name = min(WIDTH, max(len(cut(r.what)) for r in shown))
    size = min(WIDTH, max(len(cut(r.value)) for r in shown))
    lines = [f"{title}:"] if title else []
    for row in shown:
        value = f"  {cut(row.value):{size}}" if size else ""
        line = f"  [{row.line}]" if row.line else ""
        lines.append(f"  {cut(row.what):{name}}{value}  {row.why}{line}".rstrip())
    if len(rows) > len(shown):
        lines.append(f"  and {len(rows) - len(shown):,} more: see build/data.html")
    return "\n".join(lines)


def cut(text: str) -> str:
    """Return a text on one line, at most WIDTH letters."""
    line = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"

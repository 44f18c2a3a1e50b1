"""Writes data/README.md: a dictionary of the columns, to be filled in; pure."""

from __future__ import annotations

from mlgitops.report import table as markdown
from mlgitops.report import text as inert
from mlgitops.table.plan import Plan
from mlgitops.table.roles import ROW

EMPTY = "to be written"


def text(plan: Plan, file: str) -> str:
    """Return the whole file."""
    roles, aim, measured = plan.roles, plan.target, plan.measured
    rows = [(roles.id or ROW, "text, unique", "" if roles.id else "number of the row")]
    if roles.time:
        rows.append((roles.time, "timestamp, UTC", ""))
    if roles.group:
        rows.append((roles.group, "text", "what rows belong to"))
    if roles.part:
        rows.append((roles.part, "text", "the part of the data that a row is in"))
    for name, entries in plan.columns.items():
        missing = " or missing" if entries["missing"] else ""
        rows.append((name, f"{entries['type']}{missing}", ""))
    kind = {"binary": "0 or 1", "multiclass": "class", "regression": "number"}
    meaning = ""
    if aim.task == "binary" and {aim.positive, aim.negative} != {"0", "1"}:
        meaning = f"1: {aim.positive}; 0: {aim.negative}"
    rows.append((aim.name, kind[aim.task], f"the target. {meaning}".strip()))
    cells = [[inert(n), k, inert(m) if m else EMPTY] for n, k, m in rows]
    left = [
        f"- {inert(g.name)}: {inert(g.why)}"
        for g in plan.guesses
        if not g.kept and g.name not in (roles.id, roles.group, roles.part, aim.name)
    ]
    outside = ["## Left out", "\n".join(left)] if left else []
    parts = [
        "# The data",
        f"`{file}`: {measured.rows:,} rows. Where they come from, how they were "
        f"collected, and under which licence: {EMPTY}.",
        markdown(("column", "type", "meaning"), cells),
        *outside,
        "## Read this before trusting a number",
        f"What the rows do not show, and what is known only later: {EMPTY}.",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"

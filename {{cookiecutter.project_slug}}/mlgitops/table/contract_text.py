"""Writes contract.yaml, and the room that its ranges and categories leave; pure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from mlgitops.pipeline.words import LONGEST
from mlgitops.table.guess import EXACT, Guess
from mlgitops.table.roles import ROW, Roles
from mlgitops.table.target import Target
from mlgitops.table.typed import Measured, round_up
from mlgitops.table.yaml_lines import scalar

ROOM = 0.25  # of the range on each side
SHORTEST = 200.0  # characters that any text may have
RULE = (
    "a quarter of the range is added on each side, rounded outwards; below 0 only "
    "where a value is; categories are those of the data; a text may be twice as long "
    "as the longest"
)
HEAD = """\
# The contract of the data. Training refuses rows that break it. The server refuses
# wrong types, unknown columns and missing values that it does not allow; it takes new
# categories and numbers out of range, and the monitor reports them. In a request the id
# is called `id` and the time `time`. Which columns the model uses is train.columns in
# params.yaml; data/README.md says what each one means. Ranges: a quarter of what the
# data have is added on each side, rounded outwards; below 0 only where a value is.
"""


def column(guess: Guess, measured: Measured) -> dict[str, Any]:
    """Return the entries of one column."""
    facts, missing = guess.facts, guess.facts.good < guess.facts.rows
    if guess.type == "category":
        names = sorted(value for value, _ in measured.categories[guess.name])
        return {"type": "category", "missing": facts.missing > 0, "categories": names}
    if guess.type == "text":
        most = round_up(max(SHORTEST, 2.0 * measured.longest[guess.name]), 1)
        ends = {"max_length": min(LONGEST, int(most))}
        return {"type": "text", "missing": facts.missing > 0, **ends}
    if guess.type == "boolean":
        return {"type": "boolean", "missing": facts.missing > 0}
    low, high = facts.low or 0.0, facts.high or 0.0
    if guess.type == "datetime":
        return {"type": "datetime", "missing": missing}
    low, high = room(low, high)
    if guess.type == "integer":
        ends = {"min": max(-EXACT, math.floor(low)), "max": min(EXACT, math.ceil(high))}
        return {"type": "integer", **ends, "missing": missing}
    return {"type": "number", "min": low, "max": high, "missing": missing}


def room(low: float, high: float) -> tuple[float, float]:
    """Return a range with room on both sides, rounded outwards; never below 0 alone."""
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span) - 0.5)
    floor = math.floor((low - ROOM * span) / step) * step
    ceiling = math.ceil((high + ROOM * span) / step) * step
    if step < 1:  # 0.30000000000000004
        digits = -math.floor(math.log10(step))
        floor, ceiling = round(floor, digits), round(ceiling, digits)
    if low >= 0 > floor:
        floor = 0.0
    if high <= 0 < ceiling:
        ceiling = 0.0
    plain = [int(v) if v == int(v) and abs(v) < 1e15 else v for v in (floor, ceiling)]
    return plain[0], plain[1]


def entry(name: str, entries: Mapping[str, Any]) -> list[str]:
    """Return a column's lines, without the indent of `columns`."""
    if entries["type"] != "category":
        fields = ", ".join(f"{k}: {scalar(v)}" for k, v in entries.items())
        return [f"{scalar(name)}: {{{fields}}}"]
    listed = ", ".join(scalar(value) for value in entries["categories"])
    head = [
        f"{scalar(name)}:",
        "  type: category",
        f"  missing: {scalar(entries['missing'])}",
    ]
    if len(listed) < 60:
        return [*head, f"  categories: [{listed}]"]
    return [*head, "  categories: [", *_wrapped(entries["categories"]), "  ]"]


def _wrapped(values: Sequence[str]) -> list[str]:
    """Return the items of a list on lines of about 80 letters; no item is broken."""
    lines, line = [], ""
    for number, value in enumerate(values):
        item = scalar(value) + ("," if number < len(values) - 1 else "")
        if line and len(line) + len(item) > 78:
            lines.append(line)
            line = ""
        line += f" {item}" if line else item
    return [f"    {line}" for line in [*lines, line]]


def text(
    name: str,
    target: Target,
    roles: Roles,
    sensitive: Sequence[str],
    columns: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return the whole contract.yaml."""
    lines = [f"name: {name} # the model's name, as in the version tag {name}@v1.0.0"]
    lines.append(f"task: {target.task}")
    of = "the number of the row" if not roles.id else "unique, text"
    lines.append(f"id: {scalar(roles.id or ROW)} # {of}")
    if roles.time:
        lines.append(f"time: {scalar(roles.time)} # when the event happens, UTC")
    words = ""
    if target.task == "binary":
        yes, no = (" ".join(t.split()) for t in (target.positive, target.negative))
        words = f" # 1: {yes}; 0: {no}" if {yes, no} != {"0", "1"} else ""
    lines.append(f"target: {scalar(target.name)}{words}")
    if target.classes:
        lines.append(f"classes: [{', '.join(scalar(c) for c in target.classes)}]")
    if roles.group:
        lines.append(
            f"entity: {scalar(roles.group)} # rows with one value belong together"
        )
    if roles.part:
        lines.append(f"part: {scalar(roles.part)} # which part of the data a row is in")
    listed = ", ".join(scalar(s) for s in sensitive)
    lines.append(f"sensitive: [{listed}] # never written to a report or a log")
    lines.append("columns:")
    for column_name, entries in columns.items():
        lines += textwrap.indent("\n".join(entry(column_name, entries)), "  ").split(
            "\n"
        )
    return HEAD + "\n".join(lines) + "\n"

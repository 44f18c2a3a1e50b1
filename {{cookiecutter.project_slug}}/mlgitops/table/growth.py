"""What a newer table changes in a contract: its entries grow, and never shrink; pure.

A column that is gone is taken out, after the model has stopped to read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlgitops.pipeline.schema import one_line
from mlgitops.table.plan import Plan
from mlgitops.table.yaml_lines import scalar

Columns = Mapping[str, Mapping[str, Any]]
SHOWN = 5  # new categories that are named
NUMBERS = {"integer", "number"}
GONE = "bring it back in the file, or propose a model without it first, then these rows"
LATER = "not an input yet: name it in train.columns once main's contract has it"


def grown(old: Columns, plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the columns that hold what both the contract and the newer table have."""
    facts = {guess.name: guess.facts for guess in plan.inputs}
    result = {}
    for name, entries in plan.columns.items():
        before = old.get(name)
        kinds = {(before or {}).get("type"), entries["type"]}
        if before is None or (len(kinds) > 1 and kinds != NUMBERS):
            result[name] = dict(entries)
            continue
        merged = dict(before)  # an end that somebody took away stays away
        if kinds == NUMBERS:
            merged["type"] = "number"  # which holds whole numbers, too
        merged["missing"] = bool(before.get("missing")) or bool(entries["missing"])
        if entries["type"] == "category":
            known = [str(value) for value in before.get("categories", [])]
            new = [value for value in entries["categories"] if value not in known]
            merged["categories"] = [*known, *new]
        elif entries["type"] == "text":
            if plan.measured.longest[name] > before.get("max_length", 0):
                merged["max_length"] = entries["max_length"]
        elif entries["type"] in ("number", "integer"):
            low, high = facts[name].low or 0.0, facts[name].high or 0.0
            if "min" in before and low < before["min"]:
                merged["min"] = entries["min"]
            if "max" in before and high > before["max"]:
                merged["max"] = entries["max"]
        result[name] = merged
    return result


def first(old: Columns, new: Columns) -> dict[str, dict[str, Any]]:
    """Return the columns that today's rows keep too: what main has, as far as it grows.

    A new column comes with its rows, and so does another type but for a wider one of
    numbers: no table has it before.
    """
    result = {}
    for name, entries in old.items():
        grown = new.get(name, entries)
        kinds = {entries.get("type"), grown["type"]}
        result[name] = dict(grown if len(kinds) == 1 or kinds == NUMBERS else entries)
    return result


def held_back(plan: Plan, old: Columns) -> Plan:
    """Return the plan with no input that the contract of main does not have.

    A model that takes it is refused before the contract is on main.
    """
    new = {f"  - {scalar(name)}" for name in plan.columns if name not in old}
    params = [
        replace(entry, lines=tuple(line for line in entry.lines if line not in new))
        if entry.path == ("train", "columns")
        else entry
        for entry in plan.params
    ]
    return replace(plan, params=tuple(params))


def changes(
    old: Mapping[str, Any], plan: Plan, new: Columns, judged: bool
) -> list[str]:
    """Return what differs between a contract as it stands and the newer one."""
    result = []
    roles = {"task": plan.target.task, "target": plan.target.name}
    roles |= {"time": plan.roles.time, "entity": plan.roles.group}
    roles |= {"part": plan.roles.part}
    for role, value in roles.items():
        if (before := old.get(role, "")) != value:
            result.append(f"{role}: {before or 'none'} → {value or 'none'}")
    if more := [c for c in plan.target.classes if c not in old.get("classes", [])]:
        result.append(f"classes: new: {', '.join(map(one_line, more))}")
    columns = old.get("columns", {})
    reasons = {guess.name: guess.why for guess in plan.guesses}
    for name in columns:
        if name not in new:
            reason = reasons.get(name, "the file has no such column")
            advice = f"; {GONE}" if judged else ""
            result.append(f"{name}: no longer a column ({reason}){advice}")
    for name, entries in new.items():
        before = columns.get(name)
        if before is None:
            later = f"; {LATER}" if judged else ""
            result.append(f"{name}: a new column, {entries['type']}{later}")
        elif before.get("type") != entries["type"]:
            result.append(f"{name}: type {before.get('type')} → {entries['type']}")
        else:
            result += _within(name, before, entries)
    return result


def _within(
    name: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[str]:
    """Return what differs within a column whose type stays."""
    result = []
    for key in ("min", "max", "max_length", "missing"):
        if key in after and before.get(key) != after[key]:
            result.append(f"{name}: {key} {before.get(key)} → {after[key]}")
    if "categories" in after:
        known = [str(value) for value in before.get("categories", [])]
        if new := [v for v in after["categories"] if v not in known]:
            shown = ", ".join(map(one_line, new[:SHOWN]))
            more = f" and {len(new) - SHOWN} more" if len(new) > SHOWN else ""
            noun = "category" if len(new) == 1 else "categories"
            result.append(f"{name}: {len(new)} new {noun}: {shown}{more}")
    return result


def replaced(plan: Plan, columns: dict[str, dict[str, Any]]) -> Plan:
    """Return the plan with the columns of the contract that has grown."""
    return replace(plan, columns=columns)

"""Changes a contract.yaml where it stands: comments, order and all else stay; pure.

YAML's own parser says where each value begins and ends in the text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import yaml

from mlgitops.table import contract_text, yaml_lines
from mlgitops.table.yaml_lines import scalar

Columns = Mapping[str, Mapping[str, Any]]
Edit = tuple[int, int, str]  # what stands between two letters of the text becomes this


def amended(text: str, roles: Mapping[str, Any], columns: Columns) -> str:
    """Return the text with these roles and columns.

    A column whose type changes is written anew, with the others as they stand; a new
    one is added as the last. An empty role is removed.

    Raises:
        ValueError, KeyError, YAMLError: the text is not in the form that a run writes.
    """
    before = yaml.safe_load(text)
    old = before["columns"]
    edits: list[Edit] = []
    anew: dict[str, Mapping[str, Any]] = {}
    nodes = _children(_children(yaml.compose(text, yaml.SafeLoader))["columns"])
    for name, entries in columns.items():
        if entries == old.get(name):
            continue
        found = _within(text, nodes[name], old[name], entries) if name in old else None
        if found is None:
            anew[name] = entries
        else:
            edits += found
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    for name in old:
        if name not in columns:
            text = yaml_lines.remove(text, ("columns", name))
    for name, entries in anew.items():
        lines = contract_text.entry(name, entries)
        text = yaml_lines.put(text, ("columns", name), lines)
    for role, value in roles.items():
        if value and value != before.get(role):
            line = f"{role}: {scalar(value)}"
            text = yaml_lines.put(text, (role,), (line,))
        elif not value and role in before:
            text = yaml_lines.remove(text, (role,))
    if yaml.safe_load(text)["columns"] != columns:
        raise ValueError("contract.yaml has a form that is not edited")
    return text


def without(params: str, names: Collection[str]) -> str:
    """Return the text of params.yaml without columns that the model reads.

    Where that is not in the form of a list below `train`, it stays as it is.
    """
    for name in names:
        try:
            train = _children(yaml.compose(params, yaml.SafeLoader))["train"]
            node = _children(train)["columns"]
            items = [item.value for item in node.value]
            if len(items) > 1:
                params = _item_removed(params, node, items.index(name))
        except (KeyError, ValueError, AttributeError, yaml.YAMLError):
            continue
    return params


def _item_removed(text: str, node: Any, index: int) -> str:
    """Return the text without an item of a list, and without its line."""
    item = node.value[index]
    start, end = item.start_mark.index, item.end_mark.index
    if not node.flow_style:
        start = text.rfind("\n", 0, start) + 1
        end = text.find("\n", end) + 1 or len(text)
    elif index + 1 < len(node.value):
        end = node.value[index + 1].start_mark.index
    elif index:
        start = node.value[index - 1].end_mark.index
    return text[:start] + text[end:]


def _children(node: Any) -> dict[Any, Any]:
    """Return the nodes of a mapping by their keys."""
    return {yaml.safe_load(yaml.serialize(key)): value for key, value in node.value}


def _within(
    text: str, node: Any, old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[Edit] | None:
    """Return the edits within a column's entry, or None to write it anew."""
    nodes = _children(node)
    edits = []
    for key, value in new.items():
        if key in old and value == old[key]:
            continue
        if key not in old:
            return None
        if key == "categories":
            edits.append(_added(text, nodes[key], old[key], value))
        else:
            start, end = nodes[key].start_mark.index, nodes[key].end_mark.index
            edits.append((start, end, scalar(value)))
    return edits if new.keys() == old.keys() else None


def _added(text: str, node: Any, old: Sequence[str], new: Sequence[str]) -> Edit:
    """Return the edit that adds items to the end of a list, in the list's own style."""
    items = [scalar(value) for value in new[len(old) :]]
    last = node.value[-1]
    if node.flow_style:
        at = last.end_mark.index
        lines = text[node.start_mark.index : at].count("\n")
        between = ",\n" + " " * last.start_mark.column if lines else ", "
        return at, at, "".join(f"{between}{item}" for item in items)
    at = text.find("\n", last.end_mark.index)
    at = len(text) if at < 0 else at
    indent = " " * (last.start_mark.column - 2)
    return at, at, "".join(f"\n{indent}- {item}" for item in items)

"""Reads the labels and joins them by id: late, missing and contradictory ones too."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from mlgitops.pipeline.contract import Contract
from mlgitops.settings import Monitor
from mlgitops.source import FeedError, believe, files


@dataclass
class Labels:
    """The label of each id, how many lines were what, and groups that came along."""

    by_id: dict[str, Any] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    groups: dict[str, dict[str, str]] = field(default_factory=dict)
    whose: dict[str, str] = field(default_factory=dict)  # the entity of each id


def read_labels(
    source: str, wanted: Collection[str], contract: Contract, limits: Monitor
) -> Labels:
    """Return the label of each wanted id, and how many were what.

    The files are CSV with the columns ``id`` and the contract's target; a column that
    the contract calls sensitive may come along, for aggregates by group, and that of
    its entity, which no request carries. An id with two different labels has none:
    nobody can say which one is true.

    Raises:
        FeedError: a column is missing, too many labels are none that the task knows,
            or nothing is there to read.
    """
    found, contradictory = Labels(), set[str]()
    if "://" not in source and not Path(source).exists():
        found.counts["no file"] = 1  # labels come late: the first may not be there yet
        return found
    names = ["id", contract.target, *contract.beside, *contract.sensitive]
    for key, text, *beside in _records(source, names):
        whose = beside.pop(0) if contract.beside else ""
        found.counts["lines"] += 1
        label = _label(text.strip(), contract)
        if label is None:
            found.counts["corrupt"] += 1
        elif key in wanted:
            if found.by_id.setdefault(key, label) != label:
                contradictory.add(key)
            for name, group in zip(contract.sensitive, beside, strict=True):
                if group:
                    found.groups.setdefault(name, {})[key] = group
            if whose:
                found.whose.setdefault(key, whose)
    for key in contradictory:
        del found.by_id[key]
    found.counts["contradictory"] = len(contradictory)
    believe("the labels", found.counts, limits)
    return found


def _label(text: str, contract: Contract) -> Any:
    """Return a label as the task knows it, or None."""
    if contract.task == "binary":
        return int(text) if text in ("0", "1") else None
    if contract.task == "multiclass":
        return text if text in contract.classes else None
    try:
        return number if isfinite(number := float(text)) else None
    except ValueError:
        return None


def _records(source: str, names: list[str]) -> Iterator[list[str]]:
    """Yield the named fields of every line of the CSV files, "" where there is none.

    Each file has its own header; only the first two fields must be in it.
    """
    for name, text in files(source, "*.csv"):
        reader = csv.reader(text)
        header = next(reader, [])
        lacking = sorted(set(names[:2]) - set(header))
        if lacking:
            raise FeedError(
                f'{name} has no column "{lacking[0]}": labels are CSV with the columns '
                f"id and {names[1]}"
            )
        places = [header.index(field) if field in header else -1 for field in names]
        for line in reader:
            if line:
                yield [line[at] if 0 <= at < len(line) else "" for at in places]

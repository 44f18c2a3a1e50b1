"""Reads the labels and joins them by id: late, missing and contradictory ones too."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from mlgitops.pipeline.contract import Contract
from mlgitops.production_data import ProductionDataError, check_shares, files
from mlgitops.settings import Monitor


@dataclass
class Labels:
    """The label of each id, how many lines were what, and what came beside labels."""

    by_id: dict[str, Any] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    sensitive: dict[str, dict[str, str]] = field(default_factory=dict)  # column, id
    group_by_id: dict[str, str] = field(default_factory=dict)  # the entity's value


def read_labels(
    source: str, ids: Collection[str], contract: Contract, limits: Monitor
) -> Labels:
    """Return the label of each wanted id, and how many were what.

    The files are CSV with the columns ``id`` and the contract's target; a column that
    the contract calls sensitive may come along, for aggregates by group, and that of
    its entity, which no request carries. An id with two different labels has none:
    nobody can say which one is true.

    Raises:
        ProductionDataError: a column is missing, too many labels are not ones of the
            task, or there is nothing to read.
    """
    labels, contradictory = Labels(), set[str]()
    if "://" not in source and not Path(source).exists():
        labels.counts["no file"] = 1  # labels come late: the first may not exist yet
        return labels
    names = ["id", contract.target, *contract.beside, *contract.sensitive]
    for key, text, *others in _records(source, names):
        group = others.pop(0) if contract.beside else ""
        labels.counts["lines"] += 1
        label = _label(text.strip(), contract)
        if label is None:
            labels.counts["corrupt"] += 1
        elif key in ids:
            if labels.by_id.setdefault(key, label) != label:
                contradictory.add(key)
            for name, value in zip(contract.sensitive, others, strict=True):
                if value:
                    labels.sensitive.setdefault(name, {})[key] = value
            if group:
                labels.group_by_id.setdefault(key, group)
    for key in contradictory:
        del labels.by_id[key]
    labels.counts["contradictory"] = len(contradictory)
    check_shares("the labels", labels.counts, limits)
    return labels


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
    for file, lines in files(source, "*.csv"):
        reader = csv.reader(lines)
        header = next(reader, [])
        lacking = sorted(set(names[:2]) - set(header))
        if lacking:
            raise ProductionDataError(
                f'{file} has no column "{lacking[0]}": labels are CSV with the columns '
                f"id and {names[1]}"
            )
        columns = [header.index(name) if name in header else -1 for name in names]
        for line in reader:
            if line:
                yield [line[c] if 0 <= c < len(line) else "" for c in columns]

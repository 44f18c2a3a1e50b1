"""Reads the labels and joins them by id: late, missing, corrected and odd ones too.

Labels come out of spreadsheets and databases: with another separator, as `True`, `yes`
or `1.0`, with an id that has become `100.0`, with nothing where the truth is not known
yet. What has one meaning is read; what has none is counted, and refused with an example
where it is much.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf, isfinite, isnan
from pathlib import Path
from typing import Any, NamedTuple

from mlgitops.monitor.evidence import LabelCounts
from mlgitops.monitor.wording import shown
from mlgitops.pipeline.contract import Contract
from mlgitops.production_data import ProductionDataError, check_shares, files
from mlgitops.settings import Monitor

SEPARATORS = (",", ";", "\t", "|")
BLANK = {"", "na", "n/a", "nan", "none", "null"}  # the truth is not known yet
DECISIONS = dict.fromkeys(("1", "true", "yes", "y", "t"), 1)
DECISIONS |= dict.fromkeys(("0", "false", "no", "n", "f"), 0)
ORDER = ("labelled_at", "revision")  # columns that say which of two labels is newer
WHOLE = re.compile(r"(-?\d+)\.0+")  # a whole number that has become a fraction
LONGEST_HEADER = 100_000  # characters that are looked at; a field may not have more
CONTRADICTION = object()

Rank = tuple[float, int]  # of a label: its time or order, and that of its file


@dataclass
class Labels:
    """The label of each id, how many lines were what, and what came beside labels."""

    by_id: dict[str, Any] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    sensitive: dict[str, dict[str, str]] = field(default_factory=dict)  # column, id
    group_by_id: dict[str, str] = field(default_factory=dict)  # the entity's value
    part_by_id: dict[str, str] = field(default_factory=dict)  # of a split by column
    newest: str = ""  # id of the last label
    contradictory: str = ""  # an id that was dropped

    def facts(self, newest_prediction: str, share: float) -> LabelCounts:
        """Return the counts as evidence; ``share`` is the part of the log looked at."""
        count = self.counts
        return LabelCounts(
            count["lines"] - count["blank"] - count["corrupt"],
            count["matched"],
            shown(self.newest),
            shown(newest_prediction),
            count["blank"],
            count["corrupt"],
            count["corrected"],
            count["contradictory"],
            shown(self.contradictory),
            share,
        )


class _Line(NamedTuple):
    """A line with a label; a field that it does not have is ""."""

    id: str
    label: str
    group: str
    part: str
    order: str
    sensitive: Sequence[str]
    file: int
    comma: bool  # a decimal one may be


def read_labels(
    source: str, ids: Collection[str], contract: Contract, limits: Monitor
) -> Labels:
    """Return the label of each wanted id, and how many were what.

    The files are CSV with the columns ``id`` and the contract's target; a column that
    the contract calls sensitive may come along, for aggregates by group, and those of
    its entity and its part, which no request carries. Of two labels of an id the newer
    one counts: by the column ``labelled_at`` (a time) or ``revision`` (a number), else
    by the order of the files' names. Where neither tells, the id has none: nobody can
    say which one is true.

    Raises:
        ProductionDataError: a column is missing, too many labels are not ones of the
            task, or there is nothing to read.
    """
    labels = Labels()
    if "://" not in source and not Path(source).exists():
        labels.counts["no file"] = 1  # labels come late: the first may not exist yet
        return labels
    logged, newest, example = {_canonical(key): key for key in ids}, _Newest(), ""
    for line in _records(source, contract):
        labels.counts["lines"] += 1
        label, order, odd = _read(line, contract)
        if line is None or label is None or order is None:
            labels.counts["corrupt" if odd is not None else "blank"] += 1
            example = example or odd or ""
            continue
        labels.newest = line.id
        key = line.id if line.id in ids else logged.get(_canonical(line.id))
        if key is None:
            continue
        labels.counts["matched"] += 1
        newest.add(key, label, (order, line.file))
        for name, value in zip(contract.sensitive, line.sensitive, strict=True):
            if value:
                labels.sensitive.setdefault(name, {})[key] = value
        if line.group:
            labels.group_by_id.setdefault(key, line.group)
        if line.part:
            labels.part_by_id.setdefault(key, line.part)
    labels.by_id, dropped = newest.known(), newest.contradictory()
    labels.counts["corrected"] = len(newest.corrected & labels.by_id.keys())
    labels.counts["contradictory"] = len(dropped)
    labels.contradictory = dropped[0] if dropped else ""
    hint = f", such as {example}" if example else ""
    check_shares("the labels", labels.counts, limits, hint)
    return labels


class _Newest:
    """The newest label of each id, where that can be told."""

    def __init__(self) -> None:
        self.corrected: set[str] = set()
        self._labels: dict[str, tuple[Rank, Any]] = {}

    def add(self, key: str, label: Any, rank: Rank) -> None:
        """Take a label of an id, newer or older than the one that is there."""
        if key not in self._labels:
            self._labels[key] = rank, label
            return
        before, known = self._labels[key]
        if rank != before and known != label:
            self.corrected.add(key)
        if rank > before:
            self._labels[key] = rank, label
        elif rank == before and known != label:
            self._labels[key] = rank, CONTRADICTION

    def known(self) -> dict[str, Any]:
        """Return the label of each id that has one."""
        labels = self._labels.items()
        return {key: label for key, (_, label) in labels if label is not CONTRADICTION}

    def contradictory(self) -> list[str]:
        """Return the ids with two labels of which none is newer."""
        labels = self._labels.items()
        return [key for key, (_, label) in labels if label is CONTRADICTION]


def _read(
    line: _Line | None, contract: Contract
) -> tuple[Any, float | None, str | None]:
    """Return a line's label, its order, and what is odd in it; blank is not odd.

    What is odd is the value, and what it should be; "" where the line is none.
    """
    if line is None:
        return None, None, ""
    label, order = _label(line.label, contract, line.comma), _order(line.order)
    if label is None:
        if line.label.casefold() in BLANK:
            return None, order, None
        return None, order, f'"{shown(line.label)}": {_expected(contract)}'
    if order is None:
        time, number = ORDER
        rule = f'"{time}" must be a time such as 2024-01-31, "{number}" a number'
        return label, None, f'"{shown(line.order)}": {rule}'
    return label, order, None


def _label(text: str, contract: Contract, comma: bool) -> Any:
    """Return a label as the task knows it, or None."""
    whole = _canonical(text)
    if contract.task == "binary":
        return DECISIONS.get(whole.casefold())
    if contract.task == "multiclass":
        return next((t for t in (text, whole) if t in contract.classes), None)
    try:
        number = float(text.replace(",", ".") if comma else text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _expected(contract: Contract) -> str:
    """Say what a label of the task is."""
    if contract.task == "binary":
        return f'"{contract.target}" must be 0 or 1, true or false, yes or no'
    if contract.task == "multiclass":
        return f'"{contract.target}" must be one of {", ".join(contract.classes)}'
    return f'"{contract.target}" must be a number'


def _canonical(text: str) -> str:
    """Return an id, or a label, without blanks and without a fraction of zeros."""
    text = text.strip()
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text


def _order(text: str) -> float | None:
    """Return a time or a number to order labels by; None if it is neither."""
    if not text:
        return -inf
    with suppress(ValueError):
        return None if isnan(number := float(text)) else number
    with suppress(ValueError, OverflowError):
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    return None


def id_column(contract: Contract) -> str:
    """Return what labels call the id: `id`, unless another of their columns is."""
    own = {contract.target, *contract.labelled_only, *contract.sensitive}
    return contract.id if "id" in own else "id"


def _records(source: str, contract: Contract) -> Iterator[_Line | None]:
    """Yield every line of the CSV files; None where a line is not one.

    Each file has its own header; only the id and the label must be in it. An empty
    file has no labels yet.
    """
    own, wanted = contract.labelled_only, id_column(contract)  # requests lack these
    entity, part = (n if n in own else "" for n in (contract.entity, contract.part))
    for number, (file, lines) in enumerate(files(source, "*.csv")):
        rows = iter(lines)
        if not (first := next((row for row in rows if row.strip()), "")):
            continue
        header, separator = _header(first[:LONGEST_HEADER], contract)
        key = wanted if wanted in header else contract.id
        for name in (key, contract.target):
            if name not in header:
                raise ProductionDataError(
                    f'{file} has no column "{wanted if name == key else name}" but '
                    f'"{shown(first.strip())}": labels are CSV with the columns '
                    f"{wanted} and {contract.target}"
                )
        needed = header.index(key), header.index(contract.target)
        order = next((name for name in ORDER if name in header), "")
        reader = csv.reader(rows, delimiter=separator, strict=True)
        for line, count in _parsed(reader):
            if len(line) <= max(needed):
                yield from [None] * count
                continue
            cells = dict(zip(header, map(str.strip, line), strict=False))
            yield _Line(
                cells[key],
                cells[contract.target],
                cells.get(entity, ""),
                cells.get(part, ""),
                cells.get(order, ""),
                [cells.get(name, "") for name in contract.sensitive],
                number,
                separator == ";",
            )


def _parsed(reader: Any) -> Iterator[tuple[list[str], int]]:
    """Yield each record with fields and its number of lines; no field is a bad one."""
    while True:
        before = reader.line_num
        try:
            record = next(reader, None)
        except csv.Error:  # a field that does not end, say
            record = []
            yield record, reader.line_num - before
        if record is None:
            return
        if record:
            yield record, reader.line_num - before


def _header(first: str, contract: Contract) -> tuple[list[str], str]:
    """Return a file's header and its separator: the one that shows most columns."""
    wanted = {"id", contract.id, contract.target}
    headers = {
        separator: [*map(str.strip, next(csv.reader([first], delimiter=separator)))]
        for separator in SEPARATORS
    }
    separator = max(headers, key=lambda s: len(wanted & set(headers[s])))
    return headers[separator], separator


def separator_of(first: str, contract: Contract) -> str:
    """Return the separator of a file of labels, by its first line."""
    return _header(first[:LONGEST_HEADER], contract)[1]

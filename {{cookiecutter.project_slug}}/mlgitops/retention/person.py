"""Whose rows go: by their ids, or by the column `entity` of contract.yaml; pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from mlgitops.prediction_log import parse, parse_unlogged

WHOLE = re.compile(r"(-?\d+)\.0+")  # a whole number that has become a fraction


@dataclass(frozen=True)
class Person:
    """The ids of the rows that go, and who they are in the column of the entity."""

    ids: frozenset[str]
    names: frozenset[str] = frozenset()
    column: str = ""  # of the entity; "" where only ids are named

    def __post_init__(self) -> None:
        """Write ids and names as requests do; nothing is nobody's id or name."""
        for field in ("ids", "names"):
            texts = {written(value) for value in getattr(self, field)} - {""}
            object.__setattr__(self, field, frozenset(texts))

    def owns(self, row_id: object, name: object = None) -> bool:
        """Tell whether a row of that id, and of that entity, goes."""
        return written(row_id) in self.ids or written(name) in self.names

    def logged(self, line: str) -> bool:
        """Tell whether a line of the log goes.

        One that cannot be read goes where it holds one of the ids as a word; one that
        counts what was not logged is nobody's.
        """
        if entry := parse(line):
            return self.owns(entry.id, entry.row.get(self.column))
        if parse_unlogged(line):
            return False
        words = "|".join(map(re.escape, self.ids | self.names))
        return bool(words and re.search(rf"(?<!\w)(?:{words})(?!\w)", line))

    def id_in(self, line: str) -> str:
        """Return the id that a line of the log has, if it is of one of the names."""
        entry = parse(line)
        if entry and written(entry.row.get(self.column)) in self.names:
            return entry.id
        return ""

    def without(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the lines of a log that stay, byte for byte."""
        for line in lines:
            if not self.logged(line.decode("utf-8", "replace")):
                yield line


def written(value: object) -> str:
    """Return an id as a request writes it: 7.0, which pandas makes of 7, is 7."""
    text = "" if value is None else str(value).strip()
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text


def labels(
    lines: list[str], separator: str, keys: Collection[str], person: Person
) -> list[str]:
    """Return the lines of a CSV with labels that stay, the header among them.

    `keys` are what its column of ids may be called. A record of several lines goes
    whole.

    Raises:
        ValueError: there is no such column.
    """
    first, records = _records(lines, separator, keys)
    kept = lines[:first]
    for cells, begin, end in records:
        ids = [cells[key] for key in keys if key in cells]
        if not any(person.owns(i, cells.get(person.column)) for i in ids):
            kept += lines[begin:end]
    return kept


def label_ids(
    lines: list[str], separator: str, keys: Collection[str], person: Person
) -> set[str]:
    """Return the ids of a CSV's records that are of one of the names."""
    return {
        cells[key]
        for cells, _, _ in _records(lines, separator, keys)[1]
        for key in keys
        if key in cells and written(cells.get(person.column)) in person.names
    }


def _records(
    lines: list[str], separator: str, keys: Collection[str]
) -> tuple[int, list[tuple[dict[str, str], int, int]]]:
    """Return the header's lines, and each record's cells with where its lines are."""
    blank = next((n for n, line in enumerate(lines) if line.strip("\ufeff \t\r\n")), 0)
    reader = csv.reader(lines[blank:], delimiter=separator)
    header = [cell.strip().lstrip("\ufeff") for cell in next(reader, [])]
    if not set(keys) & set(header):
        raise ValueError(f"it has no column {' or '.join(sorted(keys))}")
    first = end = blank + reader.line_num
    records = []
    for record in reader:
        begin, end = end, blank + reader.line_num
        records.append((dict(zip(header, record, strict=False)), begin, end))
    return first, records

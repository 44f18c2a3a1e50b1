"""Whose rows go: by their ids, or by the column `entity` of contract.yaml; pure."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from mlgitops.prediction_log import parse


@dataclass(frozen=True)
class Person:
    """The ids of the rows that go, and who they are in the column of the entity."""

    ids: frozenset[str]
    names: frozenset[str] = frozenset()
    column: str = ""  # of the entity; "" where only ids are named

    def owns(self, row_id: object, name: object = None) -> bool:
        """Tell whether a row of that id, and of that entity, goes."""
        return written(row_id) in self.ids or written(name) in self.names

    def logged(self, line: str) -> bool:
        """Tell whether a line of the log goes.

        One that cannot be read goes where it holds one of the ids.
        """
        if entry := parse(line):
            return self.owns(entry.id, entry.row.get(self.column))
        return any(text in line for text in self.ids | self.names)

    def without(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the lines of a log that stay, byte for byte."""
        for line in lines:
            if not self.logged(line.decode("utf-8", "replace")):
                yield line


def written(value: object) -> str:
    """Return an id as a request writes it: 7.0, which pandas makes of 7, is 7."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def labels(
    lines: list[str], separator: str, keys: Collection[str], person: Person
) -> list[str]:
    """Return the lines of a CSV with labels that stay, the header among them.

    `keys` are what its column of ids may be called. A record of several lines goes
    whole.
    """
    reader = csv.reader(lines, delimiter=separator)
    header = [cell.strip().lstrip("\ufeff") for cell in next(reader, [])]
    end = reader.line_num
    kept = lines[:end]
    for record in reader:
        begin, end = end, reader.line_num
        cells = dict(zip(header, record, strict=False))
        ids = [cells[key] for key in keys if key in cells]
        if not any(person.owns(i, cells.get(person.column)) for i in ids):
            kept += lines[begin:end]
    return kept

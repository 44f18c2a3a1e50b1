"""Whose rows go: by their ids, or by the column `entity` of contract.yaml; pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

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


def written(value: object) -> str:
    """Return an id as a request writes it: 7.0, which pandas makes of 7, is 7."""
    text = "" if value is None else str(value).strip()
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text


def has_label(cells: Mapping[str, str], keys: Collection[str], person: Person) -> bool:
    """Tell whether a record of labels goes; `keys` are what its id may be called."""
    name = cells.get(person.column)
    return any(person.owns(cells[key], name) for key in keys if key in cells)


def label_ids(
    cells: Mapping[str, str], keys: Collection[str], person: Person
) -> set[str]:
    """Return the ids of a record of labels that is of one of the names."""
    if written(cells.get(person.column)) not in person.names:
        return set()
    return {cells[key] for key in keys if key in cells}


def of_csv(
    lines: Iterator[str], separator: Callable[[str], str], keys: Collection[str]
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield the lines of each record, with its cells by column.

    The first are the header's, with blank ones before it, and have no cells. A record
    may have several lines. `separator` tells what is between cells from the header.

    Raises:
        ValueError: no column of ids is called as one of `keys`.
    """
    read: list[str] = []
    header = next((h for h in _noted(lines, read) if h.strip("\ufeff \t\r\n")), None)
    if header is None:
        yield read, {}
        return
    reader = csv.reader(
        chain([header], _noted(lines, read)), delimiter=separator(header)
    )
    names = [cell.strip().lstrip("\ufeff") for cell in next(reader, [])]
    if not set(keys) & set(names):
        raise ValueError(f"it has no column {' or '.join(sorted(keys))}")
    yield [*read], {}
    read.clear()
    for record in reader:
        yield [*read], dict(zip(names, record, strict=False))
        read.clear()


def _noted(lines: Iterator[str], read: list[str]) -> Iterator[str]:
    """Yield lines, and note them."""
    for line in lines:
        read.append(line)
        yield line

"""A row as a type: made from the contract at start, and checked by msgspec in C.

What it accepts, `rows` accepts, with the same arrays: a test holds both equal. What it
does not accept, `rows` judges again: it has the sentence, and a few values are refused
here that are fine there (a whole number beyond 2^53, 1.0 in a rare spelling). The edge
bundle has no msgspec, and checks with `rows` alone.
"""

from collections.abc import Collection, Mapping, Sequence
from math import ceil, floor
from sys import float_info
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from mlgitops.serving.rows import WHOLE, Array, Column, RowError, Rows, seconds
from mlgitops.serving.words import words

LARGEST = float(np.finfo(np.float32).max)
DATETIME = "datetime"
TEXTS = ("category", "text")
FINITE = float_info.max
EXACT = 2**53  # up to here each whole number has its own float64


class Typed:
    """Checks rows against the contract and returns the model's inputs."""

    def __init__(
        self,
        schema: Mapping[str, Column],
        names: Sequence[str],
        metadata: Sequence[str],
    ) -> None:
        """`names` are the model's columns, `metadata` a row's id and time."""
        fields: list[Any] = [
            (f"c{n}", _type(c), *((None,) if c.missing else ()))
            for n, c in enumerate(schema.values())
        ]
        fields += [(f"m{n}", Any, None) for n, _ in enumerate(metadata)]
        keys = [*schema, *metadata]
        self._row = msgspec.defstruct(
            "Row",
            fields,
            rename={field[0]: key for field, key in zip(fields, keys, strict=True)},
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )
        self._rows = Sequence[self._row]  # type: ignore[name-defined]
        self._times = [name for name, c in schema.items() if c.type == "datetime"]
        kinds = [schema[name].type for name in names]
        self._names = list(names)
        self._texts = [n for n, k in zip(names, kinds, strict=True) if k in TEXTS]
        self._words = [n for n in self._texts if schema[n].type == "text"]
        self._numbers = [
            n for n, k in zip(names, kinds, strict=True) if k not in (*TEXTS, DATETIME)
        ]

    def inputs(self, rows: Rows) -> dict[str, Array] | None:
        """Return what `rows.inputs` does, or None where that has to look itself."""
        arrays: dict[str, Array] = {}
        try:
            _convert(rows, self._row, self._rows)
            for name in self._times:
                moments = [
                    seconds(n, row.get(name), name) for n, row in enumerate(rows)
                ]
                arrays[name] = np.array(moments, dtype=np.float64).reshape(-1, 1)
        except (msgspec.ValidationError, RowError):
            return None
        self._add_numbers(arrays, rows)
        self._add_texts(arrays, rows)
        return {name: arrays[name] for name in self._names}

    def _add_numbers(self, arrays: dict[str, Array], rows: Rows) -> None:
        """Add a float32 array for each number; None becomes NaN."""
        names = self._numbers
        values = [[row.get(name) for row in rows] for name in names]
        block = np.array(values, dtype=np.float64).astype(np.float32)
        columns = block.reshape(len(names), len(rows), 1)
        arrays.update(zip(names, columns, strict=True))

    def _add_texts(self, arrays: dict[str, Array], rows: Rows) -> None:
        """Add an array of objects for each category and text; None becomes ""."""
        for name in self._texts:
            texts = [row.get(name) or "" for row in rows]
            if name in self._words:
                texts = [*map(words, texts)]
            arrays[name] = np.array(texts, dtype=object).reshape(-1, 1)


class Usual:
    """Tells of most rows that they hold only what training saw."""

    def __init__(
        self,
        categories: Mapping[str, Collection[str]],
        ranges: Mapping[str, tuple[float, float]],
    ) -> None:
        """`categories` are those of columns, `ranges` the ends of numbers."""
        fields: list[tuple[str, Any]] = [
            (name, Literal[tuple(sorted({*texts, ""}))])
            for name, texts in categories.items()
        ]
        for name, (low, high) in ranges.items():
            whole = Meta(ge=ceil(max(low, -EXACT)), le=floor(min(high, EXACT)))
            number = Annotated[float, Meta(ge=max(low, -FINITE), le=min(high, FINITE))]
            fields.append((name, Annotated[int, whole] | number))
        self._row = msgspec.defstruct(
            "Usual",
            [(f"c{n}", kind | None, None) for n, (_, kind) in enumerate(fields)],
            rename={f"c{n}": name for n, (name, _) in enumerate(fields)},
            gc=False,
        )
        self._rows = Sequence[self._row]  # type: ignore[name-defined]

    def __call__(self, rows: Sequence[Mapping[str, object]]) -> bool:
        """Return whether all rows are of these; one of the others may be, too."""
        try:
            _convert(rows, self._row, self._rows)
        except msgspec.ValidationError:
            return False
        return True


def _convert(rows: Rows, one: Any, many: Any) -> None:
    """Raise ValidationError unless all rows are of a type; a single row costs less."""
    if len(rows) == 1:
        msgspec.convert(rows[0], one)
    else:
        msgspec.convert(rows, many)


def _type(column: Column) -> Any:
    """Return the type that msgspec checks for a column of the contract."""
    least = 0 if column.missing else 1
    kinds: dict[str, Any] = {
        "number": Annotated[int, Meta(ge=-EXACT, le=EXACT)]
        | Annotated[float, Meta(ge=-LARGEST, le=LARGEST)],
        "integer": Annotated[int, Meta(ge=-WHOLE, le=WHOLE)]
        | Annotated[float, Meta(ge=-WHOLE, le=WHOLE, multiple_of=1)],
        "boolean": bool,
        "datetime": Annotated[str, Meta(min_length=1)],
    }
    if column.allowed is not None:
        texts = [*column.allowed, *([""] if column.missing else [])]
        kind: Any = Literal[tuple(sorted(texts))]
    else:
        length = Meta(min_length=least, max_length=column.max_text)
        kind = kinds.get(column.type) or Annotated[str, length]
    return kind | None if column.missing else kind

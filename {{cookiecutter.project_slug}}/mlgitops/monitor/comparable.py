"""Which columns are compared for those of the contract: numbers and categories; pure.

A boolean is compared as a category of true and false. A time always moves on: compared
as it is, it would drift in every window. Compared instead are its hour of the day and
its weekday (both UTC, as the model sees them), and how many days it is after the event.
Where rows have no time of an event, the training data have nothing that corresponds to
the arrival of a request; then the other columns of times are compared by their days
after the first of them.

Of a text are compared its length, the share of its words that no row of the reference
has, and the least common one that it has of some words of the reference. A row of the
reference itself is counted out there: else only production could have unknown words.

What comes after this (`drift`, `slices`, Evidently) knows numbers and categories only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlgitops.monitor.reference import Reference, free
from mlgitops.pipeline.contract import Column, Contract
from mlgitops.pipeline.words import words

if TYPE_CHECKING:
    import pandas as pd

CATEGORIES = {
    "boolean": ("false", "true"),
    "hour": tuple(f"{hour:02}" for hour in range(24)),
    "weekday": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
}
AS_IT_IS = ("number", "integer", "category")
DAY = 86_400  # seconds
TOPICS = 30  # common words that a text is looked at for,
RARE, USUAL = 0.01, 0.2  # each in this share of the reference's rows: others say little
FEWEST = 30  # rows of the reference that a word is in, so that it is nobody's
NO_TOPIC = "none of them"
ROOM = 0.5  # days that whole weeks may be shorter or longer
MANY = 28 - ROOM  # days that show each weekday about as often, whole weeks or not


class Vocabulary(NamedTuple):
    """The words of a column of the reference."""

    rows: Mapping[str, int]  # that each word is in
    topics: tuple[str, ...]  # common words, the least common of them first


Vocabularies = Mapping[str, Vocabulary]  # by column of texts


class Part(NamedTuple):
    """What is compared of a column: all of it, or one aspect of a time or a text."""

    name: str  # as it is shown
    kind: str  # of `AS_IT_IS` or `CATEGORIES`, "days", or of `OF_TEXTS`


OF_TEXTS = {"characters": "characters", "unknown": "unknown words", "topic": "words"}


def parts(original: Contract, name: str) -> list[Part]:
    """Return what is compared of one column of the contract."""
    kind = original.columns[name].type
    if kind == "text":
        of_text = {kind: f"{name} ({noun})" for kind, noun in OF_TEXTS.items()}
        return [Part(free(text, original), kind) for kind, text in of_text.items()]
    if kind != "datetime":
        return [Part(name, kind)]
    shown = {kind: f"{name} ({kind})" for kind in ("hour", "weekday")}
    if (start := first_time(original)) != name:
        shown["days"] = f"{name} (days after {start})"
    return [Part(free(text, original), kind) for kind, text in shown.items()]


def first_time(original: Contract) -> str:
    """Return the column that days are counted from: the event's, or the first one."""
    return original.time or next(iter(original.kind("datetime", [*original.columns])))


def vocabularies(rows: pd.DataFrame, original: Contract) -> dict[str, Vocabulary]:
    """Return the words of each column of texts in a reference's rows."""
    found = {}
    for name in original.kind("text", [*original.columns]):
        counted = Counter[str]()
        for text in rows[name].dropna():
            counted.update(set(words(text).split()))
        least, most = max(FEWEST, RARE * len(rows)), USUAL * len(rows)
        common = [(-n, word) for word, n in counted.items() if least <= n <= most]
        topics = tuple(word for _, word in sorted(common)[:TOPICS][::-1])
        found[name] = Vocabulary(counted, topics)
    return found


def contract(
    original: Contract, weekdays: bool = True, known: Vocabularies | None = None
) -> Contract:
    """Return the contract of the compared columns, perhaps without weekdays.

    Without words of the reference (`known`) there is nothing of a text.
    """
    columns = {
        part.name: _column(part, column, (known or {}).get(name))
        for name, column in original.columns.items()
        for part in parts(original, name)
        if weekdays or part.kind != "weekday"
        if part.kind not in OF_TEXTS or known
    }
    return replace(original, columns=columns)


def table(
    rows: pd.DataFrame,
    original: Contract,
    known: Vocabularies | None = None,
    own: int = 0,
) -> pd.DataFrame:
    """Return checked rows with the compared columns beside the contract's.

    `own` is 1 if the rows are those that the words were counted in.
    """
    made = {
        part.name: _values(rows, original, name, part)
        for name in original.columns
        for part in parts(original, name)
        if part.kind not in (*AS_IT_IS, *OF_TEXTS)
    }
    for name, vocabulary in (known or {}).items():
        values = _of_texts(rows[name], vocabulary, own)
        columns = {part.kind: part.name for part in parts(original, name)}
        made |= {columns[kind]: column for kind, column in values.items()}
    return rows.assign(**made)


def reference(
    known: Reference, weekdays: bool = True, vocabulary: Vocabularies | None = None
) -> Reference:
    """Return a version with the compared columns, by which its rows are compared."""
    compared = contract(known.contract, weekdays, vocabulary)
    importance = dict[str, float]()
    for name, weight in known.importance.items():
        pieces = [p for p in names(known.contract, [name]) if p in compared.columns]
        importance |= {piece: weight / len(pieces) for piece in pieces}
    train, holdout = (
        table(rows, known.contract, vocabulary, own=1)
        for rows in (known.train, known.holdout)
    )
    return replace(
        known, contract=compared, train=train, holdout=holdout, importance=importance
    )


def names(original: Contract, columns: Iterable[str]) -> list[str]:
    """Return the names of what is compared of these columns."""
    known = [name for name in columns if name in original.columns]
    return [part.name for name in known for part in parts(original, name)]


def show_weekdays(times: pd.Series) -> bool:
    """Return whether rows of these times have each weekday about as often."""
    days = (times.max() - times.min()).total_seconds() / DAY
    return bool(days >= MANY or (0 < days and abs(days - 7 * round(days / 7)) <= ROOM))


def _column(part: Part, column: Column, known: Vocabulary | None) -> Column:
    """Return a column that is compared."""
    if part.kind == "topic":
        topics = known.topics if known else ()
        return Column("category", column.missing, (*topics, NO_TOPIC))
    if part.kind in OF_TEXTS:
        return Column("number", column.missing)
    if part.kind in CATEGORIES:
        return Column("category", column.missing, CATEGORIES[part.kind])
    if part.kind == "days":
        return Column("number", column.missing)
    kind = "number" if column.type == "integer" else column.type
    return replace(column, type=kind)


def _values(rows: pd.DataFrame, original: Contract, name: str, part: Part) -> pd.Series:
    """Return the values of one compared column."""
    import pandas as pd

    values = rows[name]
    if part.kind == "days":
        since = values - rows[first_time(original)]
        return (since.dt.total_seconds() / DAY).astype("float32")
    codes = values
    if part.kind != "boolean":
        codes = values.dt.hour if part.kind == "hour" else values.dt.weekday
    texts = np.array(CATEGORIES[part.kind], dtype=object)
    picked = texts[codes.fillna(0).to_numpy(np.int64)]
    return pd.Series(picked, rows.index, dtype=object).where(values.notna(), None)


def _of_texts(
    texts: pd.Series, known: Vocabulary, own: int
) -> dict[str, pd.Series[Any]]:
    """Return the values of what is compared of texts; missing ones have none."""
    import pandas as pd

    lengths = texts.str.len() if texts.notna().any() else texts
    unknown, topics = list[float](), list[str | None]()
    for text in texts:
        if not isinstance(text, str):
            unknown.append(np.nan)
            topics.append(None)
            continue
        found: Sequence[str] = words(text).split()
        lacking = sum(known.rows.get(word, 0) <= own for word in found)
        unknown.append(lacking / max(len(found), 1))
        present = set(found)
        topic = (topic for topic in known.topics if topic in present)
        topics.append(next(topic, NO_TOPIC))
    return {
        "characters": lengths.astype("float32"),
        "unknown": pd.Series(unknown, texts.index, dtype="float32"),
        "topic": pd.Series(topics, texts.index, dtype=object),
    }

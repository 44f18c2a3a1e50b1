"""What a person may say about a table; everything else is guessed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from mlgitops.table.problem import TableError

TYPES = ("number", "integer", "boolean", "category", "datetime", "text", "unix")
TASKS = ("binary", "multiclass", "regression")
ROLES = ("target", "id", "time", "group", "part")  # of one column each
SPLITS = ("time", "random", "group", "column")


@dataclass(frozen=True)
class Options:
    """The options of `make data`, by their names there in lower case."""

    file: str
    target: str
    name: str = ""
    id: str = ""
    time: str = ""
    group: str = ""
    part: str = ""
    holdout: tuple[str, ...] = ()  # values of the part's column
    sensitive: tuple[str, ...] = ()
    positive: str = ""
    task: str = ""
    drop: tuple[str, ...] = ()
    split: str = ""
    types: Mapping[str, str] = field(default_factory=dict)
    unlabelled: str = ""  # "drop" leaves rows without a target out
    query: str = ""  # of a database: a file with one SELECT, or its text

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Options:
        """Return the options of a command line; "" is not given.

        Raises:
            TableError: an option has a value that it cannot have.
        """
        for name, known in (
            ("task", TASKS),
            ("split", SPLITS),
            ("unlabelled", ("drop",)),
        ):
            if given.get(name, "") not in ("", *known):
                raise TableError(
                    f"{name.upper()}={given[name]} is not known; known: "
                    f"{', '.join(known)}"
                )
        values: dict[str, object] = {k: v for k, v in given.items() if v}
        for name in ("sensitive", "drop", "holdout"):
            values[name] = tuple(_items(given.get(name, "")))
        values["types"] = _types(given.get("types", ""))
        for name in ("file", "target"):
            if not given.get(name):
                raise TableError(
                    f"{name.upper()}= is missing: type, for example, make data "
                    "FILE=customers.csv TARGET=churned"
                )
        return cls(**values)  # type: ignore[arg-type]  # texts, by the loop above

    def plain(self) -> dict[str, object]:
        """Return what was given as JSON keeps it."""
        given = {k: v for k, v in asdict(self).items() if v}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}

    def over(self, earlier: Mapping[str, object]) -> dict[str, str]:
        """Return these options, and where one is not given, that of an earlier run."""
        own = self.plain()
        merged = {f.name: own.get(f.name) or earlier.get(f.name) for f in fields(self)}
        return {name: written(value) for name, value in merged.items() if value}

    def columns(self) -> dict[str, list[str]]:
        """Return the names of columns in each option."""
        single = {n: getattr(self, n) for n in ROLES}
        named = {name: [value] for name, value in single.items() if value}
        lists = {"sensitive": [*self.sensitive], "drop": [*self.drop]}
        return {**named, **lists, "types": [*self.types]}


def written(value: object) -> str:
    """Return an option as it is typed."""
    if isinstance(value, Mapping):
        return _line([f"{name}={kind}" for name, kind in value.items()])
    return _line(value) if isinstance(value, list | tuple) else str(value)


def _line(items: list[str] | tuple[str, ...]) -> str:
    """Return items as one line of CSV, so that a name may have a comma in it."""
    quoted = ['"' + i.replace('"', '""') + '"' if "," in i else i for i in items]
    return ",".join(quoted)


def _items(text: str) -> list[str]:
    """Return the items of a list such as a,b or "a, b",c."""
    rows = list(csv.reader([text], skipinitialspace=True)) if text else []
    return [item.strip() for row in rows for item in row if item.strip()]


def _types(text: str) -> dict[str, str]:
    """Return the types of a list such as zip=category,seen=unix."""
    types = {}
    for item in _items(text):
        name, _, kind = item.rpartition("=")
        if not name or not (kind in TYPES or "%" in kind):
            raise TableError(
                f"TYPES={item} is not a column and its type, such as "
                f"zip=category; types: {', '.join(TYPES)}, or the form of a date such "
                "as %d/%m/%Y"
            )
        types[name] = kind
    return types

"""What contract.yaml says, as an object, or one sentence on what is wrong; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Annotated, Literal, get_args

from mlgitops.pipeline.schema import (
    PARAMS,
    Between,
    ContractError,
    Distinct,
    Location,
    OrInteger,
    convert,
    mapping,
    one_line,
    shown,
)
from mlgitops.pipeline.words import LONGEST

__all__ = ["Column", "Contract", "ContractError", "mapping", "plain", "sentence"]

NAME = "contract.yaml"
FILE = Location(NAME)
LABELLED = {  # roles of columns that labelled rows have, and requests need not have
    "entity": "the entity, such as a customer, that a row belongs to",
    "part": "the part of the data, such as train or test, that a row belongs to",
}
WHOLE = 2**24  # up to here each whole number has its own float32
EARLIEST = datetime(1700, 1, 2, tzinfo=UTC)  # of a datetime: a table's times, and the
LATEST = datetime(2199, 12, 31, tzinfo=UTC)  # server's, do not go much further
FLOATS = ("number", "integer", "boolean")  # what a model takes as float32


Unknown = Literal["predict", "refuse"]


@dataclass(frozen=True)
class Column:
    """One column that a request carries.

    The ends of a datetime are seconds since 1970, UTC; a boolean lies between 0 and 1.
    """

    type: str
    missing: bool
    categories: tuple[str, ...] = ()
    min: float = -float("inf")
    max: float = float("inf")
    max_length: int = 0  # characters of a text
    unknown: Unknown = "predict"  # what a request with another category gets


@dataclass(frozen=True)
class Contract:
    """What rows must look like in training, serving and monitoring."""

    name: str
    task: Literal["binary", "multiclass", "regression"]
    id: str
    target: str
    columns: dict[str, Column]
    time: str = ""  # of the event; without one, monitoring goes by arrival
    sensitive: Annotated[tuple[str, ...], Distinct()] = ()
    # of the target, in the order of a model's probabilities
    classes: Annotated[tuple[Annotated[str, OrInteger()], ...], Distinct()] = ()
    entity: str = ""  # a column whose rows belong together, such as a customer's
    part: str = ""  # a column that says which rows are held out (prepare.split: column)
    unknown: Unknown = "predict"  # of the columns that do not say it

    @classmethod
    def read(cls, text: str | bytes) -> Contract:
        """Return what contract.yaml says, or raise ContractError."""
        return cls.parse(mapping(text, NAME))

    @classmethod
    def parse(cls, document: Mapping[str, object]) -> Contract:
        """Return what the parsed contract.yaml says, or raise ContractError."""
        columns = document.get("columns")
        if isinstance(columns, Mapping):
            default = document.get("unknown", "predict")
            columns = {
                name: _column(name, entry, default) for name, entry in columns.items()
            }
            document = {**document, "columns": columns}
        contract = convert(cls, document, FILE)
        if not re.fullmatch(r"[a-z][a-z0-9-]*[a-z0-9]", contract.name):
            raise FILE.key("name").wrong(
                "lower-case letters, digits and hyphens, as it begins the tags of "
                "versions",
                contract.name,
            )
        if not columns:
            raise FILE.key("columns").wrong("one column or more", columns)
        _check_classes(contract)
        _check_roles(contract)
        for role, meaning in LABELLED.items():
            if role in document:
                _check_labelled(contract, role, meaning)
        return contract

    @property
    def labelled_only(self) -> list[str]:
        """Columns of the entity and the part that requests do not have."""
        served = ("", self.time, *self.columns)
        names = dict.fromkeys((self.entity, self.part))
        return [name for name in names if name not in served]

    def kind(self, kind: str, columns: Sequence[str]) -> list[str]:
        """Return those of `columns` that are of `kind`: number, category, datetime or
        text.

        Integers and booleans are numbers, as a table and a model hold them.
        """
        location = Location(PARAMS, "train.columns")
        if self.time and self.time in columns and self.time not in self.columns:
            raise location.error(
                f"has '{self.time}', the time of contract.yaml, which is no input: to "
                "learn from it, copy it to a column of its own in model/prepare.py, "
                "and describe that in contract.yaml"
            )
        location.demand(columns, self.columns, "a column of contract.yaml")
        types = FLOATS if kind == "number" else (kind,)
        return [name for name in columns if self.columns[name].type in types]


@dataclass(frozen=True)
class _Number:
    """The entries of a column of numbers."""

    type: Literal["number"]
    missing: bool
    min: float = -float("inf")
    max: float = float("inf")


@dataclass(frozen=True)
class _Integer:
    """The entries of a column of whole numbers."""

    type: Literal["integer"]
    missing: bool
    min: float
    max: float


@dataclass(frozen=True)
class _Boolean:
    """The entries of a column of true and false."""

    type: Literal["boolean"]
    missing: bool


@dataclass(frozen=True)
class _Datetime:
    """The entries of a column of dates or times."""

    type: Literal["datetime"]
    missing: bool
    min: object = EARLIEST
    max: object = LATEST


@dataclass(frozen=True)
class _Category:
    """The entries of a column of categories."""

    type: Literal["category"]
    missing: bool
    categories: Annotated[tuple[str, ...], Distinct(1)]
    unknown: Unknown = "predict"


@dataclass(frozen=True)
class _Text:
    """The entries of a column of free text."""

    type: Literal["text"]
    missing: bool
    max_length: Annotated[int, Between(1, LONGEST)]


KINDS = {
    "number": _Number,
    "integer": _Integer,
    "boolean": _Boolean,
    "category": _Category,
    "datetime": _Datetime,
    "text": _Text,
}


def plain(document: object) -> bytes:
    """Return a contract as the JSON that a machine without YAML reads (edge)."""
    return json.dumps(document, indent=1, default=str).encode()


def _column(name: str, entry: object, unknown: object = "predict") -> Column:
    """Return a column of the parsed contract.yaml; `unknown` where it does not say."""
    location = FILE.key("columns").key(name)
    if not isinstance(entry, Mapping):
        raise location.wrong("entries such as {type: number, missing: false}", entry)
    if "type" not in entry:
        raise location.lacks("type")
    kind = entry["type"]
    if not (isinstance(kind, str) and kind in KINDS):
        types = f"{', '.join(list(KINDS)[:-1])} or {list(KINDS)[-1]}"
        raise location.key("type").wrong(types, kind)
    if kind == "category":
        _check_categories(entry.get("categories"), location)
    ends: dict[str, object] = {"min": 0.0, "max": 1.0} if kind == "boolean" else {}
    fields = dict(vars(convert(KINDS[kind], entry, location)))
    if kind == "category" and "unknown" not in entry and unknown in get_args(Unknown):
        fields["unknown"] = unknown  # another word is refused later
    if kind == "datetime":
        ends = {end: _seconds(fields[end], location.key(end)) for end in ("min", "max")}
    column = Column(**{**fields, **ends})
    if kind == "integer":
        _check_whole(column, location)
    if not column.min < column.max:
        limit = shown(fields["max"]) if kind == "datetime" else f"{column.max:g}"
        raise location.key("min").wrong(f"below max ({limit})", fields["min"])
    return column


def _check_categories(categories: object, location: Location) -> None:
    """Refuse whole numbers, and true and false, with the type that they have."""
    values = categories if isinstance(categories, list) else []
    types, listed = set(map(type, values)), location.key("categories")
    problem = f"must be text, but YAML reads {shown(values[0])}" if values else ""
    if types == {int}:
        texts = one_line(json.dumps(list(map(str, values))))
        line = f"type: integer, min: {min(values)}, max: {max(values)}"
        raise listed.error(f"{problem}: write categories: {texts}, or {line}")
    if types == {bool}:
        raise listed.error(
            f"{problem} (yes, no, on and off, too): put each in quotes, or write type: "
            "boolean, without categories"
        )


def _check_whole(column: Column, location: Location) -> None:
    """Refuse ends that are not whole, or beyond what float32 keeps apart."""
    for name in ("min", "max"):
        value = getattr(column, name)
        if value != int(value):
            raise location.key(name).wrong("a whole number", value)
        if abs(value) > WHOLE:
            raise location.key(name).error(
                f"is {value:,.0f}: whole numbers beyond {WHOLE:,} lose digits in the "
                "model. An identifier: type category, or leave the column out; a time "
                "in seconds: type datetime; a quantity whose last digits do not "
                "matter: type number"
            )


def _seconds(value: object, location: Location) -> float:
    """Return an end of a range of times as seconds since 1970, UTC.

    A day, as the largest, is that whole day.
    """
    if isinstance(value, str):
        with suppress(ValueError):
            value = (datetime if ":" in value else date).fromisoformat(value)
    if type(value) is date:
        last = location.path.endswith(".max")
        value = datetime.combine(value, time.max if last else time.min)
    if not isinstance(value, datetime):
        raise location.wrong("a day or a time such as 2030-12-31", value)
    moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    if not EARLIEST <= moment <= LATEST:
        raise location.wrong("a time from 1700-01-02 to 2199-12-30", str(value))
    return moment.timestamp()


def _check_classes(contract: Contract) -> None:
    """Refuse classes for a task that has none, and fewer than two."""
    location, task = FILE.key("classes"), contract.task
    if task != "multiclass" and contract.classes:
        raise location.error(f"is for the task multiclass, not {task}: remove the line")
    if task == "multiclass" and len(contract.classes) < 2:
        raise location.wrong("a list of two or more names", list(contract.classes))


def _check_roles(contract: Contract) -> None:
    """Refuse a column that has two roles, and a sensitive one that does not exist."""
    roles = {name: f"columns.{name}" for name in contract.columns}
    for role in ("id", "time", "target"):
        name = getattr(contract, role)
        if not name:
            continue
        if name in roles:
            raise FILE.key(role).error(
                f"is '{name}', and so is {roles[name]}: a column has one role"
            )
        roles[name] = role
    columns = [*contract.columns, *contract.labelled_only]
    FILE.key("sensitive").demand(contract.sensitive, columns, "one of the columns")


def _check_labelled(contract: Contract, role: str, meaning: str) -> None:
    """Refuse a column that cannot say which entity, or which part, a row is of."""
    location, column = FILE.key(role), getattr(contract, role)
    if not column.strip():
        raise location.wrong("the name of one column (or remove the line)", column)
    taken = {contract.id: "id", contract.target: "target"}
    if role == "part":
        taken[contract.time] = "time"
    if column in taken:
        raise location.error(
            f"is '{column}', the {taken[column]}: name the column of {meaning}"
        )
    if column in contract.columns and contract.columns[column].missing:
        raise location.error(
            f"is '{column}', whose values may be missing: set "
            f"columns.{column}.missing to false"
        )


def sentence(error: Exception) -> str:
    """Return an ordinary mistake in one line: what is wrong, and what to type."""
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is missing; type make pull, then make repro."
    return " ".join(str(error).split())

"""What contract.yaml says, as an object, or one sentence on what is wrong; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from mlgitops.pipeline.schema import (
    PARAMS,
    ContractError,
    Distinct,
    Location,
    OrInteger,
    convert,
    mapping,
)

__all__ = ["Column", "Contract", "ContractError", "mapping", "plain", "sentence"]

NAME = "contract.yaml"
FILE = Location(NAME)
RESERVED = ("id", "time")  # what a request carries beside its columns
LABELLED = {  # roles of columns that labelled rows have, and requests need not have
    "entity": "the entity, such as a customer, that a row belongs to",
    "part": "the part of the data, such as train or test, that a row belongs to",
}


@dataclass(frozen=True)
class Column:
    """One column that a request carries: a number in a range, or a category."""

    type: str
    missing: bool
    categories: tuple[str, ...] = ()
    min: float = -float("inf")
    max: float = float("inf")


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

    @classmethod
    def read(cls, text: str | bytes) -> Contract:
        """Return what contract.yaml says, or raise ContractError."""
        return cls.parse(mapping(text, NAME))

    @classmethod
    def parse(cls, document: Mapping[str, object]) -> Contract:
        """Return what the parsed contract.yaml says, or raise ContractError."""
        columns = document.get("columns")
        if isinstance(columns, Mapping):
            columns = {name: _column(name, entry) for name, entry in columns.items()}
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
        """Return those of `columns` that are of `kind` ("number" or "category")."""
        location = Location(PARAMS, "train.columns")
        location.demand(columns, self.columns, "a column of contract.yaml")
        return [name for name in columns if self.columns[name].type == kind]


@dataclass(frozen=True)
class _Number:
    """The entries of a column of numbers."""

    type: Literal["number"]
    missing: bool
    min: float = -float("inf")
    max: float = float("inf")


@dataclass(frozen=True)
class _Category:
    """The entries of a column of categories."""

    type: Literal["category"]
    missing: bool
    categories: Annotated[tuple[str, ...], Distinct(1)]


def plain(document: object) -> bytes:
    """Return a contract as the JSON that a machine without YAML reads (edge)."""
    return json.dumps(document, indent=1, default=str).encode()


def _column(name: str, entry: object) -> Column:
    """Return a column of the parsed contract.yaml."""
    location = FILE.key("columns").key(name)
    if name in RESERVED:
        problem = "cannot be the name of a column: a request has an id and a time"
        raise location.error(problem)
    if not isinstance(entry, Mapping):
        raise location.wrong("entries such as {type: number, missing: false}", entry)
    if "type" not in entry:
        raise location.lacks("type")
    if entry["type"] == "category":
        return Column(**vars(convert(_Category, entry, location)))
    if entry["type"] != "number":
        raise location.key("type").wrong("number or category", entry["type"])
    column = Column(**vars(convert(_Number, entry, location)))
    if not column.min < column.max:
        raise location.key("min").wrong(f"below max ({column.max:g})", column.min)
    return column


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

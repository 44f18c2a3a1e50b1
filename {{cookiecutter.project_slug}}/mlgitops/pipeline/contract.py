"""What contract.yaml says, as an object, or one sentence on what is wrong; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from mlgitops.pipeline.schema import (
    At,
    ContractError,
    Distinct,
    Whole,
    mapping,
    near,
    read,
)

__all__ = ["Column", "Contract", "ContractError", "mapping", "plain", "sentence"]

NAME = "contract.yaml"
FILE = At(NAME)
RESERVED = ("id", "time")  # what a request carries beside its columns
Names = Annotated[tuple[str, ...], Distinct()]


@dataclass(frozen=True)
class Column:
    """One column that a request carries: a number in a range, or a category."""

    name: str
    type: str
    missing: bool
    categories: tuple[str, ...] = ()
    min: float = -float("inf")
    max: float = float("inf")


@dataclass(frozen=True)
class Contract:
    """What rows must look like in training, serving and monitoring."""

    name: str
    task: str
    id: str
    time: str
    target: str
    sensitive: tuple[str, ...]
    columns: dict[str, Column]
    classes: tuple[str, ...] = ()  # of the target, in the order of a model's answers
    entity: str = ""  # a column whose rows belong together, such as a customer's

    @classmethod
    def read(cls, text: str | bytes) -> Contract:
        """Return what contract.yaml says, or raise ContractError."""
        return cls.parse(mapping(text, NAME))

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Contract:
        """Return what the parsed contract.yaml says, or raise ContractError."""
        found = read(_Document, document, FILE)
        if not re.fullmatch(r"[a-z][a-z0-9-]*[a-z0-9]", found.name):
            raise FILE.key("name").wrong(
                "lower-case letters, digits and hyphens, as it begins the tags of "
                "versions",
                found.name,
            )
        columns = {name: _column(name, body) for name, body in found.columns.items()}
        if not columns:
            raise FILE.key("columns").wrong("one column or more", found.columns)
        _classes(found)
        contract = cls(**{**vars(found), "columns": columns})
        _roles(contract)
        if "entity" in document:
            _entity(contract)
        return contract

    @property
    def beside(self) -> list[str]:
        """The entity's column, where labelled rows have it and requests do not."""
        return (
            [self.entity] if self.entity not in ("", self.time, *self.columns) else []
        )

    def kind(self, kind: str, columns: Sequence[str]) -> list[str]:
        """Return those of `columns` that are of `kind` ("number" or "category")."""
        for name in columns:
            if name not in self.columns:
                raise ContractError(
                    f"params.yaml: train.columns names '{name}', which is not a column "
                    f"of contract.yaml; {near(name, self.columns)}"
                )
        return [name for name in columns if self.columns[name].type == kind]


@dataclass(frozen=True)
class _Document:
    """The entries of contract.yaml."""

    name: str
    task: Literal["binary", "multiclass", "regression"]
    id: str
    time: str
    target: str
    columns: dict[str, Any]
    sensitive: Names = ()
    classes: Annotated[tuple[Annotated[str, Whole()], ...], Distinct()] = ()
    entity: str = ""


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


def plain(document: Any) -> bytes:
    """Return a contract as the JSON that a machine without YAML reads (edge)."""
    return json.dumps(document, indent=1, default=str).encode()


def _column(name: str, entry: Any) -> Column:
    """Return a column of the parsed contract.yaml."""
    at = FILE.key("columns").key(name)
    if name in RESERVED:
        raise at.error("cannot be the name of a column: a request has an id and a time")
    if not isinstance(entry, Mapping):
        raise at.wrong("entries such as {type: number, missing: false}", entry)
    if "type" not in entry:
        raise at.lacks("type")
    if entry["type"] not in ("number", "category"):
        raise at.key("type").wrong("number or category", entry["type"])
    if entry["type"] == "category":
        return Column(name, **vars(read(_Category, entry, at)))
    column = Column(name, **vars(read(_Number, entry, at)))
    if not column.min < column.max:
        raise at.key("min").wrong(f"below max ({column.max:g})", column.min)
    return column


def _classes(found: _Document) -> None:
    """Refuse classes that the task has no use for, or not enough of them."""
    at = FILE.key("classes")
    if found.task != "multiclass" and found.classes:
        raise at.error(f"is for the task multiclass, not {found.task}: remove the line")
    if found.task == "multiclass" and len(found.classes) < 2:
        raise at.wrong("a list of two or more names", list(found.classes))


def _roles(contract: Contract) -> None:
    """Refuse a column that has two roles, and a sensitive one that is none."""
    taken = {name: f"columns.{name}" for name in contract.columns}
    for role in ("id", "time", "target"):
        name = getattr(contract, role)
        if name in taken:
            raise FILE.key(role).error(
                f"is '{name}', and so is {taken[name]}: a column has one role"
            )
        taken[name] = role
    known = [*contract.columns, *contract.beside]
    for place, name in enumerate(contract.sensitive):
        if name not in known:
            raise (
                FILE.key("sensitive")
                .entry(place)
                .error(
                    f"is '{name}', which is not one of the columns; {near(name, known)}"
                )
            )


def _entity(contract: Contract) -> None:
    """Refuse a column that cannot tell whose a row is."""
    at, entity = FILE.key("entity"), contract.entity
    if not entity.strip():
        raise at.wrong("the name of one column (or remove the line)", entity)
    if entity in (contract.id, contract.target):
        role = "id" if entity == contract.id else "target"
        raise at.error(
            f"is '{entity}', the {role}: name the column that tells whose a row is"
        )
    if entity in contract.columns and contract.columns[entity].missing:
        raise at.error(
            f"is '{entity}', whose values may be missing: set "
            f"columns.{entity}.missing to false"
        )


def sentence(error: Exception) -> str:
    """Return an ordinary mistake in one line: what is wrong, and what to type."""
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is missing; type make pull, then make repro."
    return " ".join(str(error).split())

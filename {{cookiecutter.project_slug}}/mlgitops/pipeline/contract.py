"""What contract.yaml and params.yaml say, as objects, or one sentence; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import yaml

NUMBER = (int, float)
WANTED: dict[str, dict[str, tuple[Any, str]]] = {
    "prepare": {
        "holdout_days": (NUMBER, "a number of days"),
        "train_days": (NUMBER, "a number of days"),
    },
    "train": {
        "seed": (int, "a whole number"),
        "estimator": (str, "the name of an estimator"),
        "columns": (list, "a list of columns"),
        "threshold": (NUMBER, "a probability from 0 to 1"),
        "parity": (NUMBER, "a small number such as 1.0e-5"),
    },
    "evaluate": {"bins": (int, "a whole number from 1 to 1000")},
}
SPANS = {
    "holdout_days": (1e-3, 1e5),
    "train_days": (1e-3, 1e5),
    "seed": (0, 2**32 - 1),
    "threshold": (0, 1),
    "parity": (0, 1),
    "bins": (1, 1000),
}
SHAPES = [
    ("columns", dict, "a column a line, each with its entries"),
    ("sensitive", list, "a list of columns, such as [age]"),
    ("classes", list, "a list of names, such as [a, b, c]"),
]


class ContractError(Exception):
    """One sentence about data, a contract or a setting that cannot be used."""


@dataclass(frozen=True)
class Column:
    """One column that a request carries: a number in a range, or a category."""

    name: str
    type: str
    missing: bool
    categories: tuple[str, ...] = ()
    min: float = -float("inf")
    max: float = float("inf")

    def __post_init__(self) -> None:
        """Refuse a type that nothing downstream can serve."""
        if self.type not in ("number", "category"):
            raise ContractError(
                f'contract.yaml: column "{self.name}" has the type "{self.type}"; '
                "type number or category."
            )
        if self.type == "category" and not self.categories:
            raise ContractError(
                f'contract.yaml: category "{self.name}" needs its list of categories.'
            )
        limits = [v for v in (self.min, self.max) if isinstance(v, NUMBER)]
        if len(limits) < 2 or not self.min < self.max:
            raise ContractError(
                f'contract.yaml: column "{self.name}" goes from {self.min} to '
                f"{self.max}; min and max must be numbers, the smaller one first."
            )


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
    def parse(cls, document: Mapping[str, Any]) -> Contract:
        """Build the contract from the parsed contract.yaml, or raise ContractError."""
        if not isinstance(document, Mapping):
            raise ContractError(no_entries("contract.yaml"))
        for name, kind, wanted in SHAPES:
            if not isinstance(document.get(name) or kind(), kind):
                raise ContractError(f"contract.yaml: {name} has to be {wanted}.")
        try:
            columns = {n: _column(n, c) for n, c in document["columns"].items()}
            words = {
                k: str(document[k]) for k in ("name", "task", "id", "time", "target")
            }
            sensitive = tuple(document.get("sensitive") or ())
            classes = tuple(map(str, document.get("classes") or ()))
            entity = document.get("entity", "")
        except (KeyError, AttributeError) as error:
            lacks = error.args[0] if isinstance(error, KeyError) else "columns"
            raise ContractError(
                f'contract.yaml has no entry "{lacks}", or a misspelt one; add it.'
            ) from error
        tasks = _tasks()
        if words["task"] not in tasks:
            raise ContractError(
                f'contract.yaml: task is "{words["task"]}"; type {" or ".join(tasks)}.'
            )
        if not re.fullmatch(r"[a-z][a-z0-9-]*[a-z0-9]", words["name"]):
            raise ContractError(
                f'contract.yaml: name is "{words["name"]}"; it begins the tags of '
                "versions, so type lower-case letters, digits and hyphens."
            )
        _agree(words["task"], classes)
        found = cls(**words, sensitive=sensitive, columns=columns, classes=classes)
        return found if entity == "" else replace(found, entity=_whose(entity, found))

    @property
    def beside(self) -> list[str]:
        """The entity's column, where labelled rows have it and requests do not."""
        return (
            [self.entity] if self.entity not in ("", self.time, *self.columns) else []
        )

    def kind(self, kind: str, columns: Sequence[str]) -> list[str]:
        """Return those of `columns` that are of `kind` ("number" or "category")."""
        unknown = [name for name in columns if name not in self.columns]
        if unknown:
            raise ContractError(
                f'params.yaml: train.columns names "{unknown[0]}", which contract.yaml '
                "does not have; correct the name or add the column to the contract."
            )
        return [name for name in columns if self.columns[name].type == kind]


def mapping(text: str | bytes, name: str) -> dict[str, Any]:
    """Return the entries of a YAML file of that name, or raise ContractError."""
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", at line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "it is no text, or too deep"
        raise ContractError(f"{name} is no sound YAML{where}: {what}.") from error
    if not isinstance(found, Mapping):
        raise ContractError(no_entries(name))
    return dict(found)


def no_entries(name: str) -> str:
    """Say that a YAML file is a list, a word or empty."""
    return (
        f"{name} holds no entries such as `name: value`; write them, or bring it back: "
        f"`git checkout HEAD -- {name}`."
    )


def plain(document: Any) -> bytes:
    """Return a contract as the JSON that a machine without YAML reads (edge)."""
    return json.dumps(document, indent=1, default=str).encode()


def _column(name: str, entry: Mapping[str, Any]) -> Column:
    """Return a column of the parsed contract.yaml."""
    known = {field.name for field in fields(Column)} - {"name"}
    if not isinstance(entry, Mapping) or "type" not in entry or "missing" not in entry:
        raise ContractError(
            f'contract.yaml: column "{name}" needs entries, among them type and '
            "missing, such as {type: number, missing: false}."
        )
    if unknown := sorted(set(entry) - known):
        raise ContractError(
            f'contract.yaml: column "{name}" has the unknown entry "{unknown[0]}"; it '
            f"can have {', '.join(sorted(known))}."
        )
    if not isinstance(categories := entry.get("categories") or [], list):
        raise ContractError(
            f'contract.yaml: the categories of "{name}" have to be a list.'
        )
    return Column(name, **{**entry, "categories": tuple(categories)})


def _agree(task: str, classes: Sequence[str]) -> None:
    """Refuse classes that the task has no use for, or not enough of them."""
    if "classes" not in _tasks()[task].needs:
        if classes:
            raise ContractError(
                f'contract.yaml: classes are for the task multiclass, not "{task}"; '
                "remove the line."
            )
    elif len(set(classes)) < max(2, len(classes)):
        raise ContractError(
            "contract.yaml: the task multiclass needs classes, a list of two or more "
            "names, each once."
        )


def _whose(entity: Any, contract: Contract) -> str:
    """Return the entity's column, or refuse one that cannot tell whose a row is."""
    why = ""
    if not isinstance(entity, str) or not entity.strip():
        why = "type the name of one column, or remove the line"
    elif entity in (contract.id, contract.target):
        role = "id" if entity == contract.id else "target"
        why = f"that is the {role}; name the column that tells whose a row is"
    elif entity in contract.columns and contract.columns[entity].missing:
        why = "whose a row is must be known; set missing: false on that column"
    if why:
        raise ContractError(f'contract.yaml: entity is "{entity}"; {why}.')
    return str(entity)


def settings(params: Any, section: str, task: str = "binary") -> dict[str, Any]:
    """Return a stage's section of the parsed params.yaml, or raise ContractError."""
    found = params.get(section) if isinstance(params, Mapping) else None
    if not isinstance(found, Mapping):
        raise ContractError(f'params.yaml has no section "{section}"; add it.')
    for name, (kind, wanted) in WANTED[section].items():
        if name == "threshold" and name not in _tasks()[task].needs:
            if name in found:
                raise ContractError(
                    f"params.yaml: train.threshold is for the task binary, not {task}; "
                    "remove the line."
                )
            continue
        value: Any = found.get(name)
        low, high = SPANS.get(name, (0, 0))
        right = isinstance(value, kind) and not isinstance(value, bool)
        if not right or (name in SPANS and not low <= value <= high):
            raise ContractError(
                f"params.yaml: {section}.{name} is {value}; it must be {wanted}."
            )
    repeated = len(set(found.get("columns", ()))) < len(found.get("columns", ()))
    if repeated or found.get("columns") == []:
        raise ContractError("params.yaml: train.columns must name each column once.")
    return dict(found)


def sentence(error: Exception) -> str:
    """Return an ordinary mistake in one line: what is wrong, and what to type."""
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is missing; type make pull, then make repro."
    return " ".join(str(error).split())


def _tasks() -> Mapping[str, Any]:
    """Return the tasks; they bring numpy, which a deployment starts sooner without."""
    from mlgitops.pipeline.task import TASKS

    return TASKS

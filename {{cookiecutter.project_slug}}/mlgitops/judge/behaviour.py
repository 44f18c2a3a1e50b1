"""Tries what behaviour.yaml declares: invariance and direction, on the exported file.

After Ribeiro et al. (2020), ACL: behavioural testing with checklists.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import yaml

from mlgitops.judge import checks
from mlgitops.judge.evaluation import Evaluation, inputs, predict
from mlgitops.judge.tasks import TASKS
from mlgitops.judgement import Check
from mlgitops.pipeline.contract import Column, Contract
from mlgitops.pipeline.data import moments, times
from mlgitops.pipeline.schema import OWN, Location, convert, is_number, near, one_line

FILE = Path("behaviour.yaml")
SAMPLE = 5_000  # rows that are changed
VIOLATION = {  # by how much a prediction breaks an expectation, from its change
    "same": np.abs,
    "not lower": np.negative,
    "not higher": np.positive,
}


@dataclass(frozen=True)
class Rule:
    """One test: what a change of a column may do, for all but the allowed share."""

    name: str
    column: str
    expect: Literal["same", "not lower", "not higher"]
    tolerance: float
    allowed: float
    add: float | None = None
    set: object = None
    class_name: str = field(default="", metadata=OWN)  # the key `class`

    @property
    def slug(self) -> str:
        """The name as an id has it."""
        return re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")

    def class_index(self, contract: Contract) -> int | None:
        """Return the index of the class that the rule is about, if it names one."""
        return contract.classes.index(self.class_name) if self.class_name else None

    def changed(self, rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
        """Return the rows with the change, numbers kept in the contract's range.

        To a time, days are added.
        """
        column, entry = rows[self.column], contract.columns[self.column]
        if entry.type == "datetime":
            if self.add is None:
                values = times(pd.Series(str(self.set), rows.index))
            else:
                moved = column + pd.Timedelta(days=self.add)
                values = moved.clip(*moments(entry))
        elif self.add is None:
            values = pd.Series(self.set, rows.index, column.dtype)
        else:
            values = (column + self.add).clip(entry.min, entry.max)
        return rows.assign(**{self.column: values})


def add(evaluation: Evaluation) -> None:
    """Add one check for each rule on a column of the challenger's.

    What main tries of a column that the proposal removes is a caution: both go at once.
    """
    declared = yaml.safe_load(FILE.read_bytes()) if FILE.is_file() else []
    contract, model, task = evaluation.contract, evaluation.challenger, evaluation.task
    declared = _left(declared, evaluation)
    rules = [r for r in parse(declared, contract) if r.column in model.columns]
    if not rules:
        return
    rows = evaluation.sample(SAMPLE, seed=2)
    sample, count = evaluation.holdout.iloc[rows], len(rows)
    tables = [rule.changed(sample, contract) for rule in rules]
    changed = [inputs(model, table, contract) for table in tables]
    predictions = np.split(predict(model, changed, contract), len(rules))
    for rule, after in zip(rules, predictions, strict=True):
        index = rule.class_index(contract)
        classes = None if index is None else np.full(count, index)
        before = task.of_class(model.predictions[rows], classes)
        change = VIOLATION[rule.expect](task.of_class(after, classes) - before)
        broken = (change > rule.tolerance).reshape(count, -1).any(axis=1)
        evaluation.judgement.checks.append(_check(rule, float(broken.mean())))


def _left(declared: object, evaluation: Evaluation) -> object:
    """Return what is declared, without tests of columns that are removed."""
    if not isinstance(declared, list):
        return declared
    gone = [each for each in declared if _column(each) in evaluation.removed]
    evaluation.judgement.cautions += [
        f'{FILE.name} on main has the test "{one_line(each.get("name", ""))}" of '
        f"{one_line(_column(each))}, a column that this removes: it was not tried. "
        "Remove the test in this proposal, too."
        for each in gone
    ]
    return [each for each in declared if each not in gone]


def _column(entry: object) -> str:
    """Return the column that an entry names, nothing where it is not one."""
    return str(entry.get("column", "")) if isinstance(entry, Mapping) else ""


def parse(declared: object, contract: Contract) -> list[Rule]:
    """Read the rules.

    Raises:
        ContractError: an entry that would not test what it says.
    """
    file = Location(FILE.name)
    if not isinstance(declared, list | None):
        raise file.wrong("a list of tests, or empty", declared)
    rules = [_parse(entry, contract) for entry in declared or []]
    slugs = [rule.slug for rule in rules]
    for rule in rules:
        if slugs.count(rule.slug) > 1:
            raise file.error(f'two tests have the name "{rule.name}": rename one')
    return rules


def _parse(entry: object, contract: Contract) -> Rule:
    """Check one entry."""
    name = entry.get("name") if isinstance(entry, Mapping) else entry
    at = Location(FILE.name, f'"{name}"')
    if not isinstance(entry, Mapping):
        raise at.wrong("entries such as `name: value`", entry)
    rule = convert(Rule, {key: entry[key] for key in entry if key != "class"}, at)
    if "class" in entry:
        rule = replace(rule, class_name=str(entry["class"]))
        if rule.class_name not in contract.classes:
            raise at.key("class").error("is not a class of contract.yaml")
    elif contract.classes and rule.expect != "same":
        raise at.error("must name the class whose probability it is about")
    if (rule.add is None) == (rule.set is None):
        raise at.error("must have one of add and set")
    if (column := contract.columns.get(rule.column)) is None:
        raise at.key("column").error(
            f"is '{one_line(rule.column)}', which contract.yaml does not have: remove "
            "this test if the column was removed there, or name another one; "
            f"{near(rule.column, contract.columns)}"
        )
    limits = {"tolerance": TASKS[contract.task].tolerance_limit, "allowed": 1}
    for key, limit in limits.items():
        if not 0 <= (value := getattr(rule, key)) < limit:
            raise at.key(key).wrong(f"a number from 0 to below {limit:g}", value)
    if not _suits(rule, column):
        raise at.error(f"must add or set what the column {rule.column} can hold")
    return rule


def _suits(rule: Rule, column: Column) -> bool:
    """Return whether a column can hold what a rule sets, or what its adding gives."""
    if column.type == "category":
        return rule.set in column.categories
    if column.type == "boolean":
        return isinstance(rule.set, bool)
    if column.type == "text":
        return isinstance(rule.set, str) and 0 < len(rule.set) <= column.max_length
    change = rule.set if rule.add is None else rule.add
    if column.type == "datetime" and rule.add is None:
        moment, (low, high) = times(pd.Series([str(change)]))[0], moments(column)
        return bool(low <= moment <= high)  # NaT is neither
    if not is_number(change) or (column.type == "integer" and change % 1):
        return False
    return rule.add is not None or column.min <= change <= column.max


def _check(rule: Rule, share: float) -> Check:
    """Return the check of one rule."""
    change = f"= {one_line(rule.set)}" if rule.add is None else f"+ {rule.add:g}"
    cause = f"{rule.column} {change}"
    expected = "the same" if rule.expect == "same" else rule.expect
    reasons = (
        f"with {cause} the prediction is {expected}",
        f"with {cause} the prediction is too often not {expected}",
    )
    return checks.held(
        f"behaviour.{rule.slug}",
        share,
        "<=",
        rule.allowed,
        reasons,
        title=f"Behaviour: {rule.name}",
        metric="rows that break it",
        unit="share",
        gate=False,
    )

"""Tries what behaviour.yaml declares: invariance and direction, on the exported file.

After Ribeiro et al. (2020), ACL: behavioural testing with checklists.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from mlgitops.judge.tasks import TASKS
from mlgitops.judge.trial import Trial, fed, predict
from mlgitops.judgement import Check
from mlgitops.pipeline.contract import Column, Contract, ContractError
from mlgitops.pipeline.schema import is_number

FILE = Path("behaviour.yaml")
SAMPLE = 5_000  # rows that are changed
KEYS = {"name", "column", "expect", "tolerance", "allowed"}
BROKEN = {  # by how much an answer breaks an expectation, from the answer's change
    "same": np.abs,
    "not lower": np.negative,
    "not higher": np.positive,
}


def add(trial: Trial) -> None:
    """Add one check for each test that the challenger's columns take part in."""
    declared = yaml.safe_load(FILE.read_bytes()) if FILE.is_file() else []
    tests = parse(declared, trial.contract)
    task, classes = trial.task, trial.contract.classes
    new = trial.challenger
    tests = [test for test in tests if test["column"] in new.manifest["columns"]]
    if not tests:
        return
    count = min(SAMPLE, len(trial.holdout))
    random = np.random.default_rng(2)
    rows = np.sort(random.choice(len(trial.holdout), count, replace=False))
    sample = trial.holdout.iloc[rows]
    tables = [
        sample.assign(**{t["column"]: changed(sample[t["column"]], t, trial.contract)})
        for t in tests
    ]
    parts = [fed(new, table, trial.contract) for table in tables]
    answers = predict(new, parts, trial.contract)
    for test, answer in zip(tests, np.split(answers, len(tests)), strict=True):
        before = task.watched(new.scores[rows], test, classes)
        moved = BROKEN[test["expect"]](task.watched(answer, test, classes) - before)
        broken = moved > test["tolerance"]
        share = float((broken if broken.ndim == 1 else broken.any(axis=1)).mean())
        trial.found.checks.append(_check(test, share))


def parse(declared: Any, contract: Contract) -> list[dict[str, Any]]:
    """Read the tests.

    Raises:
        ContractError: an entry that would not test what it says.
    """
    if declared is None:
        return []
    if not isinstance(declared, list):
        raise ContractError("behaviour.yaml has to be a list of tests, or empty.")
    tests = [_parsed(test, contract) for test in declared]
    slugs = [_slug(test) for test in tests]
    if twice := [
        t["name"] for t, s in zip(tests, slugs, strict=True) if slugs.count(s) > 1
    ]:
        raise ContractError(
            f'behaviour.yaml: the name "{twice[0]}" is not the only one.'
        )
    return tests


def changed(
    column: "pd.Series[Any]", test: Mapping[str, Any], contract: Contract
) -> Any:
    """Return the column with the change, numbers kept in the contract's range."""
    if "set" in test:
        return np.full(len(column), test["set"], dtype=column.to_numpy().dtype)
    entry = contract.columns[test["column"]]
    return (column + test["add"]).clip(entry.min, entry.max)


def _parsed(test: Any, contract: Contract) -> dict[str, Any]:
    """Check one entry."""
    named = test.get("name") if isinstance(test, Mapping) else test
    about = f'behaviour.yaml: "{named}"'
    if not isinstance(test, Mapping) or set(test) - {"add", "set", "class"} != KEYS:
        names = ", ".join(sorted(KEYS))
        raise ContractError(f"{about} has to name {names}, and add or set.")
    if ("add" in test) == ("set" in test):
        raise ContractError(f"{about} has to name one of add and set.")
    entry = contract.columns.get(str(test["column"]))
    if entry is None:
        raise ContractError(f"{about} names a column that contract.yaml does not have.")
    if test["expect"] not in BROKEN:
        raise ContractError(f"{about}: expect is one of {', '.join(BROKEN)}.")
    if "class" in test and str(test["class"]) not in contract.classes:
        raise ContractError(f"{about} names a class that contract.yaml does not have.")
    if contract.classes and test["expect"] != "same" and "class" not in test:
        raise ContractError(f"{about} has to name the class whose probability it is.")
    for key, most in (("tolerance", TASKS[contract.task].most), ("allowed", 1)):
        if not is_number(test[key]) or not 0 <= test[key] < most:
            raise ContractError(f"{about}: {key} is a number from 0 to below {most:g}.")
    if not _fits(test, entry):
        raise ContractError(f"{about}: the change does not fit the column.")
    return dict(test)


def _fits(test: Mapping[str, Any], entry: Column) -> bool:
    """Tell whether the column can take the change."""
    if entry.type == "category":
        return "set" in test and test["set"] in entry.categories
    value = test["add"] if "add" in test else test["set"]
    return is_number(value) and ("add" in test or entry.min <= value <= entry.max)


def _check(test: Mapping[str, Any], share: float) -> Check:
    """Return the check of one test."""
    passed = share <= test["allowed"]
    change = f"+ {test['add']:g}" if "add" in test else f"= {test['set']}"
    why = f"{test['column']} {change} gives an answer that is {test['expect']}"
    if not passed:
        why = f"too often, {test['column']} {change} does not leave it {test['expect']}"
    return Check(
        id=f"behaviour.{_slug(test)}",
        title=f"Behaviour: {test['name']}",
        passed=passed,
        reason=why,
        metric="rows that break it",
        value=share,
        operator="<=",
        limit=test["allowed"],
        unit="share",
    )


def _slug(test: Mapping[str, Any]) -> str:
    """Return a test's name as an id has it."""
    return re.sub(r"[^a-z0-9]+", "_", str(test["name"]).lower()).strip("_")

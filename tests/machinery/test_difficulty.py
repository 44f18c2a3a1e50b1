"""Rows that are new in the holdout are compared with those that main held out."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from machinery import judged
from machinery.judged import contract, params, rows
from mlgitops.judge import difficulty, gates
from mlgitops.judge.evaluation import Evaluation, Model
from mlgitops.pipeline import data
from mlgitops.pipeline.contract import Contract

TASKS = list(judged.TASKS)


def evaluated(
    task: str, patch: pytest.MonkeyPatch, noise: float, seed: int = 0, only: int = 0
) -> list[str]:
    """Return what is said when the champion's error is so large on the new rows.

    On those of main it is 1.
    """
    random, terms = np.random.default_rng(seed), Contract.parse(contract(task))
    before = data.check(rows(3000, seed=seed + 1, task=task), terms)
    after = rows(1500, seed=seed + 2, task=task)
    after["placed"] += pd.Timedelta(days=41)
    after = data.check(after[-only:], terms)
    settings = params(["price"], task)
    manifest = {"task": task, "data": {"train_until": "2025-01-20T00:00:00+00:00"}}
    champion = Model(Path("nowhere"), manifest)

    def predicted(table: pd.DataFrame, scale: float) -> Any:
        y = np.asarray(data.truth(table, terms), np.float64)
        if task == "regression":
            return y + random.normal(scale=scale * y.std(), size=len(y))
        if task == "binary":
            score = 2 * y - 1 + random.normal(scale=1.5 * scale, size=len(y))
            return 1 / (1 + np.exp(-score))
        score = np.eye(3)[y.astype(int)]
        score = np.exp(2 * score + random.normal(scale=2 * scale, size=score.shape))
        return score / score.sum(axis=1, keepdims=True)

    patch.setattr(difficulty, "inputs", lambda model, table, terms: table)
    patch.setattr(difficulty, "predict", lambda m, t, terms: predicted(t[0], 1))
    champion.predictions = predicted(after, noise)
    evaluation = Evaluation(
        contract=terms,
        params=settings,
        gates=gates.parse(settings, task),
        holdout=after,
        challenger=champion,
        champion=champion,
        rows=pd.concat([before, after]),
        champion_rows=before,
        same_data=False,
    )
    difficulty.add(evaluation)
    return evaluation.judgement.cautions


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("noise", "words"), [(0.5, "easier"), (2.0, "harder")])
def test_rows_that_are_easier_or_harder_are_a_caution(
    task: str, noise: float, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (caution,) = evaluated(task, monkeypatch, noise)
    assert f"1,500 rows that are new in this holdout are {words}" in caution


@pytest.mark.parametrize("task", TASKS)
def test_rows_like_those_before_are_none(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most one in a hundred by chance; none of these twenty."""
    said = [evaluated(task, monkeypatch, 1.0, seed=10 * n) for n in range(20)]
    assert not any(said)


def test_few_rows_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluated("binary", monkeypatch, 0.2, only=200) == []

"""Every entry of model/estimator.py fits, predicts and exports; metrics measure."""

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from mlgitops.pipeline.data import truth
from mlgitops.testing import Project
from model.metrics import METRICS


def test_it_fits_and_predicts_what_differs(
    project: Project, made_up: pd.DataFrame, fitted: Pipeline
) -> None:
    predicted = project.predict(fitted, project.inputs(made_up))
    assert np.isfinite(predicted).all()
    assert len(np.unique(predicted)) > 1, "every row gets the same prediction"


def test_it_answers_rows_with_missing_values_and_new_categories(
    project: Project, made_up: pd.DataFrame, fitted: Pipeline
) -> None:
    assert np.isfinite(project.predict(fitted, project.awkward(made_up))).all()


def test_the_exported_file_predicts_as_the_fit(
    project: Project, made_up: pd.DataFrame, fitted: Pipeline, exported: bytes
) -> None:
    """On awkward rows too: the ONNX file is what is judged, and what runs."""
    difference = project.difference(fitted, exported, made_up)
    assert difference <= project.train.parity


def test_the_same_rows_and_seed_give_the_same_bytes(
    project: Project, made_up: pd.DataFrame, estimator: str, exported: bytes
) -> None:
    assert project.export(project.fit(made_up, estimator)) == exported


def test_own_metrics_are_numbers_and_higher_is_better(
    project: Project, made_up: pd.DataFrame
) -> None:
    """The right prediction has to be worth more than the wrong one."""
    y, classes = truth(made_up, project.contract), project.contract.classes
    right = np.eye(len(classes))[y] if classes else np.asarray(y, dtype=float)
    for name, metric in METRICS.items():
        good, poor = metric(y, right), metric(y, right[::-1])
        assert np.isfinite([good, poor]).all() and good > poor, name

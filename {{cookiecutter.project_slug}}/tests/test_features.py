"""Features depend on the row alone, for every estimator in model/estimator.py."""

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from mlgitops.testing import Project


@pytest.fixture
def features(fitted: Pipeline) -> Pipeline:
    """The fitted transformers that go before an estimator."""
    return fitted[:-1]


def dense(found: object) -> np.ndarray:
    """Return features as a table of numbers, whatever the transformer returns."""
    return np.asarray(getattr(found, "toarray", lambda: found)(), dtype=float)


def test_a_row_gives_the_same_alone_and_among_others(
    features: Pipeline, project: Project, made_up: pd.DataFrame
) -> None:
    inputs = project.inputs(made_up)
    together = dense(features.transform(inputs))
    for place in (0, 7, len(inputs) - 1):
        alone = dense(features.transform(inputs.iloc[[place]]))
        np.testing.assert_array_equal(alone[0], together[place])


def test_order_does_not_matter(
    features: Pipeline, project: Project, made_up: pd.DataFrame
) -> None:
    inputs = project.inputs(made_up)
    turned = dense(features.transform(inputs.iloc[::-1]))[::-1]
    np.testing.assert_array_equal(turned, dense(features.transform(inputs)))


def test_inputs_are_not_changed(
    features: Pipeline, project: Project, made_up: pd.DataFrame
) -> None:
    inputs = project.inputs(made_up)
    features.transform(inputs)
    pd.testing.assert_frame_equal(inputs, project.inputs(made_up))


def test_complete_rows_give_numbers_only(
    features: Pipeline, project: Project, made_up: pd.DataFrame
) -> None:
    """No NaN and no infinity, unless the row or a feature of its own has no value."""
    inputs = project.inputs(made_up)
    computed = features[:-1].transform(inputs) if len(features) > 1 else inputs
    complete = inputs[computed.notna().all(axis=1) & inputs.notna().all(axis=1)]
    assert np.isfinite(dense(features.transform(complete))).all()


def test_new_categories_and_missing_values_give_as_many_features(
    features: Pipeline, project: Project, made_up: pd.DataFrame
) -> None:
    plain = dense(features.transform(project.inputs(made_up)))
    awkward = dense(features.transform(project.awkward(made_up)))
    assert awkward.shape == plain.shape
    assert not np.isinf(awkward).any()
